//! What was let pass by hand passes, and nothing beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::exeat::Exeat;
use crate::internet::{ALLOWED_V4, ALLOWED_V6, EVIL, EVIL_V4, EVIL_V6, GIT_V4};
use crate::place::{As, Place};
use crate::ways::{is_answered, patience};
use crate::world::World;

const LENGTH: usize = 300_000;

fn what_is_allowed_passes_and_nothing_beside_it(world: &World, how: &[&str]) {
    let _exeat = Exeat::start_as(world, As::Taker);
    // A narrow way behind whoever is locked: packets that are too large for it are sent back.
    if let Some(gateway) = &world.gateway {
        gateway.must("ip link set out0 mtu 1300");
        world.internet.must("ip link set down0 mtu 1300");
    }
    let allowances = [
        ["--allow-udp", "123", "--to", EVIL_V4],
        ["--allow-udp", "5000", "--to", "2a00:77::/64"],
        ["--allow-cidr", "11.0.0.10/32", "--allow-cidr", "2a00:77::10"],
    ];
    world.apply(&[how, &allowances.concat()].concat()).good();
    let instance = &world.instance;
    for (way, open) in [
        (format!("UDP4:{EVIL_V4}:123"), true),
        (format!("UDP4:{EVIL_V4}:5000"), false),
        (format!("UDP4:{GIT_V4}:123"), false),
        (format!("UDP6:[{EVIL_V6}]:5000"), true),
        (format!("UDP6:[{EVIL_V6}]:123"), false),
        (format!("UDP4:{ALLOWED_V4}:443"), true),
        (format!("UDP6:[{ALLOWED_V6}]:4500"), true),
        (format!("TCP4:{ALLOWED_V4}:5432"), true),
        (format!("TCP6:[{ALLOWED_V6}]:8443"), true),
        (format!("TCP4:{EVIL_V4}:5432,connect-timeout=3"), false),
        (format!("TCP4:{EVIL_V4}:123,connect-timeout=3"), false),
    ] {
        assert_eq!(is_answered(instance, As::Program, &way, open), open, "{how:?}: {way}");
    }
    // DNS goes to the DNS door even so.
    let asked =
        instance.run(As::Program, &["dig", "+tries=1", "+time=30", &format!("@{ALLOWED_V4}"), EVIL], "");
    assert!(asked.out.contains("NXDOMAIN"), "{asked:?}");
    for address in [ALLOWED_V4, ALLOWED_V6] {
        carries_large_packets(world, SocketAddr::new(address.parse().unwrap(), 7100));
    }
}

/// Without the errors that say how large a packet may be, this would never end.
fn carries_large_packets(world: &World, to: SocketAddr) {
    let listener = world.internet.inside(move || TcpListener::bind(to).unwrap());
    let mut opener = world.instance.inside(move || TcpStream::connect(to).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let writing = std::thread::spawn(move || opener.write_all(&[7; LENGTH]));
    let mut read = Vec::new();
    server.read_to_end(&mut read).unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(read.len(), LENGTH);
}

pub(crate) fn what_is_allowed_passes_on_the_instance() {
    let world = World::instance();
    for format in ["iptables", "nft"] {
        what_is_allowed_passes_and_nothing_beside_it(&world, &["--format", format]);
    }
}

pub(crate) fn what_is_allowed_passes_through_the_gateway() {
    let world = World::gateway();
    for more in [&["--format", "iptables"][..], &["--format", "nft"], &["--tproxy"]] {
        let how = [&["--gateway", "--interface", "in0"], more].concat();
        what_is_allowed_passes_and_nothing_beside_it(&world, &how);
    }
}

/// What bears the mark leaves, whoever sends it; the user of exeat without it does not.
pub(crate) fn a_mark_lets_out_instead_of_a_user() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    for format in ["iptables", "nft"] {
        let binary = world.binary.to_str().unwrap();
        let words = [
            "lockdown",
            "apply",
            "--config",
            &world.path("exeat.yaml"),
            "--mark",
            "0x65",
            "--format",
            format,
        ];
        world.instance.run(As::Root, &[&[binary], &words[..]].concat(), "").good();
        for (mark, open) in [(0x65, true), (0x64, false)] {
            for (kind, port) in [(Type::STREAM, 5432), (Type::DGRAM, 5000)] {
                assert_eq!(
                    answers_marked(&world.instance, (mark, open), kind, port),
                    open,
                    "{format}: {mark:#x}, {kind:?}"
                );
            }
        }
        for who in [As::Exeat, As::Program] {
            for way in [format!("UDP4:{EVIL_V4}:5000"), format!("TCP4:{EVIL_V4}:5432,connect-timeout=3")] {
                assert!(!is_answered(&world.instance, who, &way, false), "{format}: {who:?}: {way}");
            }
        }
    }
}

/// Whether a server answers a socket that bears a mark, where it is expected to or not.
fn answers_marked(place: &Place, (mark, open): (u32, bool), kind: Type, port: u16) -> bool {
    place.inside(move || {
        let mut socket = Socket::new(Domain::IPV4, kind, None).unwrap();
        socket.set_mark(mark).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(patience(open)))).unwrap();
        let to = SocketAddr::new(EVIL_V4.parse().unwrap(), port);
        let said = socket.connect(&to.into()).and_then(|()| socket.send(b"x"));
        said.and_then(|_| socket.read(&mut [0; 64])).is_ok_and(|length| length > 0)
    })
}
