mod lines;
mod profiles;
mod replay;
mod unusual;
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
    warnings.extend(lint(&policy, &loaded.columns, date(2026, 11, 25)));
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
