use ipnet::IpNet;

use super::firewall::{Format, Variant};
use super::found::State;
use super::iptables;
use super::plan::{Allowance, Exit, Plan, Shape};
use super::rule::{Family, Hook, Match, Table, Verdict};
use super::status::{Extent, Status};
use super::{chains, nft, tracking};

fn instance() -> Plan {
    Plan::new(Shape::Instance { containers: Vec::new() })
}

fn gateway() -> Plan {
    let subnets = ["10.0.1.0/24", "2001:db8:1::/64"].map(|subnet| subnet.parse().unwrap());
    let interfaces = vec!["eth1".to_owned()];
    Plan::new(Shape::Gateway { interfaces, subnets: subnets.to_vec(), tproxy: false })
}

fn tproxy() -> Plan {
    let interfaces = vec!["eth1".to_owned(), "eth2".to_owned()];
    Plan::new(Shape::Gateway { interfaces, subnets: Vec::new(), tproxy: true })
}

fn plans() -> Vec<Plan> {
    let network: IpNet = "10.0.0.2/32".parse().unwrap();
    let allowances = vec![Allowance::Udp(123, network), Allowance::Network("2001:db8::/32".parse().unwrap())];
    let containers = Shape::Instance { containers: vec!["docker+".to_owned()] };
    vec![
        instance(),
        gateway(),
        Plan { allowances, served_udp: vec![51820], exit: Exit::Mark(0x65), ..Plan::new(containers) },
        Plan { ipv4_only: true, kept_tcp: Vec::new(), ..gateway() },
        tproxy(),
    ]
}

