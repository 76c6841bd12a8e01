//! A machine with rules of others: Docker's, kube-proxy's, firewalld's.

use crate::exeat::Exeat;
use crate::place::{As, Place};
use crate::ways;
use crate::world::World;

/// Rules as Docker, kube-proxy and firewalld leave them.
const FOREIGN: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "not -j EXEAT-OUTPUT \"quoted\"" -m tcp --dport 443 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:FWDO_public - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A OUTPUT -o up0 -j FWDO_public
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"#;

/// What `iptables-save` says of both families, without what time and traffic change in it.
fn saved(place: &Place, kind: &str) -> Vec<String> {
    let mut tables = Vec::new();
    for family in ["iptables", "ip6tables"] {
        let text = place.must(&format!("{family}-{kind}-save"));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let still: Vec<&str> = lines.map(|line| line.split(" [").next().unwrap_or(line)).collect();
        tables.extend(still.join("\n").split("COMMIT").map(|table| format!("{family}{}", table.trim())));
    }
    // iptables of old saves its tables in the order in which they were used last.
    tables.sort();
    tables.iter().flat_map(|table| table.lines()).map(str::to_owned).collect()
}

/// The same, and all that nft knows.
fn rule_sets(place: &Place, kind: &str) -> Vec<String> {
    let mut lines = saved(place, kind);
    lines.extend(place.must("nft -s list ruleset").lines().map(str::to_owned));
    lines
}

/// Says which lines differ, not all of them.
fn assert_same(now: &[String], before: &[String], when: &str) {
    let lacking = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    assert_eq!((lacking(now, before), lacking(before, now)), (Vec::new(), Vec::new()), "{when}");
    assert!(now == before, "the order differs: {when}");
}

fn rules_of_others_are_left_as_they_were(kind: &str, format: &str) {
    let Some(world) = World::instance() else { return };
    let _exeat = Exeat::start(&world);
    let instance = &world.instance;
    instance.feed(&[&format!("iptables-{kind}-restore")], FOREIGN);
    let v6 = FOREIGN
        .lines()
        .filter(|line| !line.contains("/8") && !line.contains("172.17") && !line.contains("10.96"));
    instance.feed(&[&format!("ip6tables-{kind}-restore")], &(v6.collect::<Vec<_>>().join("\n") + "\n"));
    if kind == "legacy" {
        // The kernel never lets go of a table that was used once.
        instance.must("iptables-legacy -t mangle -L -n");
        instance.must("ip6tables-legacy -t mangle -L -n");
    }
    let loose = || instance.must("sysctl -n net.netfilter.nf_conntrack_tcp_loose");
    let (before, loose_before) = (rule_sets(instance, kind), loose());

    world.apply(&["--format", format]).good();
    let once = rule_sets(instance, kind);
    let gone: Vec<&String> = before.iter().filter(|line| !once.contains(line)).collect();
    assert!(gone.is_empty(), "{gone:#?}");
    assert_eq!(loose(), "0\n");
    world.apply(&["--format", format]).good();
    assert_same(&rule_sets(instance, kind), &once, "applied again");
    let once = saved(instance, kind);
    // Another shape of the same lockdown takes its place.
    world.apply(&["--format", format, "--interface", "docker0", "--ahead"]).good();
    world.apply(&["--format", format]).good();
    assert_same(&saved(instance, kind), &once, "applied after another shape");

    world.exeat(&["lockdown", "remove", "--format", format]).good();
    assert_same(&rule_sets(instance, kind), &before, "removed");
    assert_eq!(loose(), loose_before);
    world.exeat(&["lockdown", "remove", "--format", format]).good();
    assert_same(&rule_sets(instance, kind), &before, "removed again");
}

#[test]
fn rules_of_others_are_left_as_they_were_by_iptables_nft() {
    rules_of_others_are_left_as_they_were("nft", "iptables-nft");
}

#[test]
fn rules_of_others_are_left_as_they_were_by_nft() {
    rules_of_others_are_left_as_they_were("nft", "nft");
}

#[test]
fn rules_of_others_are_left_as_they_were_by_iptables_legacy() {
    let Some(world) = World::instance() else { return };
    if world.instance.run(As::Root, &["iptables-legacy-save", "-t", "nat"], "").code != Some(0) {
        eprintln!("*** this kernel has no iptables of old ***");
        return;
    }
    rules_of_others_are_left_as_they_were("legacy", "iptables-legacy");
}

#[test]
fn rules_that_come_to_stand_before_ours_let_nothing_out() {
    let Some(world) = World::instance() else { return };
    let _exeat = Exeat::start(&world);
    let instance = &world.instance;
    world.apply(&[]).good();
    assert_eq!(world.exeat(&["lockdown", "status"]).code, Some(0));
    for family in ["iptables", "ip6tables"] {
        instance.must(&format!("{family} -I OUTPUT -j ACCEPT"));
        instance.must(&format!("{family} -t nat -I OUTPUT -j ACCEPT"));
    }
    let status = world.exeat(&["lockdown", "status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.out.contains("rules of others stand before ours in filter OUTPUT"), "{status:?}");
    world.settle();
    world.tap.clear();
    assert_eq!(ways::open(instance, &ways::all()), [""; 0]);
    ways::send_silent(instance);
    assert_eq!(world.leaks(), []);
    // Applying again puts ours first again.
    world.apply(&[]).good();
    assert_eq!(world.exeat(&["lockdown", "status"]).code, Some(0));
}
