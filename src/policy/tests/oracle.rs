//! The indices against the plain way: every rule asked in turn.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::draft::*;
use crate::host::Host;
use crate::policy::pattern::Pattern;
use crate::policy::terms::{Private, Terms};
use crate::policy::{Builder, Policy, Target};
use crate::reason::Reason;

/// Three profiles, each of the clients 10.0.0.1 to 10.0.0.7 whose number has this bit.
const OWNERS: [u8; 3] = [1, 2, 4];

/// The line that must decide: the closest of the client's own rules that match, then the earliest.
fn expected_line(written: &[(u8, Target)], client: u8, host: &Host) -> u32 {
    let matching = (1..).zip(written).filter_map(|(line, (owner, target))| {
        let depth = match (target, host) {
            (Target::Name(pattern), Host::Name(name)) if pattern.matches(name) => pattern.depth(),
            (Target::Cidr(network), Host::Ip(ip)) if network.contains(ip) => network.prefix_len().into(),
            _ => return None,
        };
        (owner & client != 0).then_some((depth, Reverse(line)))
    });
    matching.max().map_or(0, |(_, Reverse(line))| line)
}

/// The rules with these terms in turn.
fn policy_of(written: &[(u8, Target)], terms: &[Terms]) -> Policy {
    let mut builder = Builder::new();
    let source = builder.source(Path::new("p.yaml"));
    let terms: Vec<_> = terms.iter().map(|terms| builder.terms(terms.clone())).collect();
    let profiles = OWNERS.map(|owner| {
        let own = (1..=7_u8).filter(|client| client & owner != 0).map(|client| format!("10.0.0.{client}/32"));
        let own: Vec<_> = own.collect();
        builder.profile(clients("p", &own.iter().map(String::as_str).collect::<Vec<_>>()))
    });
    for ((line, (owner, target)), &terms) in (1..).zip(written).zip(terms.iter().cycle()) {
        let profile = profiles[owner.trailing_zeros() as usize];
        builder.rule(profile, target, terms, source, line);
    }
    builder.finish(7)
}

fn owner() -> impl Strategy<Value = u8> {
    prop::sample::select(OWNERS.to_vec())
}

fn pattern() -> impl Strategy<Value = Target> {
    "\\*|(\\*\\.|\\.)?[ab*]{1,2}(\\.[ab*]{1,2}){0,3}"
        .prop_filter_map("no pattern", |text| Pattern::parse(&text).ok().map(Target::Name))
}

/// Networks of few public addresses, so that they nest.
fn network() -> impl Strategy<Value = Target> {
    (public_address(), 24..=32_u8)
        .prop_map(|(address, prefix)| Target::Cidr(IpNet::V4(Ipv4Net::new_assert(address, prefix))))
}

fn public_address() -> impl Strategy<Value = Ipv4Addr> {
    (0..16_u8).prop_map(|last| Ipv4Addr::new(11, 0, 0, last * 5))
}

fn check(written: &[(u8, Target)], hosts: impl Iterator<Item = Host>) -> Result<(), TestCaseError> {
    let policy = policy_of(written, &[allow()]);
    for (host, client) in hosts.zip((1..=7).cycle()) {
        let question = ask(&policy, &format!("{host}:443")).client(&format!("10.0.0.{client}"));
        let line = expected_line(written, client, &host);
        prop_assert_eq!(question.line(), line, "{} of {:?}", host, written);
        prop_assert_eq!(question.reason() == Reason::Allowed, line > 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_the_patterns_that_asking_each_finds(
        written in prop::collection::vec((owner(), pattern()), 0..40),
        names in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,4}", 30),
    ) {
        check(&written, names.iter().map(|name| Host::parse(name).unwrap()))?;
    }

    #[test]
    fn the_index_finds_the_networks_that_asking_each_finds(
        written in prop::collection::vec((owner(), network()), 0..20),
        addresses in prop::collection::vec(public_address(), 30),
    ) {
        check(&written, addresses.into_iter().map(|address| Host::from(IpAddr::V4(address))))?;
    }

    #[test]
    fn an_address_that_is_known_later_changes_what_it_would_have_changed_before(
        written in prop::collection::vec((owner(), prop_oneof![3 => pattern(), 1 => network()]), 0..30),
        names in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,4}", 30),
        address in public_address(),
    ) {
        let private = Terms { private: Private::Any, ..allow() };
        let policy = policy_of(&written, &[allow(), private.clone(), deny(), private, allow()]);
        for (name, client) in names.iter().zip((1..=7).cycle()) {
            for address in [&address.to_string(), "10.0.0.1"] {
                let question = ask(&policy, &format!("{name}:443")).client(&format!("10.0.0.{client}"));
                // This holds the two against each other.
                question.address(address).answer();
            }
        }
    }
}
