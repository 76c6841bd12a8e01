//! Ports that are left to the kernel to choose, where few are free.

use std::fs;
use std::net::UdpSocket;
use std::process::Stdio;

use crate::place::{As, read_until};
use crate::world::World;

/// The kernel chooses a port for TCP, and knows nothing of UDP's.
pub(crate) fn a_port_that_is_left_to_choose_is_free_for_both_transports() {
    let world = World::instance();
    let settings = world.path("exeat.yaml");
    let text = "listen: { explicit: [], dns: [\"127.0.0.1:0\"], admin: \"127.0.0.1:3130\" }\n\
                audit: { path: /dev/null }\ndns: { servers: [\"127.0.0.1:9\"] }\n";
    fs::write(&settings, text).unwrap();
    let place = world.locked();
    place.feed(&["sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40031"], "");
    // All but one are another's for UDP.
    let _others: Vec<_> = (40_000..40_031)
        .map(|port| place.inside(move || UdpSocket::bind(("127.0.0.1", port)).unwrap()))
        .collect();
    let words = [world.binary.to_str().unwrap(), "serve", "--config", &settings];
    let mut command = place.command(As::Root, &words);
    let mut exeat = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(exeat.stderr.as_mut().unwrap(), "DNS questions are answered at 127.0.0.1:40031");
    exeat.kill().unwrap();
    exeat.wait().unwrap();
}
