//! What a network needs to live goes on under the lock.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use crate::exeat::Exeat;
use crate::internet::{ALLOWED, ALLOWED_V6};
use crate::place::As;
use crate::world::{INSTANCE_V4, INSTANCE_V6, VISITOR_V4, VISITOR_V6, World};

pub(crate) fn a_locked_instance_keeps_its_addresses_neighbours_and_errors() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let instance = &world.instance;
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format]).good();
        world.settle();
        world.tap.clear();
        dhcp(&world);
        // Neighbours are found anew, also while exeat goes out by them.
        for (family, visitor, address) in [("-4", VISITOR_V4, INSTANCE_V4), ("-6", VISITOR_V6, INSTANCE_V6)] {
            instance.must(&format!("ip {family} neigh flush dev up0"));
            world.internet.must(&format!("ip {family} neigh flush dev down0"));
            world.internet.must(&format!("ping -q -c 1 -w 10 -I {visitor} {address}"));
        }
        instance.must("ip -6 neigh flush dev up0");
        let url = format!("http://{ALLOWED}/");
        let said = instance.run(As::Program, &["curl", "-s6", "--max-time", "30", &url], "").good();
        assert_eq!(said, format!("this is [{ALLOWED_V6}]:80\n"));
        // Who joins a group says so.
        let join = instance.inside(|| {
            let socket = UdpSocket::bind("[::]:0").unwrap();
            socket.join_multicast_v6(&"ff02::1234".parse().unwrap(), index_of_up0()).unwrap();
            socket
        });
        world.tap.wait(|packet| packet.protocol == 58 && packet.port == 143);
        drop(join);
        errors(&world);
    }
}

/// A client of DHCP binds its port; this one has no answers to wait for.
fn dhcp(world: &World) {
    for to in [
        "UDP4-DATAGRAM:255.255.255.255:67,broadcast,bind=:68",
        "UDP6-SENDTO:[ff02::1:2%up0]:547,bind=[::]:546",
    ] {
        world.instance.run(As::Root, &["socat", "-u", "-", to], "an address, please").good();
    }
    for port in [67, 547] {
        world.tap.wait(|packet| packet.protocol == 17 && packet.port == port);
    }
}

/// Who asks at a closed port is told so.
fn errors(world: &World) {
    for (visitor, address) in [(VISITOR_V4, INSTANCE_V4), (VISITOR_V6, INSTANCE_V6)] {
        let socket = world.internet.inside(move || {
            let socket = UdpSocket::bind((visitor, 0)).unwrap();
            socket.connect((address, 7200)).unwrap();
            socket
        });
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.send(b"anybody?").unwrap();
        let error = socket.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
}

/// In the namespace of the calling thread.
fn index_of_up0() -> u32 {
    std::fs::read_to_string("/proc/thread-self/net/if_inet6")
        .unwrap()
        .lines()
        .find(|line| line.ends_with(" up0"))
        .and_then(|line| u32::from_str_radix(line.split(' ').nth(1)?, 16).ok())
        .unwrap()
}
