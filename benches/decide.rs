//! What a decision costs, by the number of rules, of profiles and of globs; what a rule costs in memory and to build.
#![allow(clippy::unwrap_used, reason = "what is parsed here stands here")]

#[path = "../tests/counting/allocator.rs"]
mod allocator;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use exeat::client::Client;
use exeat::destination::Destination;
use exeat::mistake::Place;
use exeat::policy::pattern::Pattern;
use exeat::policy::terms::{Action, Mode, Ports, Private, Profile, Terms};
use exeat::policy::who::Who;
use exeat::policy::{Builder, Policy, Question, Seen, Target};
use exeat::reason::Reason;
use ipnet::{IpNet, Ipv4Net};
use jiff::civil::date;
use rustix::time::{ClockId, clock_gettime};

use crate::allocator::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// As many questions as make the caches cold at a million rules.
const QUESTIONS: usize = 1 << 16;

criterion_group!(benches, sizes, profiles, globs, networks);
criterion_main!(benches);

/// Half exact names, half `.name`; names of about 20 bytes under 400 domains of the second level.
fn sizes(criterion: &mut Criterion) {
    // `cargo test --benches` wants to know only that it works.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if measures { &[10, 1_000, 100_000, 1_000_000] } else { &[10, 1_000] };
    for rules in sizes.iter().copied() {
        let names: Vec<_> = random_names(rules, 1).collect();
        let lead = |index: usize| if index.is_multiple_of(2) { "" } else { "." };
        let policy = measured(&format!("{rules} names"), || {
            let patterns = names.iter().enumerate().map(|(index, name)| format!("{}{name}", lead(index)));
            policy_of(1, patterns.map(|pattern| Target::Name(Pattern::parse(&pattern).unwrap())))
        });
        let pick = |parity: usize| {
            random_numbers(7).map(move |number| (number as usize % (rules / 2)) * 2 + parity).take(QUESTIONS)
        };
        let exact = pick(0).map(|index| names[index].clone());
        let suffix = pick(1).map(|index| format!("www.{}", names[index]));
        let miss = random_names(QUESTIONS, 99);
        for (what, questions) in
            [("exact", destinations(exact)), ("suffix", destinations(suffix)), ("miss", destinations(miss))]
        {
            let expected = if what == "miss" { Reason::NoRule } else { Reason::Allowed };
            ask_all(criterion, &format!("{rules} rules, {what}"), &policy, &questions, expected);
        }
    }
}

/// The same thousand names in every profile, a client in one of them or in all.
fn profiles(criterion: &mut Criterion) {
    let names: Vec<_> = random_names(1_000, 1).collect();
    let questions =
        destinations(random_numbers(7).map(|n| names[n as usize % names.len()].clone()).take(QUESTIONS));
    for (profiles, shared) in [(1, false), (1_000, false), (100, true)] {
        let mut builder = Builder::new();
        let source = builder.source(Path::new("policy.yaml"));
        let terms = builder.terms(allow());
        for profile in 0..profiles {
            let client = IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + profile)));
            let clients = if shared { None } else { Some(vec![Who::Network(client)]) };
            let profile = builder.profile(Profile { clients, ..everyone() });
            for (line, name) in (1..).zip(&names) {
                builder.rule(profile, &Target::Name(Pattern::parse(name).unwrap()), terms, source, line);
            }
        }
        let policy = builder.finish(1);
        let whose = if shared { "all of them the client's" } else { "one of them the client's" };
        let what = format!("{profiles} profiles with the same names, {whose}");
        ask_all(criterion, &what, &policy, &questions, Reason::Allowed);
    }
}

