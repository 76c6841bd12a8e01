//! Through a gateway: what arrives by its inner interface reaches the allowed names alone.

use std::io::Write;

use serde_json::Value;

use crate::exeat::Exeat;
use crate::flows::{Pair, is_ended};
use crate::internet::{ALLOWED, ALLOWED_V4, ALLOWED_V6, EVIL_V4, EVIL_V6, GIT_V4, GIT_V6};
use crate::place::As;
use crate::ways;
use crate::world::{INSTANCE_V4, INSTANCE_V6, VISITOR_V4, VISITOR_V6, World};

const GATEWAY: [&str; 3] = ["--gateway", "--interface", "in0"];
const SUBNETS: [&str; 4] = ["--subnet", "10.77.0.0/24", "--subnet", "2a00:99::/64"];

fn nothing_but_the_allowed_names_gets_out(format: &str, tproxy: bool) {
    let world = World::gateway();
    let mut exeat = Exeat::start_as(&world, if tproxy { As::Taker } else { As::Exeat });
    let ways = ways::all();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open at first");

    let how: &[&str] = if tproxy { &["--format", format, "--tproxy"] } else { &["--format", format] };
    world.apply(&[how, &GATEWAY, &SUBNETS].concat()).good();
    world.exeat(&["lockdown", "status"]).good();
    world.tap.clear();
    assert_eq!(ways::open(&world.instance, &ways), [""; 0]);
    ways::send_silent(&world.instance);
    // A source that is not of the subnet, as an instance that lies would send it.
    world.instance.must("ip addr add 10.99.0.2/32 dev lo");
    for line in [
        "UDP4:11.0.0.66:5000,bind=10.99.0.2",
        "UDP4:10.77.0.1:53,bind=10.99.0.2",
        "TCP4:11.0.0.66:22,bind=10.99.0.2,connect-timeout=1",
    ] {
        world.instance.run(As::Root, &["socat", "-t0", "-T0.5", "-", line], "x");
    }
    assert_eq!(world.leaks(), []);
    allowed_names_answer(&world);
    let is_allowed = |record: &&Value| record["verdict"] == "allow";
    let records = exeat.records_when(|records| records.iter().filter(is_allowed).count() > 4);
    let mut clients = records.iter().filter(is_allowed).map(|record| &record["client"]);
    assert!(clients.all(|at| at == INSTANCE_V4 || at == INSTANCE_V6));
    // The gateway's own programs are not its clients.
    let own = world.locked().run(As::Program, &["curl", "-s", "--max-time", "30", "http://11.0.0.66/"], "");
    assert_eq!(own.out, "this is 11.0.0.66:80\n");

    exeat.kill();
    world.settle();
    world.tap.clear();
    assert_eq!(ways::open(&world.instance, &ways), [""; 0]);
    ways::send_silent(&world.instance);
    assert_eq!(world.leaks(), []);
    world.exeat(&["lockdown", "remove"]).good();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open again");
}

