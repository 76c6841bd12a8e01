//! Other namespaces on a locked instance.

use crate::exeat::Exeat;
use crate::internet::{ALLOWED, ALLOWED_V4, EVIL_V4};
use crate::place::As;
use crate::ways;
use crate::world::{CONTAINER_V4, World};

fn containers_get_out_through_exeat_or_not_at_all(format: &str) {
    let world = World::container();
    let _exeat = Exeat::start(&world);
    let container = world.container.as_ref().unwrap();
    let ways: Vec<ways::Way> =
        ways::all().into_iter().filter(|way| !way.is_bound_to_an_interface()).collect();
    assert_eq!(ways::shut(container, &ways), [""; 0], "each way is open at first");
    let fetched = |within| {
        let url = format!("http://{ALLOWED}/");
        container.run(As::Program, &["curl", "-s4", "--max-time", within, &url], "").out
    };

    world.apply(&["--format", format]).good();
    world.tap.clear();
    assert_eq!(ways::open(container, &ways), [""; 0]);
    ways::send_silent(container);
    assert_eq!((world.leaks(), fetched("5")), (vec![], String::new()));

    world.apply(&["--format", format, "--interface", "docker+"]).good();
    world.exeat(&["lockdown", "status"]).good();
    assert_eq!(fetched("30"), format!("this is {ALLOWED_V4}:80\n"));
    world.settle();
    world.tap.clear();
    assert_eq!(ways::open(container, &ways), [""; 0]);
    ways::send_silent(container);
    // A source that is not its own.
    container.must("ip addr add 10.99.0.2/32 dev lo");
    for line in ["UDP4:11.0.0.66:5000,bind=10.99.0.2", "UDP4:10.55.0.1:53,bind=10.99.0.2"] {
        container.run(As::Root, &["socat", "-t0", "-T0.5", "-", line], "x");
    }
    assert_eq!(world.leaks(), []);
}

pub(crate) fn containers_get_out_through_exeat_or_not_at_all_with_iptables() {
    containers_get_out_through_exeat_or_not_at_all("iptables");
}

pub(crate) fn containers_get_out_through_exeat_or_not_at_all_with_nft() {
    containers_get_out_through_exeat_or_not_at_all("nft");
}

/// A port of the instance that leads into a container, as Docker publishes it.
pub(crate) fn what_is_published_can_be_reached_and_answers() {
    use std::io::{Read, Write};
    let world = World::container();
    let _exeat = Exeat::start(&world);
    let container = world.container.as_ref().unwrap();
    world
        .instance
        .must(&format!("iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to {CONTAINER_V4}:80"));
    let listener = container.inside(|| std::net::TcpListener::bind((CONTAINER_V4, 80)).unwrap());
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format]).good();
        world.settle();
        world.tap.clear();
        let mut visitor = world.internet.inside(|| {
            let at = (crate::world::INSTANCE_V4, 8080);
            let socket = std::net::TcpStream::connect(at).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
            socket
        });
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"welcome").unwrap();
        let mut said = [0; 7];
        visitor.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"welcome");
        let out =
            container.run(As::Program, &["socat", "-t1", "-T1", "-", &format!("UDP4:{EVIL_V4}:5000")], "x");
        assert_eq!(out.out, "");
    }
}