fn globs(criterion: &mut Criterion) {
    let spread = measured("10000 globs, each under a suffix of its own", || {
        policy_of(
            1,
            (0..10_000).map(|n| Target::Name(Pattern::parse(&format!("api-*.d{n}.example")).unwrap())),
        )
    });
    let hits =
        destinations(random_numbers(7).map(|n| format!("api-7.d{}.example", n % 10_000)).take(QUESTIONS));
    ask_all(criterion, "10000 globs under 10000 suffixes", &spread, &hits, Reason::Allowed);

    for globs in [10, 100, 1_000] {
        let policy = policy_of(
            1,
            (0..globs).map(|n| Target::Name(Pattern::parse(&format!("s{n}-*.eu.example")).unwrap())),
        );
        let hits =
            destinations(random_numbers(7).map(|n| format!("s{}-7.eu.example", n % globs)).take(QUESTIONS));
        ask_all(criterion, &format!("{globs} globs under one suffix"), &policy, &hits, Reason::Allowed);
    }
}

fn networks(criterion: &mut Criterion) {
    let address = |number: u64| Ipv4Addr::from_bits(0x0b00_0000 + (number as u32 & 0x3ff_ffff));
    let nested = |number: u64| {
        let prefix = [16, 20, 24, 28, 32][number as usize % 5];
        Target::Cidr(Ipv4Net::new(address(number >> 8), prefix).unwrap().trunc().into())
    };
    let policy = measured("100000 networks", || policy_of(1, random_numbers(1).map(nested).take(100_000)));
    let questions = destinations(random_numbers(1).map(|n| address(n >> 8).to_string()).take(QUESTIONS));
    ask_all(criterion, "100000 networks", &policy, &questions, Reason::Allowed);
}

fn ask_all(
    criterion: &mut Criterion,
    what: &str,
    policy: &Policy,
    questions: &[Destination],
    expected: Reason,
) {
    let subject = policy.subject(&Client::supposed("10.0.0.1".parse().unwrap()));
    let today = date(2026, 11, 22);
    let ask = |to: &Destination| {
        policy.decide(&subject, &Question { to, seen: Seen::Unknown, address: None }, today).reason
    };
    assert!(questions.iter().all(|to| ask(to) == expected), "{what}");
    let mut next = questions.iter().cycle();
    criterion.bench_function(what, |bencher| {
        bencher.iter_custom(|rounds| {
            let start = on_cpu();
            for to in next.by_ref().take(rounds as usize) {
                black_box(ask(to));
            }
            on_cpu() - start
        });
    });
}

/// The time this thread has run, which other programs on the machine don't lengthen.
fn on_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Builds a policy and prints what that took.
#[allow(clippy::print_stdout, reason = "a bench is read on its output")]
fn measured(what: &str, build: impl FnOnce() -> Policy) -> Policy {
    let before = Counting::count().held;
    Counting::restart_peak();
    let start = on_cpu();
    let policy = build();
    let took = on_cpu() - start;
    let count = Counting::count();
    let a_rule = |bytes: isize| (bytes - before) / policy.len().cast_signed();
    let (held, peak) = (a_rule(count.held), a_rule(count.peak));
    println!("{what}: built in {took:.1?}, {held} bytes a rule, {peak} at the peak");
    policy
}

fn policy_of(revision: u64, targets: impl Iterator<Item = Target>) -> Policy {
    let mut builder = Builder::new();
    let source = builder.source(Path::new("policy.yaml"));
    let profile = builder.profile(everyone());
    let terms = builder.terms(allow());
    for (line, target) in (1..).zip(targets) {
        builder.rule(profile, &target, terms, source, line);
    }
    builder.finish(revision)
}

fn everyone() -> Profile {
    Profile {
        name: "everyone".to_owned(),
        place: Place::start(Path::new("p")),
        clients: None,
        mode: Mode::Enforce,
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
        until: None,
        methods: Vec::new(),
        paths: None,
        ech_outer: false,
        way: None,
        reason: None,
    }
}

fn destinations(hosts: impl Iterator<Item = String>) -> Vec<Destination> {
    hosts.map(|host| Destination::parse(&format!("{host}:443")).unwrap()).collect()
}

fn random_names(count: usize, seed: u64) -> impl Iterator<Item = String> {
    let domains = ["com", "net", "org", "io"];
    random_numbers(seed).take(count).map(move |number| {
        format!("h{:010x}.d{}.{}", number >> 24, number % 100, domains[(number >> 8) as usize % 4])
    })
}

/// The same numbers each time (xorshift64*).
fn random_numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}
