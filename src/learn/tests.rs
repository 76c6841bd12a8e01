mod replay;
mod writer;

use std::io::Cursor;
use std::path::Path;

use jiff::civil::date;

use super::audit::{Line, each};
use super::*;
use crate::mistake::Mistake;
use crate::policy::Policy;
use crate::policy::document::load_text;
use crate::policy::lint::lint;

/// A flow as its record tells it.
struct Seen {
    name: &'static str,
    port: u16,
    inside: &'static str,
    client: &'static str,
    profile: &'static str,
    reason: &'static str,
    address: &'static str,
    ingress: &'static str,
}

const SEEN: Seen = Seen {
    name: "a.example.com",
    port: 443,
    inside: "tls",
    client: "10.0.1.9",
    profile: "learn",
    reason: "report_only",
    address: "93.184.216.34",
    ingress: "connect",
};

impl Seen {
    fn line(&self) -> String {
        let Self { name, port, inside, client, profile, reason, address, ingress } = self;
        let text = |text: &str| format!("{text:?}");
        let null = || "null".to_owned();
        let ech = if *inside == "ech" { "true" } else { "false" };
        let (server_name, method, path) = match *inside {
            "tls" | "ech" => (text(name), null(), null()),
            "http" => (null(), text("GET"), text("/x")),
            "other" | "nothing" => (null(), null(), null()),
            question @ ("A" | "TXT") => (null(), text(question), null()),
            other_name => (text(other_name), null(), null()),
        };
        let bytes = if *inside == "nothing" { 0 } else { 100 };
        let address = if address.is_empty() { null() } else { text(address) };
        format!(
            "{{\"schema\":\"exeat.flow/v1\",\"time\":\"2026-11-22T16:00:00.012Z\",\"flow\":\"00\",\"ingress\":\"{ingress}\",\
             \"client\":\"{client}\",\"client_port\":4000,\"user\":null,\"profiles\":[\"{profile}\"],\"host\":\"{name}\",\
             \"port\":{port},\"server_name\":{server_name},\"ech\":{ech},\"method\":{method},\"path\":{path},\"address\":{address},\
             \"verdict\":\"allow\",\"would_deny\":true,\"reason\":\"{reason}\",\"rule\":null,\"sent\":{bytes},\
             \"received\":{bytes},\"dial_ms\":1.0,\"duration_ms\":1.0,\"status\":200,\"error\":null}}\n"
        )
    }
}

fn tally(options: Options, baseline: Option<&str>, lines: &str) -> Tally {
    let baseline = baseline.map(|text| Baseline { policy: policy(text), today: date(2026, 11, 25) });
    let mut tally = Tally::new(options, baseline);
    each(Cursor::new(lines), |number, line| match line {
        Line::Flow(flow) => tally.add(&flow),
        other => panic!("{number}: {other:?}"),
    })
    .unwrap();
    tally
}

fn suggest(seen: &[Seen]) -> String {
    suggest_with(Options::default(), seen)
}

fn suggest_with(options: Options, seen: &[Seen]) -> String {
    let lines: String = seen.iter().map(Seen::line).collect();
    let text = tally(options, None, &lines).suggest().to_string();
    policy(&text);
    text
}

/// The policy that a text is; it must be one that `check` finds nothing in.
fn policy(text: &str) -> Policy {
    let shown =
        |mistakes: &[Mistake]| mistakes.iter().map(|mistake| format!("{mistake}\n")).collect::<String>();
    let loaded =
        load_text(Path::new("p.yaml"), text).unwrap_or_else(|mistakes| panic!("{}{text}", shown(&mistakes)));
    let mut warnings = loaded.warnings;
    let policy = loaded.builder.finish(0);
    warnings.extend(lint(&policy, date(2026, 11, 25)));
    assert!(warnings.is_empty(), "{}{text}", shown(&warnings));
    policy
}

/// The lines of a policy below its `allow`.
fn allowed(text: &str) -> Vec<&str> {
    let behind = text.split("allow:\n").nth(1).unwrap_or_else(|| panic!("{text}"));
    behind.lines().map(str::trim).collect()
}

