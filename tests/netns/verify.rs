//! `exeat verify` sees an open instance as open and a locked one as locked.

use serde_json::Value;

use crate::exeat::Exeat;
use crate::internet::{ALLOWED, EVIL, METADATA, METADATA_TASKS};
use crate::place::As;
use crate::world::World;

/// Ports of a server at which nobody listens: it refuses, once it is reached.
const CLOSED: [&str; 2] = ["11.0.0.66:4444", "[2a00:77::66]:4444"];
/// Metadata services of clouds that are asked for, each by its address.
const SERVICES: usize = 17;

fn verify(world: &World, allowed: &str) -> (Option<i32>, Vec<Value>) {
    let binary = world.binary.to_str().unwrap();
    let mut words = vec![
        binary,
        "verify",
        "--allowed",
        allowed,
        "--unlisted",
        EVIL,
        "--format",
        "json",
        "--patience",
        "2",
    ];
    let probes = ["11.0.0.66:443", "11.0.0.66:80", "11.0.0.66:22", "[2a00:77::66]:443", "[2a00:77::66]:5432"];
    for probe in probes.into_iter().chain(CLOSED) {
        words.extend(["--probe", probe]);
    }
    let ran = world.instance.run(As::Root, &words, "");
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:#?}"));
    (ran.code, report["findings"].as_array().unwrap().clone())
}

fn with(findings: &[Value], outcome: &str) -> Vec<String> {
    let found = findings.iter().filter(|finding| finding["outcome"] == outcome);
    found.map(|finding| finding["probe"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn verify_tells_an_open_instance_from_a_locked_one() {
    tells_open_from_locked(&World::instance(), &[&["--format", "iptables"], &["--format", "nft"]]);
}

pub(crate) fn verify_tells_an_open_gateway_from_a_locked_one() {
    let gateway = ["--gateway", "--interface", "in0"];
    let tproxy = [&gateway[..], &["--tproxy"]].concat();
    tells_open_from_locked(&World::gateway(), &[&gateway, &tproxy]);
}

/// From where the programs are, in front of exeat and after it has died.
fn tells_open_from_locked(world: &World, locks: &[&[&str]]) {
    let mut exeat = Exeat::start_as(world, As::Taker);
    let allowed = format!("{ALLOWED}:443");
    let (code, open) = verify(world, &allowed);
    assert_eq!(code, Some(1));
    // Who refuses, or calls a service unreachable, is a server or a router that was reached.
    let (refused, nowhere): (Vec<_>, Vec<_>) =
        with(&open, "unproven").into_iter().partition(|probe| probe.ends_with(":4444"));
    assert_eq!(refused, CLOSED.map(|at| format!("TCP {at}")), "{open:#?}");
    assert!(!nowhere.is_empty(), "{open:#?}");
    // Of the services of all clouds, two are somewhere in the tests.
    let nowhere = [nowhere, with(&open, "blocked")].concat();
    assert!(nowhere.iter().any(|probe| probe == "TCP 168.63.129.16:80"), "{open:#?}");
    assert!(nowhere.iter().any(|probe| probe == "TCP [fd00:ec2::254]:80"), "{open:#?}");
    assert_eq!(nowhere.len(), SERVICES - 2, "{open:#?}");
    let got_out = with(&open, "got_out");
    for service in [METADATA, METADATA_TASKS] {
        assert!(got_out.contains(&format!("TCP {service}:80")), "{open:#?}");
    }
    assert_eq!(got_out.len(), open.len() - 1 - nowhere.len() - refused.len(), "{open:#?}");

    for how in locks {
        world.apply(how).good();
        world.settle();
        world.tap.clear();
        let (code, locked) = verify(world, &allowed);
        assert_eq!((code, with(&locked, "blocked").len()), (Some(0), locked.len() - 1), "{locked:#?}");
        assert_eq!(with(&locked, "works"), [format!("allowed: {ALLOWED}:443")]);
        assert_eq!(world.leaks(), []);
        // Nothing gets out, but nothing is proven by a name that would not work anyway.
        let (code, unproven) = verify(world, &format!("{EVIL}:443"));
        assert_eq!((code, with(&unproven, "got_out")), (Some(1), vec![]), "{unproven:#?}");
        assert!(!with(&unproven, "unproven").is_empty());
    }
    exeat.kill();
    world.settle();
    world.tap.clear();
    let (code, dead) = verify(world, &allowed);
    assert_eq!((code, with(&dead, "got_out")), (Some(1), vec![]), "{dead:#?}");
    assert_eq!(with(&dead, "broken"), [format!("allowed: {ALLOWED}:443")]);
    assert_eq!(world.leaks(), []);
}