/// What `iptables-save -c` would say of a text for `iptables-restore` on an empty rule set.
fn saved(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("-I ") {
        Some(rule) => format!("[0:0] -A {}\n", rule.replacen(" 1 ", " ", 1)),
        None if line.starts_with("-A") => format!("[3:180] {line}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn text(plan: &Plan, family: Family) -> String {
    State::default().change(&iptables::state(&chains::of(plan), family, &[]))
}

#[test]
fn every_chain_that_closes_ends_by_refusing_everything() {
    for plan in plans() {
        for chain in chains::of(&plan).iter().filter(|chain| chain.table == Table::Filter) {
            let last = chain.rules.last().unwrap();
            assert_eq!((&last.matches, &last.verdict), (&Vec::new(), &Verdict::Prohibit), "{}", chain.name);
        }
    }
}

#[test]
fn nothing_passes_without_a_match_and_a_word_why() {
    for rule in plans().iter().flat_map(chains::of).flat_map(|chain| chain.rules) {
        let passes = matches!(rule.verdict, Verdict::Return);
        assert!(!passes || !rule.matches.is_empty(), "{rule:?}");
        // Words that neither writer has to escape, and no more than nft takes (128 bytes).
        let safe = |byte: u8| byte.is_ascii() && !b"'\"\\".contains(&byte);
        assert!(!rule.comment.is_empty() && rule.comment.bytes().all(safe), "{rule:?}");
        assert!(rule.comment.len() < 110, "{rule:?}");
    }
}

#[test]
fn udp_answers_need_a_port_that_is_served() {
    for rule in plans().iter().flat_map(chains::of).flat_map(|chain| chain.rules) {
        if rule.matches.contains(&Match::Reply) && rule.matches.contains(&Match::Udp) {
            assert!(rule.matches.contains(&Match::SourcePort(51820)), "{rule:?}");
        }
    }
}

#[test]
fn a_rule_of_one_family_is_written_for_that_family() {
    let plan = &plans()[2];
    let (v4, v6) = (text(plan, Family::V4), text(plan, Family::V6));
    assert!(v4.contains("-d 10.0.0.2/32 -p udp --dport 123 ") && !v6.contains("10.0.0.2"));
    assert!(v6.contains("-d 2001:db8::/32 ") && !v4.contains("2001:db8"));
    assert!(v6.contains("--icmpv6-type 135 ") && !v4.contains("icmpv6"));
    assert!(v4.contains("--sport 68 --dport 67 ") && !v6.contains("--sport 68"));
    assert!(v4.contains("-I PREROUTING 1 -i docker+ "));
    assert!(nft::text(plan).contains("iifname \"docker*\" jump nat_prerouting"));
    assert!(v4.contains("-m mark --mark 0x65 ") && !v4.contains("--uid-owner"));
}

#[test]
fn ipv4_alone_names_nothing_of_ipv6() {
    let text = nft::text(&plans()[3]);
    let table = text.split_once("table ip exeat {").unwrap().1;
    assert!(!table.contains("ip6") && !table.contains("fe80"), "{table}");
}

#[test]
fn tproxy_comes_after_the_look_at_sources_and_its_routes_are_printed() {
    let text = super::firewall::text(&tproxy(), Format::Iptables(Variant::System));
    for family in ["-4", "-6"] {
        let rule = "rule add pref 3129 fwmark 0x2000000/0x2000000 lookup 3129";
        assert!(text.contains(&format!("# ip {family} {rule}\n")), "{text}");
        assert!(text.contains(&format!("# ip {family} route replace local default dev lo table 3129\n")));
    }
    assert!(text.contains(" -j TPROXY --on-port 3129 --tproxy-mark 0x2000000/0x2000000\n"));
    // Each is put first, so the last one stands first.
    let (_, mangle) = text.split_once("*mangle").unwrap();
    let (take, look) = (mangle.find("-j EXEAT-TPROXY").unwrap(), mangle.find("-j EXEAT-PREROUTING").unwrap());
    assert!(take < look);
    let text = nft::text(&tproxy());
    assert!(text.contains("tproxy to :3129 meta mark set meta mark | 0x2000000 accept"));
    assert!(
        text.contains("hook prerouting priority -144;") && text.contains("hook prerouting priority -145;")
    );
    // Only DNS is left to NAT.
    assert!(!text.contains("redirect to :3129") && text.contains("redirect to :3153"));
}

#[test]
fn what_is_forwarded_may_not_call_an_error_its_own() {
    for rule in plans().iter().flat_map(chains::of).filter(|chain| chain.hook == Hook::Forward) {
        for rule in rule.rules.iter().filter(|rule| rule.matches.contains(&Match::Related)) {
            assert!(rule.matches.contains(&Match::Backward), "{rule:?}");
        }
    }
}

#[test]
fn a_connection_alone_lets_only_the_rest_of_tcp_out() {
    for rule in plans().iter().flat_map(chains::of).flat_map(|chain| chain.rules) {
        if rule.matches.contains(&Match::OwnFlow) {
            assert!(
                rule.matches.contains(&Match::Tcp) && rule.matches.contains(&Match::NotFirst),
                "{rule:?}"
            );
        }
    }
}

#[test]
fn a_table_of_nft_is_declared_deleted_and_declared_anew_and_has_no_owner() {
    let text = nft::text(&instance());
    assert!(text.starts_with("add table inet exeat\ndelete table inet exeat\n"));
    assert!(text.contains("\ntable inet exeat {\n") && !text.contains("flags owner"));
}

#[test]
fn what_is_applied_can_be_found_changed_and_removed() {
    for plan in plans() {
        let first = text(&plan, Family::V4);
        let found = State::parse(&saved(&first));
        let rules = |state: &State| state.0.values().map(|held| held.chains.clone()).collect::<Vec<_>>();
        assert_eq!(rules(&found), rules(&iptables::state(&chains::of(&plan), Family::V4, &[])));
        let again = found.change(&iptables::state(&chains::of(&gateway()), Family::V4, &[]));
        // Whatever stood there before is taken out within the same text.
        for entry in first.lines().filter_map(|line| line.strip_prefix("-I ")) {
            assert!(again.contains(&format!("-D {}\n", entry.replacen(" 1 ", " ", 1))), "{again}");
        }
        let removal = found.change(&State::default());
        assert!(!removal.contains("-A ") && !removal.contains("-I "), "{removal}");
        let named = |start: &str| removal.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(
            (named(":EXEAT-"), named("-X EXEAT-")),
            (chains::of(&plan).len(), chains::of(&plan).len())
        );
    }
}

#[test]
fn rules_of_others_are_not_taken_for_ours() {
    let saved = "*filter\n:OUTPUT ACCEPT [0:0]\n:EXEATER - [0:0]\n-A OUTPUT -m comment --comment \"-j EXEAT-OUTPUT\" -j \
                 DROP\n-A OUTPUT -j EXEATER\n-A EXEATER -j LOG --log-prefix \"-j EXEAT-\"\nCOMMIT\n";
    assert!(State::parse(saved).is_empty());
    assert_eq!(Status::of_iptables(saved).extent(), Extent::None);
}

#[test]
fn status_knows_whole_from_partial() {
    for plan in plans() {
        let whole = saved(&text(&plan, Family::V4));
        let status = Status::of_iptables(&whole);
        assert_eq!((status.extent(), &status.faults), (Extent::Full, &Vec::new()));
        assert_eq!(status.chains[0].rules[0].packets, 3);
        let without = |part: &str| -> String {
            whole.lines().filter(|line| !line.contains(part)).map(|line| format!("{line}\n")).collect()
        };
        for part in ["exeat 3/", "exeat: lockdown", "EXEAT-FORWARD"] {
            assert_eq!(Status::of_iptables(&without(part)).extent(), Extent::Partial, "{part}");
        }
        let displaced =
            whole.replacen("[0:0] -A FORWARD", "[0:0] -A FORWARD -j DOCKER-USER\n[0:0] -A FORWARD", 1);
        assert_eq!(Status::of_iptables(&displaced).extent(), Extent::Partial);
        let strange = whole.replacen("COMMIT", "[0:0] -A EXEAT-FORWARD -j ACCEPT\nCOMMIT", 1);
        assert_eq!(Status::of_iptables(&strange).faults, ["rules of others stand in filter EXEAT-FORWARD"]);
    }
}

#[test]
fn the_earlier_setting_is_noted_in_the_rules() {
    for (before, noted) in [(Some(true), Some(true)), (Some(false), Some(false)), (None, None)] {
        let plan = Plan { loose_before: before, ..instance() };
        assert_eq!(tracking::noted(&text(&plan, Family::V6)), noted);
        assert_eq!(tracking::noted(&nft::text(&plan)), noted);
    }
}

#[test]
fn tables_that_were_made_for_the_lockdown_are_known_again() {
    let found = "*filter\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    assert_eq!(iptables::made(found), [Table::Mangle, Table::Security]);
    let state = iptables::state(&chains::of(&instance()), Family::V4, &[Table::Mangle]);
    let saved = saved(&State::default().change(&state));
    // One that is still not there would be made too.
    assert_eq!(iptables::made(&saved), [Table::Mangle, Table::Security]);
    let held = saved + "*security\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
    assert_eq!(iptables::made(&held), [Table::Mangle]);
}