pub(crate) fn allowed_names_answer(world: &World) {
    for (family, address) in [("-4", ALLOWED_V4.to_owned()), ("-6", format!("[{ALLOWED_V6}]"))] {
        for (url, port) in [(format!("http://{ALLOWED}/"), 80), (format!("https://{ALLOWED}/"), 443)] {
            let words = ["curl", "-sk", family, "--max-time", "30", &url];
            let answer = world.instance.run(As::Program, &words, "").good();
            assert_eq!(answer, format!("this is {address}:{port}\n"));
        }
    }
    // The name, at an address that is somebody else's: the name's own server answers.
    let lie = format!("{ALLOWED}:443:{EVIL_V4}");
    let words = ["curl", "-sk", "--max-time", "30", "--resolve", &lie, &format!("https://{ALLOWED}/")];
    let answer = world.instance.run(As::Program, &words, "").good();
    let own = [format!("this is {ALLOWED_V4}:443\n"), format!("this is [{ALLOWED_V6}]:443\n")];
    assert!(own.contains(&answer), "{answer:?}");
    for git in [format!("TCP4:{GIT_V4}:22"), format!("TCP6:[{GIT_V6}]:22")] {
        assert!(ways::is_answered(&world.instance, As::Program, &git, true), "{git}");
    }
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_through_iptables() {
    nothing_but_the_allowed_names_gets_out("iptables", false);
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_through_iptables_legacy() {
    nothing_but_the_allowed_names_gets_out("iptables-legacy", false);
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_through_nft() {
    nothing_but_the_allowed_names_gets_out("nft", false);
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_through_iptables_by_tproxy() {
    nothing_but_the_allowed_names_gets_out("iptables", true);
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_through_nft_by_tproxy() {
    nothing_but_the_allowed_names_gets_out("nft", true);
}

/// One interface leads to the clients and to the internet, as on a NAT instance.
pub(crate) fn one_interface_can_serve_both_sides() {
    let world = World::one_armed();
    let exeat = Exeat::start_as(&world, As::Taker);
    let ways = ways::all();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open at first");
    let mut ssh = Pair::open((&world.internet, VISITOR_V4), (world.locked(), "10.77.0.3"), 22);
    for how in [&["--format", "iptables"][..], &["--format", "nft"], &["--format", "nft", "--tproxy"]] {
        world.apply(&[how, &GATEWAY, &SUBNETS].concat()).good();
        world.settle();
        world.tap.clear();
        assert_eq!(ways::open(&world.instance, &ways), [""; 0], "{how:?}");
        allowed_names_answer(&world);
        assert!(ssh.lives(), "whoever looks after the gateway is not locked out: {how:?}");
        assert_eq!(world.leaks(), []);
    }
    drop(exeat);
}

fn who_is_inside_can_be_reached_and_what_was_open_ends(how: &[&str], port: u16) {
    let world = World::gateway();
    let _exeat = Exeat::start_as(&world, As::Taker);
    let (instance, internet) = (&world.instance, &world.internet);
    let mut strayed = [(INSTANCE_V4, EVIL_V4), (INSTANCE_V6, EVIL_V6)]
        .map(|(address, evil)| Pair::open((instance, address), (internet, evil), 7001));
    // From here on the gateway looks at connections. The far side of those that are open already speaks first,
    // and so seems to have opened them.
    for family in ["iptables", "ip6tables"] {
        world.locked().must(&format!("{family} -I FORWARD -m conntrack --ctstate ESTABLISHED"));
    }
    assert!(strayed.iter_mut().all(Pair::lives_backwards));
    let mut ssh = [(VISITOR_V4, INSTANCE_V4), (VISITOR_V6, INSTANCE_V6)]
        .map(|(visitor, address)| Pair::open((internet, visitor), (instance, address), 22));
    let mut old = [(INSTANCE_V4, EVIL_V4), (INSTANCE_V6, EVIL_V6)]
        .map(|(address, evil)| Pair::open((instance, address), (internet, evil), 7000));
    assert!(ssh.iter_mut().chain(&mut old).all(Pair::lives));

    world.apply(&[how, &GATEWAY].concat()).good();
    world.settle();
    world.tap.clear();
    for pair in strayed.iter_mut().chain(&mut old) {
        let _ = pair.server.write_all(b"come out");
        assert!(is_ended(&mut pair.opener), "{how:?}");
    }
    assert!(ssh.iter_mut().all(Pair::lives), "{how:?}");
    let mut new = Pair::open((internet, VISITOR_V4), (instance, INSTANCE_V4), port);
    assert!(new.lives(), "{how:?}");
    assert_eq!(world.leaks(), []);
}

pub(crate) fn what_was_open_ends_through_iptables() {
    who_is_inside_can_be_reached_and_what_was_open_ends(&["--format", "iptables"], 2222);
}

pub(crate) fn what_was_open_ends_through_nft() {
    who_is_inside_can_be_reached_and_what_was_open_ends(&["--format", "nft"], 2222);
}

pub(crate) fn what_was_open_ends_through_iptables_by_tproxy() {
    who_is_inside_can_be_reached_and_what_was_open_ends(&["--format", "iptables", "--tproxy"], 2222);
}

pub(crate) fn tproxy_wants_a_listener_that_takes_any_address_and_leaves_nothing_behind() {
    let world = World::gateway();
    let gateway = world.locked();
    let routes = || {
        ["ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"]
            .map(|line| gateway.must(line))
            .concat()
    };
    let (before, tproxy) = (routes(), [&GATEWAY[..], &["--tproxy"]].concat());
    let exeat = Exeat::start(&world);
    let refused =
        world.apply(&["--gateway", "--interface", "in0", "--interface", "in1", "--interface", "i+"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("there is no interface in1: "), "{refused:?}");
    let refused = world.apply(&tproxy);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("start exeat with CAP_NET_ADMIN"), "{refused:?}");
    assert_eq!(routes(), before);
    drop(exeat);

    for format in ["iptables", "nft"] {
        let formatted = [&tproxy[..], &["--ahead", "--format", format]].concat();
        world.apply(&formatted).good();
        world.apply(&formatted).good();
        let added = routes();
        assert_eq!(added.matches("fwmark 0x2000000/0x2000000 lookup 3129").count(), 2, "{added}");
        world.exeat(&["lockdown", "status"]).good();
        gateway.must("ip -6 rule del pref 3129");
        let status = world.exeat(&["lockdown", "status"]);
        assert_eq!(status.code, Some(1));
        assert!(status.out.contains("IPv6: NOT WHOLLY LOCKED\n  fault: the routes of TPROXY"), "{status:?}");
        world.exeat(&["lockdown", "remove"]).good();
        assert_eq!(routes(), before, "{format}");
    }
    // Another way to the door leaves no routes of this one.
    world.apply(&[&tproxy[..], &["--ahead"]].concat()).good();
    world.apply(&[&GATEWAY[..], &["--ahead"]].concat()).good();
    assert_eq!(routes(), before);
}
