//! The namespaces of a test and the wires between them, gone when the test ends, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::internet::{
    self, ADDRESSES, ALLOWED_V4, DNS_V4, EVIL_V4, EVIL_V6, FORGE_V4, FORGE_V6, METADATA, METADATA_TASKS,
};
use crate::place::{As, Place, Ran};
use crate::tap::{Packet, Tap};

/// The addresses of the instance.
pub(crate) const INSTANCE_V4: &str = "10.77.0.2";
pub(crate) const INSTANCE_V6: &str = "2a00:99::2";
/// Someone out there who connects to the instance.
pub(crate) const VISITOR_V4: &str = "11.0.0.99";
pub(crate) const VISITOR_V6: &str = "2a00:77::99";
/// The address of a container on the instance.
pub(crate) const CONTAINER_V4: &str = "10.55.0.2";
/// Where a packet is sent whose arrival shows that those before it have arrived.
const MARKER: u16 = 9;

/// An instance, an internet, and what there may be between, before and within them.
pub(crate) struct World {
    number: u32,
    pub(crate) instance: Place,
    pub(crate) gateway: Option<Place>,
    /// A namespace on the instance, behind its interface `docker0`.
    pub(crate) container: Option<Place>,
    /// The wire that all of them are on.
    switch: Option<Place>,
    pub(crate) internet: Place,
    pub(crate) tap: Tap,
    pub(crate) directory: TempDir,
    pub(crate) binary: PathBuf,
}

impl World {
    /// The instance with a wire to the internet.
    pub(crate) fn instance() -> Self {
        let world = Self::empty();
        world.wire_instance();
        world.served()
    }

