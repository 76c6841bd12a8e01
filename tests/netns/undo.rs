//! The way to undo everything without exeat, as the documentation has it.

use crate::exeat::Exeat;
use crate::internet::EVIL_V4;
use crate::place::As;
use crate::ways;
use crate::world::World;

const DOCUMENT: &str = include_str!("../../docs/transparent.md");

/// The commands that the documentation gives for a machine without exeat.
fn by_hand() -> &'static str {
    let (_, after) = DOCUMENT.split_once("Without exeat").unwrap();
    let (_, block) = after.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0
}

fn is_undone_by_hand(world: &World, how: &[&str]) {
    let _exeat = Exeat::start_as(world, As::Taker);
    let place = world.locked();
    let way = [format!("UDP4:{EVIL_V4}:5000"), format!("TCP4:{EVIL_V4}:5432,connect-timeout=3")];
    let opened = |expected| {
        let is_answered = |to: &&String| ways::is_answered(&world.instance, As::Program, to, expected);
        way.iter().filter(is_answered).count()
    };
    let routes = || ["ip -4 rule", "ip -6 rule"].map(|line| place.must(line)).concat();
    let before = routes();
    world.apply(how).good();
    assert_eq!(opened(false), 0, "{how:?}");
    place.run(As::Root, &["sh", "-c", by_hand()], "").good();
    assert_eq!((opened(true), routes()), (2, before), "{how:?}");
    assert_eq!(ways::shut(&world.instance, &ways::all()), [""; 0], "{how:?}");
    let loose = place.must("sysctl -n net.netfilter.nf_conntrack_tcp_loose");
    assert_eq!(loose, "1\n");
    // What is left does nothing, and goes too when it is asked to.
    world.exeat(&["lockdown", "remove"]).good();
    assert!(!place.must("iptables-save").contains("EXEAT"));
}

pub(crate) fn an_instance_is_undone_by_hand() {
    let world = World::instance();
    for format in ["iptables", "nft"] {
        is_undone_by_hand(&world, &["--format", format]);
    }
}

pub(crate) fn a_gateway_is_undone_by_hand() {
    let world = World::gateway();
    for format in ["iptables", "nft"] {
        is_undone_by_hand(&world, &["--format", format, "--gateway", "--interface", "in0", "--tproxy"]);
    }
}