#[test]
fn a_policy_is_exact_and_says_how_often_and_when_last() {
    let text = suggest(&[
        Seen { name: "static.crates.io", ..SEEN },
        Seen { name: "static.crates.io", ..SEEN },
        Seen { name: "static.crates.io", port: 80, inside: "http", ..SEEN },
        Seen { name: "index.crates.io", ..SEEN },
        Seen { name: "github.com", port: 22, inside: "other", ..SEEN },
        Seen { name: "github.com", ..SEEN },
        Seen { name: "10.example.net", port: 8443, client: "10.0.1.8", ..SEEN },
    ]);
    assert_eq!(
        text,
        "# A policy that would have been enough, suggested by exeat.\n\
         # From 7 flows, last 2026-11-22, first 2026-11-22.\n\
         version: 1\n\
         profiles:\n\
         \x20 - name: learn\n\
         \x20   clients: [10.0.1.8/31]\n\
         \x20   allow:\n\
         \x20     - github.com                                               # 1 flow, last 2026-11-22\n\
         \x20     - { host: github.com, ports: [22], protocol: tcp }         # 1 flow, last 2026-11-22\n\
         \x20     - index.crates.io                                          # 1 flow, last 2026-11-22\n\
         \x20     - static.crates.io                                         # 3 flows, last 2026-11-22\n\
         \x20     - { host: 10.example.net, ports: [8443], protocol: tls }   # 1 flow, last 2026-11-22\n"
    );
}

#[test]
fn ports_and_protocols_are_those_that_were_seen() {
    for (seen, expected) in [
        (&[(443, "tls")][..], &["- a.example.com"][..]),
        (&[(80, "http")], &["- a.example.com"]),
        (&[(443, "nothing")], &["- a.example.com"]),
        (&[(443, "tls"), (80, "http")], &["- a.example.com"]),
        (&[(443, "http")], &["- { host: a.example.com, ports: [443], protocol: http }"]),
        (&[(80, "tls")], &["- { host: a.example.com, ports: [80], protocol: tls }"]),
        (
            &[(443, "tls"), (443, "http")],
            &["- a.example.com", "- { host: a.example.com, ports: [443], protocol: http }"],
        ),
        (
            &[(8443, "tls"), (9443, "tls"), (8080, "http")],
            &[
                "- { host: a.example.com, ports: [8443, 9443], protocol: tls }",
                "- { host: a.example.com, ports: [8080], protocol: http }",
            ],
        ),
        (&[(8000, "tls"), (8000, "http")], &["- { host: a.example.com, ports: [8000] }"]),
        (&[(8000, "nothing")], &["- { host: a.example.com, ports: [8000] }"]),
        (
            &[(22, "other"), (22, "tls"), (2222, "other")],
            &["- { host: a.example.com, ports: [22, 2222], protocol: tcp }"],
        ),
        (&[(443, "other")], &["- { host: a.example.com, ports: [443], protocol: tcp }"]),
    ] {
        let flows: Vec<Seen> = seen.iter().map(|&(port, inside)| Seen { port, inside, ..SEEN }).collect();
        let text = suggest(&flows);
        let rules: Vec<&str> =
            allowed(&text).iter().map(|line| line.split(" #").next().unwrap().trim()).collect();
        assert_eq!(rules, expected, "{seen:?}");
    }
}

#[test]
fn siblings_become_a_wildcard_within_one_owner_alone() {
    let names = |parent: &str, count: usize| -> Vec<&'static str> {
        (0..count).map(|number| &*format!("h{number}.{parent}").leak()).collect()
    };
    for (parent, count, wildcard) in [
        ("cdn.example.com", 8, Some("\"*.cdn.example.com\"")),
        ("cdn.example.com", 7, None),
        ("com", 9, None),
        ("co.uk", 9, None),
        ("github.io", 9, None),
        ("s3.amazonaws.com", 9, None),
        ("amazonaws.com", 9, None),
        ("internal", 9, None),
        ("project.github.io", 8, Some("\"*.project.github.io\"")),
    ] {
        let flows: Vec<Seen> = names(parent, count).into_iter().map(|name| Seen { name, ..SEEN }).collect();
        let text = suggest(&flows);
        let rules = allowed(&text);
        match wildcard {
            Some(wildcard) => {
                assert_eq!(rules.len(), 1, "{text}");
                assert!(
                    rules[0].starts_with(&format!("- {wildcard} ")) && rules[0].contains("# 8 names (h0."),
                    "{text}"
                );
            }
            None => assert_eq!(rules.len(), count, "{text}"),
        }
        let exact = suggest_with(Options { siblings: None, ..Options::default() }, &flows);
        assert_eq!(allowed(&exact).len(), count, "{exact}");
    }
}

