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
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
:KUBE-SEP-BNI2HGZLXVCEHRHW - [0:0]
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment "not -j EXEAT-OUTPUT \"quoted\"" -m tcp --dport 443 -j RETURN
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-SVC-NPX46M4PTMTKRN6Y -m comment --comment "default/kubernetes:https -> 10.96.1.9:6443" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-BNI2HGZLXVCEHRHW
-A KUBE-SEP-BNI2HGZLXVCEHRHW -p tcp -m comment --comment "10.96.1.9" -m tcp -j DNAT --to-destination 10.96.1.9:6443
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:FORWARD_direct - [0:0]
:FORWARD_IN_ZONES - [0:0]
:FWDI_public - [0:0]
:FWDO_public - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_IN_ZONES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD_IN_ZONES -i up0 -g FWDI_public
-A OUTPUT -o up0 -j FWDO_public
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-PROXY-CANARY - [0:0]
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
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
    let world = World::container();
    let _exeat = Exeat::start(&world);
    let instance = &world.instance;
    instance.feed(&[&format!("iptables-{kind}-restore")], FOREIGN);
    let v6 = FOREIGN
        .lines()
        .filter(|line| !line.contains("/8") && !line.contains("172.17") && !line.contains("10.96"));
    instance.feed(&[&format!("ip6tables-{kind}-restore")], &(v6.collect::<Vec<_>>().join("\n") + "\n"));
    if kind == "legacy" {
        // The kernel never lets go of a table that was used once.
        for (family, table) in [("", "mangle"), ("6", "mangle"), ("", "security"), ("6", "security")] {
            instance.must(&format!("ip{family}tables-legacy -t {table} -L -n"));
        }
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
    for shape in [&["--interface", "docker0"][..], &["--gateway", "--tproxy", "--interface", "docker0"]] {
        world.apply(&[&["--format", format, "--ahead"], shape].concat()).good();
    }
    world.apply(&["--format", format]).good();
    assert_same(&saved(instance, kind), &once, "applied after another shape");

    world.exeat(&["lockdown", "remove", "--format", format]).good();
    assert_same(&rule_sets(instance, kind), &before, "removed");
    assert_eq!(loose(), loose_before);
    world.exeat(&["lockdown", "remove", "--format", format]).good();
    assert_same(&rule_sets(instance, kind), &before, "removed again");
}

pub(crate) fn rules_of_others_are_left_as_they_were_by_iptables_nft() {
    rules_of_others_are_left_as_they_were("nft", "iptables-nft");
}

pub(crate) fn rules_of_others_are_left_as_they_were_by_nft() {
    rules_of_others_are_left_as_they_were("nft", "nft");
}

pub(crate) fn rules_of_others_are_left_as_they_were_by_iptables_legacy() {
    rules_of_others_are_left_as_they_were("legacy", "iptables-legacy");
}

pub(crate) fn rules_that_come_to_stand_before_ours_let_nothing_out() {
    let world = World::instance();
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

/// As Docker and firewalld put theirs before ours on a gateway when they start.
fn rules_before_ours_let_nothing_through(how: &[&str]) {
    let world = World::gateway();
    let _exeat = Exeat::start_as(&world, As::Taker);
    let apply = [&["--gateway", "--interface", "in0"], how].concat();
    world.apply(&apply).good();
    for family in ["iptables", "ip6tables"] {
        for chain in ["FORWARD", "PREROUTING -t nat"] {
            world.locked().must(&format!("{family} -I {chain} -j ACCEPT"));
        }
    }
    let nft = how.contains(&"nft");
    let status = world.exeat(&["lockdown", "status"]);
    // No rule of another table comes before those of nft.
    assert_eq!(status.code, Some(if nft { 0 } else { 1 }));
    assert_eq!(
        status.out.contains("rules of others stand before ours in filter FORWARD"),
        !nft,
        "{status:?}"
    );
    world.settle();
    world.tap.clear();
    assert_eq!(ways::open(&world.instance, &ways::all()), [""; 0]);
    ways::send_silent(&world.instance);
    assert_eq!(world.leaks(), []);
    world.apply(&apply).good();
    world.exeat(&["lockdown", "status"]).good();
}

pub(crate) fn rules_before_ours_let_nothing_through_iptables() {
    rules_before_ours_let_nothing_through(&["--format", "iptables"]);
}

pub(crate) fn rules_before_ours_let_nothing_through_nft() {
    rules_before_ours_let_nothing_through(&["--format", "nft"]);
}

pub(crate) fn rules_before_ours_let_nothing_through_tproxy() {
    rules_before_ours_let_nothing_through(&["--format", "iptables", "--tproxy"]);
}
