//! What somebody would try who knows how the lock is made.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::exeat::Exeat;
use crate::internet::{ALLOWED, ALLOWED_V4, DNS_V4, EVIL, EVIL_V4};
use crate::place::{As, Place};
use crate::world::{INSTANCE_V4, World};

/// Conntrack remembers a connection for longer than exeat has its port. Whoever takes that port meanwhile sends
/// packets of the same connection, as far as conntrack knows.
pub(crate) fn who_takes_a_port_that_exeat_left_does_not_take_its_way_out() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let instance = &world.instance;
    instance.must("sysctl -qw net.ipv4.tcp_fin_timeout=1");
    for (format, port) in [("iptables", 41_000), ("nft", 42_000)] {
        world.apply(&["--format", format]).good();
        let (from, server) = (format!("{INSTANCE_V4}#{port}"), format!("@{DNS_V4}"));
        let ask = |who, time, name| {
            let words = ["dig", "+tries=1", time, "-b", &from, &server, name];
            instance.run(who, &words, "").out
        };
        assert!(ask(As::Exeat, "+time=30", ALLOWED).contains("NOERROR"));
        world.settle();
        world.tap.clear();
        assert!(!ask(As::Program, "+time=2", EVIL).contains("NOERROR"));
        assert_eq!(world.leaks(), [], "{format}");

        let to = SocketAddr::new(ALLOWED_V4.parse().unwrap(), 7005);
        let listener = world.internet.inside(move || TcpListener::bind(to).unwrap());
        let line = format!("TCP4:{to},sourceport={port},connect-timeout=30");
        instance.run(As::Exeat, &["socat", "-u", "/dev/null", &line], "").good();
        // The far side keeps its half, so that the connection does not end for conntrack.
        let (kept, _) = listener.accept().unwrap();
        no_socket_has(instance, port);
        world.settle();
        world.tap.clear();
        let line = format!("TCP4:{to},sourceport={port},connect-timeout=3");
        instance.run(As::Program, &["socat", "-t1", "-T1", "-", &line], "x");
        assert_eq!(world.leaks(), [], "{format}");
        drop(kept);
    }
}

/// Waits until the kernel has let go of the last of it.
fn no_socket_has(place: &Place, port: u16) {
    let start = Instant::now();
    while !place.must(&format!("ss -H -t -a -n sport = :{port}")).trim().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

/// An ICMP error quotes the packet that it is about, so it can carry anything, and belongs to a connection that the
/// sender has: to a server that exeat took the place of.
pub(crate) fn an_icmp_error_carries_nothing_to_a_server_that_was_called() {
    let world = World::gateway();
    let _exeat = Exeat::start_as(&world, As::Taker);
    for more in
        [&["--format", "iptables"][..], &["--format", "nft"], &["--tproxy"], &["--tproxy", "--format", "nft"]]
    {
        world.apply(&[&["--gateway", "--interface", "in0"], more].concat()).good();
        let to = SocketAddr::new(EVIL_V4.parse().unwrap(), 443);
        // It is open as long as exeat waits for a ClientHello.
        let called = world.instance.inside(move || TcpStream::connect(to).unwrap());
        let port = called.local_addr().unwrap().port();
        world.settle();
        world.tap.clear();
        world.instance.inside(move || {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            socket.send_to(&letter(port), &SocketAddr::new(EVIL_V4.parse().unwrap(), 0).into()).unwrap();
        });
        assert_eq!(world.leaks(), [], "{more:?}");
        drop(called);
    }
}

/// "Host unreachable", about a packet of the server to that port of the instance.
fn letter(port: u16) -> Vec<u8> {
    let (from, to): (Ipv4Addr, Ipv4Addr) = (EVIL_V4.parse().unwrap(), INSTANCE_V4.parse().unwrap());
    let mut quoted = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0];
    quoted.extend(from.octets().into_iter().chain(to.octets()));
    let sum = checksum(&quoted);
    quoted[10..12].copy_from_slice(&sum);
    quoted.extend(443_u16.to_be_bytes().into_iter().chain(port.to_be_bytes()));
    quoted.extend(b"\0\0\0\0a letter to evil.example, as long as it has to be");
    let mut packet = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// Neighbours on the link, and sockets that are bound where packets go round in a circle.
pub(crate) fn neighbours_and_odd_sockets_are_no_way_out() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let instance = &world.instance;
    instance.must(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.route_localnet=1",
    );
    let listed = world.internet.must("ip -6 -o addr show dev down0 scope link");
    let neighbour = listed.split_whitespace().find(|word| word.starts_with("fe80::")).unwrap();
    let neighbour = neighbour.split('/').next().unwrap();
    let odd = [
        format!("UDP6-SENDTO:[{neighbour}%up0]:5001"),
        "UDP4-SENDTO:10.77.0.1:5001".to_owned(),
        "UDP6-SENDTO:[2a00:99::1]:5001".to_owned(),
        format!("UDP4-SENDTO:{EVIL_V4}:5001,so-bindtodevice=lo"),
        format!("UDP4-SENDTO:{EVIL_V4}:5001,bind=127.0.0.1"),
        "UDP4-SENDTO:127.0.0.1:5001,so-bindtodevice=up0".to_owned(),
        "UDP6-SENDTO:[::1]:5001,so-bindtodevice=up0".to_owned(),
        format!("UDP4-SENDTO:{EVIL_V4}:67,so-reuseaddr,sourceport=1068"),
    ];
    let tcp = [
        format!("TCP6:[{neighbour}%up0]:5001,connect-timeout=1"),
        format!("TCP4:{EVIL_V4}:5001,so-bindtodevice=lo,connect-timeout=1"),
    ];
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format]).good();
        world.settle();
        world.tap.clear();
        for to in &odd {
            instance.run(As::Program, &["socat", "-u", "-", to], "x");
        }
        for to in &tcp {
            instance.run(As::Program, &["socat", "-T1", "-", to], "x");
        }
        assert_eq!(world.leaks(), [], "{format}");
    }
}

/// Where `route_localnet` is set, a neighbour can write to loopback addresses, behind which nobody expects it.
pub(crate) fn services_on_the_loopback_of_a_gateway_are_not_for_its_clients() {
    let world = World::gateway();
    let _exeat = Exeat::start_as(&world, As::Taker);
    for (place, interface) in [(&world.instance, "up0"), (world.locked(), "in0")] {
        place.must(&format!("sysctl -qw net.ipv4.conf.{interface}.route_localnet=1"));
    }
    world.instance.must("ip route del local 127.0.0.0/8 dev lo table local");
    world.instance.must("ip route add 127.7.7.7/32 via 10.77.0.1 src 10.77.0.2");
    let at = SocketAddr::from(([127, 7, 7, 7], 7300));
    let listener = world.locked().inside(move || TcpListener::bind(at).unwrap());
    let connects = |within| {
        world.instance.inside(move || TcpStream::connect_timeout(&at, Duration::from_secs(within))).is_ok()
    };
    assert!(connects(30));
    for more in [&["--format", "iptables"][..], &["--format", "nft"], &["--tproxy"]] {
        world.apply(&[&["--gateway", "--interface", "in0"], more].concat()).good();
        assert!(!connects(2), "{more:?}");
    }
    drop(listener);
}