#[test]
fn names_deeper_down_count_once_they_are_one() {
    let mut names = Vec::new();
    for outer in 0..7 {
        names.push(format!("o{outer}.example.com"));
    }
    for inner in 0..8 {
        names.push(format!("i{inner}.deep.example.com"));
    }
    let flows: Vec<Seen> = names.into_iter().map(|name| Seen { name: name.leak(), ..SEEN }).collect();
    let text = suggest(&flows);
    assert_eq!(allowed(&text).len(), 1);
    assert!(text.contains("- \"*.example.com\"   # 15 names"), "{text}");
}

#[test]
fn no_wildcard_takes_in_what_is_set_apart_or_is_a_blind_rule() {
    let names: Vec<&'static str> = (0..9).map(|number| &*format!("h{number}.example.com").leak()).collect();
    let mut flows: Vec<Seen> = names.iter().map(|name| Seen { name, ..SEEN }).collect();
    flows.push(Seen { name: "secret.example.com", reason: "denied_by_rule", ..SEEN });
    let text = suggest(&flows);
    assert!(!text.contains('*'), "{text}");
    assert!(text.contains("# Not allowed: a deny rule covers it"), "{text}");
    let flows: Vec<Seen> =
        names.iter().map(|name| Seen { name, inside: "other", port: 22, ..SEEN }).collect();
    assert!(!suggest(&flows).contains('*'));
}

#[test]
fn noise_and_risk_are_set_apart_with_the_reason_and_what_would_allow_them() {
    const LONG: &str = "nbswy3dpeb3w64tmmqqgc3tebuqho2lunaqgiylumeqgc3teebwgk5a.t.example.com";
    for (seen, why, offer) in [
        (
            Seen { name: "203.0.114.7", inside: "other", ..SEEN },
            "given by address",
            "- { cidr: 203.0.114.7, ports: [443], protocol: tcp }",
        ),
        (
            Seen { name: "2a00:1450::1", inside: "other", port: 22, ..SEEN },
            "given by address",
            "- { cidr: \"2a00:1450::1\", ports: [22], protocol: tcp }",
        ),
        (
            Seen { name: "10.9.9.9", inside: "nothing", ..SEEN },
            "a private or other special address",
            "- { cidr: 10.9.9.9 }",
        ),
        (Seen { name: "169.254.169.254", port: 80, inside: "http", ..SEEN }, "a cloud metadata address", ""),
        (Seen { address: "169.254.169.254", ..SEEN }, "a cloud metadata address", ""),
        (
            Seen { address: "10.20.0.5", ..SEEN },
            "the name led to a private",
            "- { host: a.example.com, private: [10.20.0.5] }",
        ),
        (Seen { inside: "b.example.com", ..SEEN }, "the server name inside was another", ""),
        (Seen { reason: "server_name_mismatch", ..SEEN }, "the server name inside was another", ""),
        (Seen { reason: "host_mismatch", ..SEEN }, "the Host of a request", ""),
        (Seen { reason: "ech_denied", ..SEEN }, "Encrypted Client Hello", ""),
        (Seen { inside: "ech", ..SEEN }, "Encrypted Client Hello", ""),
        (Seen { reason: "denied_by_rule", ..SEEN }, "a deny rule covers it", ""),
        (Seen { reason: "address_prohibited", ..SEEN }, "the name led to no address that may be dialled", ""),
        (
            Seen { reason: "not_tls", ..SEEN },
            "not TLS inside",
            "- { host: a.example.com, ports: [443], protocol: tcp }",
        ),
        (
            Seen { reason: "dns_failed", inside: "nothing", address: "", ..SEEN },
            "there never was a connection",
            "- a.example.com",
        ),
        (
            Seen { reason: "dial_refused", inside: "nothing", port: 81, ..SEEN },
            "there never was",
            "- { host: a.example.com, ports: [81] }",
        ),
        (Seen { name: LONG, ..SEEN }, "a long, random label", "- nbswy3d"),
    ] {
        let text = suggest(&[seen]);
        assert!(text.contains(&format!("# Not allowed: {why}")), "{why}: {text}");
        assert!(!text.lines().any(|line| line.starts_with("      -")), "{text}");
        if offer.is_empty() {
            assert!(!text.contains("# - "), "{text}");
            continue;
        }
        assert!(text.contains(&format!("# {offer}")), "{offer}: {text}");
        // Whoever takes an offer gets a policy.
        policy(&text.replace("# allow:", "allow:").replace("# - ", "- "));
    }
}

