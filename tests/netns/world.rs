//! The namespaces of a test and the wires between them, gone when the test ends, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::footing;
use crate::internet::{self, ADDRESSES, ALLOWED_V4, DNS_V4, EVIL_V4, EVIL_V6, METADATA};
use crate::place::{As, Place, Ran};
use crate::tap::{Packet, Tap};

/// The addresses of the instance.
pub(crate) const INSTANCE_V4: &str = "10.77.0.2";
pub(crate) const INSTANCE_V6: &str = "2a00:99::2";
/// Someone out there who connects to the instance.
pub(crate) const VISITOR_V4: &str = "11.0.0.99";
pub(crate) const VISITOR_V6: &str = "2a00:77::99";
/// Where a packet is sent whose arrival shows that those before it have arrived.
const MARKER: u16 = 9;

/// An instance, an internet, and perhaps a gateway between them.
pub(crate) struct World {
    pub(crate) instance: Place,
    pub(crate) gateway: Option<Place>,
    pub(crate) internet: Place,
    pub(crate) tap: Tap,
    pub(crate) directory: TempDir,
    pub(crate) binary: PathBuf,
}

impl World {
    /// The instance with a wire to the internet; `None` where the kernel or the tools don't allow it.
    pub(crate) fn instance() -> Option<Self> {
        let world = Self::empty(false)?;
        let (instance, internet) = (&world.instance, &world.internet);
        wire(instance, "up0", internet, "down0");
        address(instance, "up0", &["10.77.0.2/24", "2a00:99::2/64"]);
        address(internet, "down0", &["10.77.0.1/24", "2a00:99::1/64"]);
        routes(instance, "10.77.0.1", "2a00:99::1");
        Some(world.served())
    }

    /// The instance behind a gateway.
    pub(crate) fn gateway() -> Option<Self> {
        let world = Self::empty(true)?;
        let (instance, internet) = (&world.instance, &world.internet);
        let gateway = world.gateway.as_ref().unwrap();
        wire(instance, "up0", gateway, "in0");
        wire(gateway, "out0", internet, "down0");
        address(instance, "up0", &["10.77.0.2/24", "2a00:99::2/64"]);
        address(gateway, "in0", &["10.77.0.1/24", "2a00:99::1/64"]);
        address(gateway, "out0", &["10.88.0.2/24", "2a00:88::2/64"]);
        address(internet, "down0", &["10.88.0.1/24", "2a00:88::1/64"]);
        routes(instance, "10.77.0.1", "2a00:99::1");
        routes(gateway, "10.88.0.1", "2a00:88::1");
        internet.must("ip route add 10.77.0.0/24 via 10.88.0.2");
        internet.must("ip -6 route add 2a00:99::/64 via 2a00:88::2");
        gateway.must("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        Some(world.served())
    }

    fn empty(with_gateway: bool) -> Option<Self> {
        if !footing::is_firm() {
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let resolv_conf = directory.path().join("resolv.conf");
        fs::write(&resolv_conf, format!("nameserver {DNS_V4}\n")).unwrap();
        let place = |what: &str| {
            let name = format!("exeat-{}-{number}-{what}", std::process::id());
            good(Command::new("ip").args(["netns", "add", &name]));
            Place { name, resolv_conf: resolv_conf.clone() }
        };
        // exeat runs as a user who may not see where it was built.
        let binary = directory.path().join("exeat");
        fs::copy(env!("CARGO_BIN_EXE_exeat"), &binary).unwrap();
        open(directory.path());
        let gateway = with_gateway.then(|| place("gateway"));
        let (instance, internet) = (place("instance"), place("internet"));
        let world = Self { instance, gateway, internet, tap: Tap::default(), directory, binary };
        for place in world.places() {
            place.must("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
            place.must("ip link set lo up");
        }
        Some(world)
    }

    fn served(mut self) -> Self {
        for addr in ADDRESSES.into_iter().chain([VISITOR_V4, VISITOR_V6]) {
            // Else it can't be bound for a moment.
            let nodad = if addr.contains(':') { " nodad" } else { "" };
            self.internet.must(&format!("ip addr add {addr} dev lo{nodad}"));
        }
        internet::serve(&self.internet);
        // Neighbours have to be found first; IPv6 takes up to a second.
        for address in [ALLOWED_V4, internet::ALLOWED_V6] {
            self.instance.must(&format!("ping -q -i 0.2 -c 5 -w 10 {address}"));
        }
        self.tap = Tap::at(&self.internet, |from| {
            let from = from.to_string();
            from.starts_with("11.0.0.") || from.starts_with("2a00:77::") || from.ends_with(METADATA)
        });
        self
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        [&self.instance, &self.internet].into_iter().chain(&self.gateway)
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
        (6, 22) => to == internet::GIT_V4 || to == internet::GIT_V6,
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

fn good(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The addresses that nobody may reach.
pub(crate) const FORBIDDEN: [&str; 2] = [EVIL_V4, EVIL_V6];
