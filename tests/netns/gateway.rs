//! Through a gateway: what arrives by its inner interface reaches the allowed names alone.

use crate::exeat::Exeat;
use crate::internet::{ALLOWED, ALLOWED_V4, EVIL_V4, GIT_V4};
use crate::place::As;
use crate::ways;
use crate::world::{INSTANCE_V4, VISITOR_V4, World};

fn nothing_but_the_allowed_names_gets_out(format: &str) {
    let Some(world) = World::gateway() else { return };
    let mut exeat = Exeat::start(&world);
    let ways = ways::all();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open at first");

    let subnets = ["--subnet", "10.77.0.0/24", "--subnet", "2a00:99::/64"];
    world.apply(&[&["--format", format, "--gateway", "--interface", "in0"][..], &subnets].concat()).good();
    world.exeat(&["lockdown", "status"]).good();
    world.tap.clear();
    assert_eq!(ways::open(&world.instance, &ways), [""; 0]);
    ways::send_silent(&world.instance);
    // A source that is not of the subnet, as an instance that lies would send it.
    world.instance.must("ip addr add 10.99.0.2/32 dev lo");
    for line in ["UDP4:11.0.0.66:5000,bind=10.99.0.2", "TCP4:11.0.0.66:22,bind=10.99.0.2,connect-timeout=1"] {
        world.instance.run(As::Root, &["socat", "-t0", "-T0.5", "-", line], "x");
    }
    assert_eq!(world.leaks(), []);
    for url in [format!("http://{ALLOWED}/"), format!("https://{ALLOWED}/")] {
        let answer = world.instance.run(As::Program, &["curl", "-sk4", "--max-time", "5", &url], "").good();
        assert!(answer.starts_with(&format!("this is {ALLOWED_V4}:")), "{answer:?}");
    }
    let git = format!("TCP4:{GIT_V4}:22");
    let said = world.instance.run(As::Program, &["socat", "-t1", "-T2", "-", &git], "x");
    assert!(said.out.starts_with("SSH-2.0-at-"), "{said:?}");
    // The gateway's own programs are not its clients.
    let own = world.locked().run(As::Program, &["curl", "-s", "--max-time", "5", "http://11.0.0.66/"], "");
    assert_eq!(own.out, "this is 11.0.0.66:80\n");

    exeat.kill();
    world.settle();
    world.tap.clear();
    assert_eq!(ways::open(&world.instance, &ways), [""; 0]);
    assert_eq!(world.leaks(), []);
    world.exeat(&["lockdown", "remove"]).good();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open again");
}

#[test]
fn nothing_but_the_allowed_names_gets_out_through_iptables() {
    nothing_but_the_allowed_names_gets_out("iptables");
}

#[test]
fn nothing_but_the_allowed_names_gets_out_through_nft() {
    nothing_but_the_allowed_names_gets_out("nft");
}

#[test]
fn who_is_inside_can_be_reached_and_what_was_open_ends() {
    use crate::flows::{Pair, is_ended};
    let Some(world) = World::gateway() else { return };
    let _exeat = Exeat::start(&world);
    let (instance, internet) = (&world.instance, &world.internet);
    world.locked().must("iptables -I FORWARD -m conntrack --ctstate ESTABLISHED");
    let mut ssh = Pair::open((internet, VISITOR_V4), (instance, INSTANCE_V4), 22);
    let mut old = Pair::open((instance, INSTANCE_V4), (internet, EVIL_V4), 7000);
    assert!(ssh.lives() && old.lives());
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format, "--gateway", "--interface", "in0"]).good();
        world.settle();
        world.tap.clear();
        assert!(is_ended(&mut old.opener));
        assert!(ssh.lives());
        assert!(
            Pair::open(
                (internet, VISITOR_V4),
                (instance, INSTANCE_V4),
                if format == "nft" { 2222 } else { 2223 }
            )
            .lives()
        );
        assert_eq!(world.leaks(), []);
    }
}