    /// The same with a container that the instance forwards for.
    pub(crate) fn container() -> Self {
        let mut world = Self::empty();
        world.wire_instance();
        let container = world.place("container");
        let (instance, internet) = (&world.instance, &world.internet);
        wire(instance, "docker0", &container, "eth0");
        address(instance, "docker0", &["10.55.0.1/24", "2a00:55::1/64"]);
        address(&container, "eth0", &["10.55.0.2/24", "2a00:55::2/64"]);
        routes(&container, "10.55.0.1", "2a00:55::1");
        internet.must("ip route add 10.55.0.0/24 via 10.77.0.2");
        internet.must("ip -6 route add 2a00:55::/64 via 2a00:99::2");
        instance.must("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        world.container = Some(container);
        world.served()
    }

    fn wire_instance(&self) {
        let (instance, internet) = (&self.instance, &self.internet);
        wire(instance, "up0", internet, "down0");
        address(instance, "up0", &["10.77.0.2/24", "2a00:99::2/64"]);
        address(internet, "down0", &["10.77.0.1/24", "2a00:99::1/64"]);
        routes(instance, "10.77.0.1", "2a00:99::1");
    }

    /// The instance behind a gateway that has one interface, `in0`, for both sides.
    pub(crate) fn one_armed() -> Self {
        let mut world = Self::empty();
        let (gateway, switch) = (world.place("gateway"), world.place("switch"));
        let (instance, internet) = (&world.instance, &world.internet);
        switch.must("ip link add br0 type bridge");
        switch.must("ip link set br0 up");
        for (place, end, port) in
            [(instance, "up0", "p1"), (&gateway, "in0", "p2"), (internet, "down0", "p3")]
        {
            wire(place, end, &switch, port);
            switch.must(&format!("ip link set {port} master br0 up"));
        }
        // Else clients would be told of the shorter way, past the gateway.
        let own_way = "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.in0.send_redirects=0";
        gateway.must(&format!("sysctl -qw {own_way} net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"));
        instance.must("sysctl -qw net.ipv6.conf.up0.accept_redirects=0");
        address(instance, "up0", &["10.77.0.2/24", "2a00:99::2/64"]);
        address(&gateway, "in0", &["10.77.0.3/24", "2a00:99::3/64"]);
        address(internet, "down0", &["10.77.0.1/24", "2a00:99::1/64"]);
        routes(instance, "10.77.0.3", "2a00:99::3");
        routes(&gateway, "10.77.0.1", "2a00:99::1");
        world.gateway = Some(gateway);
        world.switch = Some(switch);
        world.served()
    }

    /// The instance behind a gateway.
    pub(crate) fn gateway() -> Self {
        let mut world = Self::empty();
        let gateway = world.place("gateway");
        let (instance, internet) = (&world.instance, &world.internet);
        wire(instance, "up0", &gateway, "in0");
        wire(&gateway, "out0", internet, "down0");
        address(instance, "up0", &["10.77.0.2/24", "2a00:99::2/64"]);
        address(&gateway, "in0", &["10.77.0.1/24", "2a00:99::1/64"]);
        address(&gateway, "out0", &["10.88.0.2/24", "2a00:88::2/64"]);
        address(internet, "down0", &["10.88.0.1/24", "2a00:88::1/64"]);
        routes(instance, "10.77.0.1", "2a00:99::1");
        routes(&gateway, "10.88.0.1", "2a00:88::1");
        internet.must("ip route add 10.77.0.0/24 via 10.88.0.2");
        internet.must("ip -6 route add 2a00:99::/64 via 2a00:88::2");
        gateway.must("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        world.gateway = Some(gateway);
        world.served()
    }

    fn empty() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let resolv_conf = directory.path().join("resolv.conf");
        fs::write(&resolv_conf, format!("nameserver {DNS_V4}\n")).unwrap();
        // exeat runs as a user who may not see where it was built. It is large: a second name costs nothing.
        let (built, binary) = (env!("CARGO_BIN_EXE_exeat"), directory.path().join("exeat"));
        fs::hard_link(built, &binary).or_else(|_| fs::copy(built, &binary).map(drop)).unwrap();
        open(directory.path());
        let place = |what| Place::new(number, what, &resolv_conf);
        let (instance, internet) = (place("instance"), place("internet"));
        // Every program may ping, as on most systems; a user namespace has no larger groups.
        let pings = "net.ipv4.ping_group_range=0 61002";
        instance.run(As::Root, &["sysctl", "-qw", pings], "").good();
        let tap = Tap::default();
        Self {
            number,
            instance,
            gateway: None,
            container: None,
            switch: None,
            internet,
            tap,
            directory,
            binary,
        }
    }

    fn place(&self, what: &str) -> Place {
        Place::new(self.number, what, &self.instance.resolv_conf)
    }

    fn served(mut self) -> Self {
        for addr in ADDRESSES.into_iter().chain([FORGE_V4, FORGE_V6, VISITOR_V4, VISITOR_V6]) {
            // Else it can't be bound for a moment.
            let nodad = if addr.contains(':') { " nodad" } else { "" };
            self.internet.must(&format!("ip addr add {addr} dev lo{nodad}"));
        }
        internet::serve(&self.internet);
        // Neighbours have to be found first; IPv6 takes up to a second.
        for address in [ALLOWED_V4, internet::ALLOWED_V6] {
            self.instance.must(&format!("ping -q -c 1 -w 10 {address}"));
        }
        self.tap = Tap::at(&self.internet, |from| {
            let from = from.to_string();
            let is_metadata = [METADATA, METADATA_TASKS].iter().any(|service| from.ends_with(service));
            from.starts_with("11.0.0.") || from.starts_with("2a00:77::") || is_metadata
        });
        self
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        let between = self.gateway.iter().chain(&self.container).chain(&self.switch);
        [&self.instance, &self.internet].into_iter().chain(between)
    }

    /// Where exeat and the rules are: the gateway if there is one.
    pub(crate) fn locked(&self) -> &Place {
        self.gateway.as_ref().unwrap_or(&self.instance)
    }

    /// Runs `exeat` as root.
    pub(crate) fn exeat(&self, words: &[&str]) -> Ran {
        let binary = self.binary.to_str().unwrap();
        self.locked().run(As::Root, &[&[binary], words].concat(), "")
    }

    /// `exeat lockdown apply`, with the user and the settings of the tests.
    pub(crate) fn apply(&self, words: &[&str]) -> Ran {
        let settings = self.path("exeat.yaml");
        self.exeat(&[&["lockdown", "apply", "--uid", "61002", "--config", &settings], words].concat())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Waits until whatever was sent has arrived.
    pub(crate) fn settle(&self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let text = format!("marker {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let to = format!("UDP:{ALLOWED_V4}:{MARKER}");
        self.locked().run(As::Exeat, &["socat", "-u", "-", &to], &text);
        self.tap.wait(|packet| is_marker(packet) && packet.bytes.ends_with(text.as_bytes()));
    }

    /// What arrived at the internet that should not have.
    pub(crate) fn leaks(&self) -> Vec<Packet> {
        self.settle();
        self.tap.heard().into_iter().filter(|packet| !is_meant(packet)).collect()
    }
}

fn is_marker(packet: &Packet) -> bool {
    packet.protocol == 17 && packet.port == MARKER && packet.to.to_string() == ALLOWED_V4
}

/// exeat's own traffic, answers to visitors, and what keeps a network alive. A question for a name that nobody
/// may reach is not meant to be asked.
fn is_meant(packet: &Packet) -> bool {
    let to = packet.to.to_string();
    let asks = packet.bytes.windows(4).any(|window| window == b"evil");
    match (packet.protocol, packet.port) {
        (58, 130..=136 | 143) | (17, MARKER) => true,
        (6 | 17, 53) if to == DNS_V4 => !asks,
        _ if to == VISITOR_V4 || to == VISITOR_V6 => true,
        (6, 80 | 443) => to == ALLOWED_V4 || to == internet::ALLOWED_V6,
        (6, 22) => [internet::GIT_V4, internet::GIT_V6, FORGE_V4, FORGE_V6].contains(&to.as_str()),
        _ => false,
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever still runs there was started by the test.
        for place in self.places() {
            let listed = Command::new("ip").args(["netns", "pids", &place.name]).output();
            let own = std::process::id().to_string();
            let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for pid in text.unwrap_or_default().lines().filter(|pid| **pid != own) {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
            let _ = Command::new("ip").args(["netns", "del", &place.name]).status();
        }
    }
}

fn wire(one: &Place, one_end: &str, other: &Place, other_end: &str) {
    one.must(&format!("ip link add {one_end} type veth peer name {other_end} netns {}", other.name));
}

fn address(place: &Place, interface: &str, addresses: &[&str]) {
    for address in addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        place.must(&format!("ip addr add {address} dev {interface}{nodad}"));
    }
    place.must(&format!("ip link set {interface} up"));
}

fn routes(place: &Place, v4: &str, v6: &str) {
    place.must(&format!("ip route add default via {v4}"));
    place.must(&format!("ip -6 route add default via {v6}"));
}

fn open(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// The addresses that nobody may reach.
pub(crate) const FORBIDDEN: [&str; 2] = [EVIL_V4, EVIL_V6];