#[test]
fn a_tunnel_of_names_is_one_line_and_opens_nothing() {
    let names: Vec<&'static str> =
        (0..2000).map(|number| &*format!("q{number}.tunnel.example.com").leak()).collect();
    for (count, shown) in
        [(60, "# 60 names below example.com"), (2000, "more than 1000 names below example.com")]
    {
        for ingress in ["dns", "connect"] {
            let inside = if ingress == "dns" { "TXT" } else { "tls" };
            let flows: Vec<Seen> =
                names[..count].iter().map(|name| Seen { name, ingress, inside, ..SEEN }).collect();
            let text = suggest(&flows);
            let expected = shown.trim_start_matches("# ");
            assert!(text.contains(expected) && text.contains("carry data out"), "{text}");
            assert!(text.lines().count() < 12, "{text}");
        }
    }
}

#[test]
fn questions_alone_are_no_rules() {
    let text = suggest(&[
        Seen { ..SEEN },
        Seen { name: "a.example.com", port: 53, ingress: "dns", inside: "A", ..SEEN },
        Seen { name: "asked.example.com", port: 53, ingress: "dns", inside: "A", ..SEEN },
    ]);
    assert_eq!(allowed(&text)[0], "- a.example.com   # 1 flow, last 2026-11-22");
    assert!(
        text.ends_with("# Only asked for over DNS, never connected to: 1 name, 1 flow, last 2026-11-22.\n"),
        "{text}"
    );
}

#[test]
fn what_was_denied_is_taken_in_on_request_alone() {
    let seen =
        || [Seen { ..SEEN }, Seen { name: "b.example.com", reason: "no_rule", inside: "nothing", ..SEEN }];
    let text = suggest(&seen());
    assert!(!text.contains("b.example.com"), "{text}");
    assert!(
        text.contains(
            "# Not taken into account, no_rule: 1 flow, last 2026-11-22; --denied takes them in.\n"
        ),
        "{text}"
    );
    let text = suggest_with(Options { denied: true, ..Options::default() }, &seen());
    assert!(text.contains("- b.example.com "), "{text}");
}

#[test]
fn clients_share_a_profile_by_what_they_did_or_by_their_profiles() {
    let seen = || {
        [
            Seen { client: "10.0.1.1", ..SEEN },
            Seen { client: "10.0.1.2", profile: "other", ..SEEN },
            Seen { client: "10.0.7.3", name: "b.example.com", ..SEEN },
        ]
    };
    let shape = |text: &str| -> Vec<String> {
        let keys = ["- name: ", "clients: ", "- a.", "- b."];
        let lines = text.lines().map(|line| line.split("   # ").next().unwrap().trim().to_owned());
        lines.filter(|line| keys.iter().any(|key| line.starts_with(key))).collect()
    };
    assert_eq!(
        shape(&suggest(&seen())),
        [
            "- name: learn",
            "clients: [10.0.1.1, 10.0.7.3]",
            "- a.example.com",
            "- b.example.com",
            "- name: other",
            "clients: [10.0.1.2]",
            "- a.example.com"
        ]
    );
    let by_client = Options { by: By::Client, ..Options::default() };
    assert_eq!(
        shape(&suggest_with(by_client.clone(), &seen())),
        [
            "- name: clients-1",
            "clients: [10.0.1.1, 10.0.1.2]",
            "- a.example.com",
            "- name: client-10.0.7.3",
            "clients: [10.0.7.3]",
            "- b.example.com"
        ]
    );
    let by_network = Options { network: Some(24), ..by_client };
    assert_eq!(
        shape(&suggest_with(by_network, &seen())),
        [
            "- name: client-10.0.1.0-24",
            "clients: [10.0.1.0/24]",
            "- a.example.com",
            "- name: client-10.0.7.0-24",
            "clients: [10.0.7.0/24]",
            "- b.example.com"
        ]
    );
    let by_all = Options { by: By::All, name: "run".to_owned(), ..Options::default() };
    assert_eq!(shape(&suggest_with(by_all, &seen())), ["- name: run", "- a.example.com", "- b.example.com"]);
}

