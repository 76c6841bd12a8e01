use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::civil::date;

use super::*;
use crate::policy::document::load_text;

fn warnings(profiles: &str) -> Vec<String> {
    let text = format!("version: 1\nprofiles:\n{profiles}");
    let loaded = load_text(Path::new("p"), &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let policy = loaded.builder.finish(1);
    lint(&policy, &loaded.columns, date(2026, 11, 22)).iter().map(ToString::to_string).collect()
}

/// One profile whose `allow` starts in line 5 and whose `deny` comes after it.
fn one(allow: &[&str], deny: &[&str]) -> Vec<String> {
    let mut text = "  - name: a\n    allow:\n".to_owned();
    allow.iter().for_each(|rule| text += &format!("      - {rule}\n"));
    if !deny.is_empty() {
        text += "    deny:\n";
        deny.iter().for_each(|rule| text += &format!("      - {rule}\n"));
    }
    warnings(&text)
}

#[test]
fn rules_that_do_something_are_left_alone() {
    assert_eq!(
        one(
            &[
                "example.com",
                "{ host: example.com, ports: [8443] }",
                "\"*.example.com\"",
                ".other.example",
                "{ host: other.example, until: 2026-12-01 }",
                "api-*.x.example",
                "api-*.y.example",
                "{ cidr: 203.0.113.0/24 }",
                "{ cidr: 203.0.113.7/32 }",
                "{ host: pub.x.example, protocol: http, methods: [GET] }",
                "{ host: pub.x.example, protocol: tls }",
            ],
            &[
                "www.example.com",
                "{ host: example.com, ports: [80] }",
                "{ host: .other.example, protocol: http, methods: [POST] }",
                "{ host: .other.example, until: 2026-11-22 }",
                "{ cidr: 203.0.113.8/32 }",
                "\"*.x.x.example\"",
            ],
        ),
        [""; 0]
    );
}

#[test]
fn an_expired_rule_is_told() {
    assert_eq!(
        one(&["{ host: a.example, until: 2026-11-21 }"], &[]),
        [
            "p:5:9: warning: the rule \"a.example\" ended on 2026-11-21\n  hint: remove it, or give it a later `until`"
        ]
    );
}

#[test]
fn a_network_whose_addresses_the_guard_keeps_is_told() {
    for network in ["224.0.0.0/3", "64:ff9b::10.0.0.0/104"] {
        let found = one(&[&format!("{{ cidr: \"{network}\" }}")], &[]);
        assert!(
            found.len() == 1 && found[0].contains("\" never allows anything: its addresses"),
            "{found:?}"
        );
        assert_eq!(one(&["a.example"], &[&format!("{{ cidr: \"{network}\" }}")]), [""; 0], "all are denied");
    }
}

#[test]
fn a_metadata_address_that_a_name_is_to_lead_to_is_told() {
    let found = one(&["{ host: a.example, private: [10.0.0.0/8, 169.254.169.254] }"], &[]);
    assert!(found.len() == 1 && found[0].contains("`private` network 169.254.169.254: it is"), "{found:?}");
    assert_eq!(one(&["{ host: a.example, private: [169.254.0.0/16, 10.1.2.3] }"], &[]), [""; 0]);
}

#[test]
fn each_warning_is_where_its_rule_is() {
    let places = |profiles: &str| {
        let found = warnings(profiles);
        let place = |text: &String| text.split(": ").next().unwrap_or_default().to_owned();
        found.iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(
        places(
            "  - { name: a, allow: [a.example, a.example, { host: a.example }],\n      deny: [b.example, b.example] }\n"
        ),
        ["p:3:35", "p:3:46", "p:4:25"]
    );
}

#[test]
fn a_duplicate_names_the_first() {
    let duplicate = |line, pattern, of| {
        format!(
            "p:{line}:9: warning: the rule \"{pattern}\" is a duplicate of p:{of}\n  hint: remove one of the two"
        )
    };
    assert_eq!(
        one(
            &[
                "a.example",
                "{ host: A.example, reason: again }",
                "api-*.a.example",
                "{ cidr: 203.0.113.0/24 }",
                "api-*.a.example",
                "{ cidr: 203.0.113.0/24, ports: [443, 80] }",
            ],
            &["b.example", "b.example"],
        ),
        [
            duplicate(6, "a.example", 5),
            duplicate(9, "api-*.a.example", 7),
            duplicate(10, "203.0.113.0/24", 8),
            duplicate(13, "b.example", 12),
        ]
    );
}

#[test]
fn an_allow_that_a_deny_covers_is_told() {
    for (allow, deny) in [
        ("a.example", "a.example"),
        ("a.example", ".a.example"),
        ("x.y.a.example", "\"*.a.example\""),
        ("\"*.y.a.example\"", "\"*.a.example\""),
        (".y.a.example", "\"*.a.example\""),
        ("api-*.a.example", ".a.example"),
        ("api-1.a.example", "api-*.a.example"),
        ("a.example", "\"*\""),
        ("{ cidr: 203.0.113.7/32 }", "{ cidr: 203.0.113.0/24 }"),
        ("{ cidr: 203.0.113.0/24 }", "{ cidr: 203.0.113.0/24 }"),
        ("{ host: a.example, ports: [22], protocol: tcp }", "{ host: a.example, ports: [1-1024] }"),
        ("{ host: a.example, until: 2027-01-01 }", "{ host: a.example, until: 2027-01-01 }"),
        ("{ host: a.example, protocol: tls }", "{ host: a.example, protocol: tls }"),
        ("{ host: a.example, ports: [443] }", "{ host: a.example, protocol: tls }"),
        ("{ host: a.example, ports: [80] }", "{ host: a.example, protocol: http }"),
        (
            "{ host: a.example, protocol: http, methods: [GET] }",
            "{ host: a.example, protocol: http, methods: [GET, HEAD] }",
        ),
        (
            "{ host: a.example, ports: [80], methods: [GET], paths: [/a] }",
            "{ host: a.example, protocol: http, paths: [/b, /a] }",
        ),
    ] {
        let found = one(&[allow], &[deny]);
        assert_eq!(found.len(), 1, "{allow} under {deny}: {found:?}");
        assert!(found[0].contains("never allows anything: it is denied by p:7"), "{}", found[0]);
    }
}

#[test]
fn a_deny_that_leaves_something_covers_no_allow() {
    for (allow, deny) in [
        ("a.example", "{ host: a.example, protocol: tls }"),
        ("{ host: a.example, ports: [443, 8443] }", "{ host: a.example, protocol: tls }"),
        (
            "{ host: a.example, protocol: http, methods: [GET, PUT] }",
            "{ host: a.example, protocol: http, methods: [GET, HEAD] }",
        ),
        (
            "{ host: a.example, protocol: http, methods: [GET] }",
            "{ host: a.example, protocol: http, paths: [/a] }",
        ),
    ] {
        assert_eq!(one(&[allow], &[deny]), [""; 0], "{allow} under {deny}");
    }
}

#[test]
fn a_deny_for_everyone_covers_other_profiles_and_one_for_some_does_not() {
    let with = |clients| {
        warnings(&format!(
            "  - name: a\n    clients: [10.0.0.0/8]\n    allow: [a.example]\n  - name: b\n{clients}    deny: [a.example]\n"
        ))
    };
    assert_eq!(with("").len(), 1);
    assert_eq!(with("    clients: [192.0.2.0/24]\n"), [""; 0]);
}

#[test]
fn a_wider_rule_that_voids_methods_and_paths_is_told() {
    for (narrow, wide, voids) in [
        ("{ host: pub.x.example, protocol: http, methods: [GET] }", ".x.example", true),
        ("{ host: pub.x.example, protocol: http, paths: [/a] }", "pub.x.example", true),
        (
            "{ host: pub.x.example, ports: [80], paths: [/a] }",
            "{ host: pub.x.example, protocol: http }",
            true,
        ),
        ("{ host: pub.x.example, protocol: http, ports: [8080], methods: [GET] }", ".x.example", false),
        (
            "{ host: pub.x.example, protocol: http, methods: [GET] }",
            "{ host: .x.example, protocol: tls }",
            false,
        ),
        (
            "{ host: pub.x.example, protocol: http, ports: [443], methods: [GET] }",
            "{ host: .x.example, protocol: tcp, ports: [443] }",
            true,
        ),
        (
            "{ host: pub.x.example, protocol: http, methods: [GET] }",
            "{ host: .x.example, until: 2027-01-01 }",
            false,
        ),
    ] {
        let found = one(&[narrow, wide], &[]);
        let told = found.iter().any(|text| text.contains("limits nothing") && text.contains("p:6"));
        assert_eq!(told, voids, "{narrow} beside {wide}: {found:?}");
    }
}

#[test]
fn what_a_narrower_rule_still_limits_is_left_to_it() {
    for (narrow, wide, said) in [
        ("host: a.example, ports: [80]", "{ host: a.example }", Some("limits nothing: other")),
        ("host: a.example, ports: [80, 8080]", "{ host: a.example }", Some("limits nothing on 80: other")),
        (
            "host: a.example, ports: [1-65535]",
            "{ host: a.example, ports: [22, 443-445] }",
            Some("limits nothing on 22, 444-445: other"),
        ),
        (
            "host: a.example, private: true",
            "{ host: .a.example }",
            Some("limits nothing at addresses that both open: other"),
        ),
        (
            "host: a.example, private: [10.0.0.0/8]",
            "{ host: a.example, private: [10.0.0.0/7] }",
            Some("limits nothing: other"),
        ),
        (
            "host: a.example, private: [10.0.0.0/8, 192.168.0.0/16], ports: [80, 81]",
            "{ host: a.example, private: [10.0.0.0/8] }",
            Some("limits nothing on 80 at addresses that both open: other"),
        ),
        ("cidr: 8.8.8.0/24", "{ cidr: 0.0.0.0/0 }", Some("limits nothing: other")),
        ("cidr: 10.1.0.0/16", "{ cidr: 10.0.0.0/8 }", Some("limits nothing: other")),
        ("cidr: 10.0.0.0/8", "{ cidr: 0.0.0.0/0 }", None),
        ("cidr: 169.254.169.254", "{ cidr: 169.254.0.0/16 }", None),
    ] {
        let found = one(&[&format!("{{ {narrow}, protocol: http, methods: [GET] }}"), wide], &[]);
        assert_eq!(found.len(), usize::from(said.is_some()), "{narrow} beside {wide}: {found:?}");
        assert!(found.iter().all(|text| text.contains(said.unwrap_or_default())), "{narrow}: {found:?}");
    }
    // What leaves nothing is told rather than what leaves something.
    let narrow = "{ host: a.example, protocol: http, private: true, methods: [GET] }";
    let found = one(&[narrow, ".a.example", "{ host: a.example, private: true }"], &[]);
    assert!(
        found.len() == 1 && found[0].contains("limits nothing: ") && found[0].contains("p:7"),
        "{found:?}"
    );
}

#[test]
fn a_wider_rule_for_everyone_voids_those_of_other_profiles() {
    let narrow = "[{ host: a.example, protocol: http, methods: [GET] }]";
    let found = warnings(&format!(
        "  - name: a\n    clients: [10.0.0.0/8]\n    allow: {narrow}\n  - {{ name: b, allow: [a.example] }}\n"
    ));
    assert!(found.len() == 1 && found[0].contains("by p:6 \"a.example\""), "{found:?}");
}

#[test]
fn rules_that_say_the_same_in_other_words_are_duplicates() {
    for (first, second, parent) in [
        (
            "host: a.example, methods: [GET, HEAD], ports: [80]",
            "host: a.example, methods: [HEAD, GET], ports: [80]",
            false,
        ),
        ("host: a.example, protocol: tls", "host: a.example, ports: [443]", false),
        (
            "host: a.example, private: [10.0.0.0/8, fd00::/8]",
            "host: a.example, private: [fd00::/8, 10.0.0.0/8]",
            false,
        ),
        ("host: a.example", "host: a.example, parent: direct", false),
        ("host: a.example, parent: corp", "host: a.example", true),
        ("host: a.example, parent: corp", "host: a.example, parent: dmz", true),
    ] {
        let found = one(&[&format!("{{ {first} }}"), &format!("{{ {second} }}")], &[]);
        assert_eq!(found.len(), 1, "{first} and {second}: {found:?}");
        assert!(found[0].contains("a duplicate of p:5"), "{}", found[0]);
        assert_eq!(found[0].contains("but for its parent"), parent, "{}", found[0]);
    }
    let found =
        warnings("  - name: a\n    ech: outer\n    allow: [a.example, { host: a.example, ech: outer }]\n");
    assert_eq!(found.len(), 1, "{found:?}");
    for (first, second) in [
        ("host: a.example", "host: a.example, ech: outer"),
        ("host: a.example", "host: a.example, private: true"),
        ("host: a.example, protocol: tls, ports: [8443]", "host: a.example, ports: [8443]"),
    ] {
        assert_eq!(one(&[&format!("{{ {first} }}"), &format!("{{ {second} }}")], &[]), [""; 0], "{first}");
    }
}

#[test]
fn warnings_are_bounded() {
    let found = one(&["a.example"; 1500], &[]);
    assert_eq!(found.len(), 1001);
    assert!(found[1000].ends_with("warning: 499 more warnings"), "{}", found[1000]);
}

/// Each of the rules with another above it, and as many under one suffix: any quadratic step would take minutes.
#[test]
fn forty_thousand_rules_take_seconds() {
    let mut text = "version: 1\nprofiles:\n  - name: a\n    allow:\n".to_owned();
    for index in 0..20_000 {
        // Writing to a String can't fail.
        let _ = writeln!(text, "      - host{index}.example.com\n      - n{index}-*.example.com");
    }
    text += "    deny: [.example.com, \"*.com\"]\n";
    let loaded = load_text(Path::new("p"), &text).unwrap();
    let policy = loaded.builder.finish(1);
    let start = Instant::now();
    assert_eq!(lint(&policy, &loaded.columns, date(2026, 11, 22)).len(), 1001);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
