//! A decision allocates nothing, whatever is asked, and a rule in memory is small.
#![allow(clippy::unwrap_used, reason = "a test may fail on what it made itself")]

#[path = "counting/allocator.rs"]
mod allocator;

use std::path::Path;

use exeat::client::Client;
use exeat::destination::Destination;
use exeat::host::Name;
use exeat::mistake::Place;
use exeat::policy::pattern::Pattern;
use exeat::policy::terms::{Action, Mode, Paths, Ports, Private, Profile, Protocol, Terms};
use exeat::policy::{Builder, Policy, Question, Seen, Target};
use exeat::reason::Reason;
use globset::{GlobBuilder, GlobSetBuilder};
use jiff::civil::date;

use crate::allocator::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn everyone(mode: Mode) -> Profile {
    Profile {
        name: "everyone".to_owned(),
        place: Place::start(Path::new("p")),
        clients: None,
        mode,
        ech_outer: false,
        outgoing: None,
        way: None,
    }
}

fn allow() -> Terms {
    Terms {
        action: Action::Allow,
        ports: Ports::new(vec![(80, 80), (443, 443)]),
        protocol: None,
        private: Private::No,
        until: Some(date(2027, 1, 31)),
        methods: Vec::new(),
        paths: None,
        ech_outer: false,
        way: None,
        reason: None,
    }
}

fn requests() -> Terms {
    let glob = GlobBuilder::new("/pub/**/*.tar.gz").literal_separator(true).build().unwrap();
    let globs = GlobSetBuilder::new().add(glob).build().unwrap();
    Terms {
        protocol: Some(Protocol::Http),
        methods: vec!["GET".to_owned()],
        paths: Some(Paths { patterns: Vec::new(), globs }),
        ..allow()
    }
}

/// Rules of every kind, in two profiles.
fn policy(mode: Mode) -> Policy {
    let mut builder = Builder::new();
    let source = builder.source(Path::new("policy.yaml"));
    let private = Private::Networks(vec!["10.20.0.0/16".parse().unwrap()]);
    let terms = [
        builder.terms(allow()),
        builder.terms(Terms { private, ..allow() }),
        builder.terms(requests()),
        builder.terms(Terms { action: Action::Deny, ports: Ports::all(), ..allow() }),
    ];
    for _ in 0..2 {
        let profile = builder.profile(everyone(mode));
        for (line, (target, terms)) in (1..).zip([
            ("crates.io", terms[0]),
            ("*.crates.io", terms[0]),
            (".github.com", terms[0]),
            ("api-*.eu.example", terms[0]),
            ("*.a.*.b*c*d.example", terms[0]),
            ("proxy.corp.example", terms[1]),
            ("updates.example", terms[2]),
            ("gist.github.com", terms[3]),
            ("198.51.100.0/24", terms[3]),
            ("0.0.0.0/0", terms[0]),
            ("8.8.0.0/16", terms[0]),
            ("8.8.8.0/24", terms[0]),
        ]) {
            let target = match target.parse() {
                Ok(network) => Target::Cidr(network),
                Err(_) => Target::Name(Pattern::parse(target).unwrap()),
            };
            builder.rule(profile, &target, terms, source, line);
        }
    }
    builder.finish(1)
}

#[test]
fn deciding_allocates_nothing() {
    let client = Client::supposed("10.0.0.1".parse().unwrap());
    let server_name = Name::parse("gist.github.com").unwrap();
    for policy in [policy(Mode::Enforce), policy(Mode::Report)] {
        let before = Counting::count().calls;
        let subject = policy.subject(&client);
        assert_eq!(Counting::count().calls, before, "of a client that is known by its address alone");
        for to in [
            "crates.io:443",
            "static.crates.io:443",
            "a.b.c.d.e.f.g.h.crates.io:443",
            "api-7.eu.example:443",
            "x.y.a.z.bcccd.example:443",
            "proxy.corp.example:443",
            "updates.example:80",
            "gist.github.com:443",
            "nowhere.test:443",
            "8.8.8.8:443",
            "198.51.100.1:443",
            "[2001:db8::1]:443",
        ] {
            let before = Counting::count().calls;
            let to = Destination::parse(to).unwrap();
            let allocates = to.host.name().is_some();
            assert_eq!(Counting::count().calls != before, allocates, "what allocates is counted");
            for seen in [
                Seen::Unknown,
                Seen::Unread,
                Seen::Tls { server_name: to.host.name(), ech: false },
                Seen::Tls { server_name: Some(&server_name), ech: true },
                Seen::Http { method: "GET", path: "/pub/a/b/c.tar.gz?query" },
                Seen::Other,
            ] {
                for address in [None, "8.8.8.8".parse().ok(), "10.20.0.1".parse().ok()] {
                    let question = Question { to: &to, seen, address };
                    let today = date(2026, 11, 22);
                    // The globs of a path build their automaton when they first see such a path.
                    policy.decide(&subject, &question, today);
                    let before = Counting::count().calls;
                    let verdict = policy.decide(&subject, &question, today);
                    let calls = Counting::count().calls - before;
                    assert_eq!(calls, 0, "{to} {seen:?} {address:?}: {}", verdict.reason);
                }
            }
            let before = Counting::count().calls;
            policy.listed(&subject, to.port);
            if let Some(name) = to.host.name() {
                policy.inquire(&subject, name, "10.20.0.1".parse().ok(), date(2026, 11, 22));
            }
            assert_eq!(Counting::count().calls, before, "{to}");
        }
    }
}

#[test]
fn a_rule_of_a_long_list_takes_few_bytes() {
    const RULES: u32 = 200_000;
    let before = Counting::count().held;
    Counting::restart_peak();
    let mut builder = Builder::new();
    let source = builder.source(Path::new("list.txt"));
    let profile = builder.profile(everyone(Mode::Enforce));
    let terms = builder.terms(allow());
    for line in 0..RULES {
        let lead = if line % 2 == 0 { "" } else { "." };
        let target = Pattern::parse(&format!("{lead}host-{line:08}.example")).unwrap();
        builder.rule(profile, &Target::Name(target), terms, source, line);
    }
    let policy = builder.finish(1);
    let a_rule = |bytes: isize| usize::try_from(bytes - before).unwrap() / policy.len();
    let count = Counting::count();
    assert!(a_rule(count.held) <= 120, "{} bytes a rule", a_rule(count.held));
    assert!(a_rule(count.peak) <= 200, "{} bytes a rule while building", a_rule(count.peak));

    let client = Client::supposed("10.0.0.1".parse().unwrap());
    let subject = policy.subject(&client);
    let to = Destination::parse("www.host-00199999.example:443").unwrap();
    let question = Question { to: &to, seen: Seen::Unknown, address: None };
    assert_eq!(policy.decide(&subject, &question, date(2026, 11, 22)).reason, Reason::Allowed);
}