#[test]
fn a_baseline_leaves_what_is_new() {
    const BASELINE: &str = "version: 1\nprofiles:\n  - name: learn\n    clients: [10.0.0.0/16]\n    mode: report\n    \
                            allow: [a.example.com]\n    deny: [d.example.com]\n";
    let lines: String =
        ["a.example.com", "b.example.com", "d.example.com"].map(|name| Seen { name, ..SEEN }.line()).concat();
    let text = tally(Options::default(), Some(BASELINE), &lines).suggest().to_string();
    assert!(text.contains("- name: learn-new\n    clients: [10.0.0.0/16]\n"), "{text}");
    assert_eq!(allowed(&text)[0], "- b.example.com   # 1 flow, last 2026-11-22");
    assert!(
        text.contains("Not allowed: a deny rule covers it") && !text.contains("- a.example.com"),
        "{text}"
    );
    assert!(text.contains("# Allowed by the baseline already: 1 flow, last 2026-11-22.\n"), "{text}");
    let lines = Seen { ..SEEN }.line();
    let text = tally(Options::default(), Some(BASELINE), &lines).suggest().to_string();
    assert!(text.contains("profiles: []\n"), "{text}");
}

#[test]
fn clients_with_a_name_are_pointed_out() {
    let lines = SEEN.line().replace("\"user\":null", "\"user\":\"alice\"");
    let text = tally(Options::default(), None, &lines).suggest().to_string();
    assert!(text.contains("has the addresses alone: 1 flow, last 2026-11-22. Name them before"), "{text}");
}

#[test]
fn nothing_seen_allows_nothing() {
    let text = suggest(&[]);
    assert!(text.ends_with("version: 1\nprofiles:\n  - name: learned\n"), "{text}");
}

#[test]
fn profiles_have_names_that_a_policy_may_have() {
    let text = suggest(&[
        Seen { profile: "--allow", ..SEEN },
        Seen { profile: "\\u001b[31mred", ..SEEN },
        Seen { profile: "a/b", ..SEEN },
        Seen { profile: "a:b", ..SEEN },
    ]);
    for name in ["allow", "31mred", "a-b", "a-b-new"] {
        assert!(text.contains(&format!("- name: {name}\n")), "{text}");
    }
}

#[test]
fn lines_that_are_no_records_are_told() {
    let good = SEEN.line();
    let opened = good.replace("exeat.flow/v1", "exeat.flow.opened/v1");
    let long = format!("{}\n", "x".repeat(70_000));
    let input = [
        good.as_str(),
        "\n",
        &opened,
        "{\"schema\":\"exeat.flow/v2\"}\n",
        &good.replace("a.example.com", "a..example.com"),
        &good.replace("report_only", "reported"),
        &good.replace("exeat.flow/v1", "exeat.flow/v2"),
        &long,
        "\u{1b}[2J\n",
        &good.replace("2026-11-22T", ""),
        good.trim_end(),
    ]
    .concat();
    let mut told = Vec::new();
    each(Cursor::new(input), |number, line| {
        told.push(match line {
            Line::Flow(_) => format!("{number} flow"),
            Line::Opened => format!("{number} opened"),
            Line::Blank => format!("{number} blank"),
            Line::Bad(what) => format!("{number} {what}"),
        });
    })
    .unwrap();
    assert_eq!(
        told,
        [
            "1 flow",
            "2 blank",
            "3 opened",
            "4 it is no record of exeat: missing field `time` at line 1 column 26",
            "5 the host \"a..example.com\": the name has an empty label",
            "6 there is no reason \"reported\"",
            "7 its schema \"exeat.flow/v2\" is not exeat.flow/v1",
            "8 it is longer than 64 KiB, and no record is",
            "9 it is no record of exeat: expected value at line 1 column 1",
            "10 the time \"16:00:00.012Z\" is none",
            "11 flow",
        ]
    );
}
