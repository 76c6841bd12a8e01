//! The index against the plain way: every pattern asked in turn.

use std::path::Path;

use proptest::prelude::*;

use super::draft::*;
use crate::host::Name;
use crate::policy::pattern::Pattern;
use crate::policy::{Builder, Policy, Target};
use crate::reason::Reason;

const OWNERS: [u8; 3] = [1, 2, 4];

/// The line that must decide: the deepest of the profiles' own patterns that match, then the earliest.
fn expected_line(written: &[(u8, Pattern)], client: u8, name: &Name) -> u32 {
    let matching =
        (1..).zip(written).filter(|(_, (owners, pattern))| owners & client != 0 && pattern.matches(name));
    let deepest = matching.max_by_key(|(line, (_, pattern))| (pattern.depth(), std::cmp::Reverse(*line)));
    deepest.map_or(0, |(line, _)| line)
}

/// Three profiles for seven kinds of client, each pattern in one of them.
fn policy_of(written: &[(u8, Pattern)]) -> Policy {
    let mut builder = Builder::new();
    let source = builder.source(Path::new("p.yaml"));
    let terms = builder.terms(allow());
    let profiles = OWNERS.map(|owner| {
        let own = (1..=7_u8).filter(|client| client & owner != 0).map(|client| format!("10.0.0.{client}/32"));
        let own: Vec<_> = own.collect();
        builder.profile(clients("p", &own.iter().map(String::as_str).collect::<Vec<_>>()))
    });
    for (line, (owner, pattern)) in (1..).zip(written) {
        let profile = profiles[owner.trailing_zeros() as usize];
        builder.rule(profile, &Target::Name(pattern.clone()), terms, source, line);
    }
    builder.finish(7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_finds_what_asking_every_pattern_finds(
        written in prop::collection::vec(
            (prop::sample::select(OWNERS.to_vec()), "\\*|(\\*\\.|\\.)?[ab*]{1,2}(\\.[ab*]{1,2}){0,3}"),
            0..40,
        ),
        names in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,4}", 30),
    ) {
        let written: Vec<_> = written
            .into_iter()
            .filter_map(|(owner, text)| Some((owner, Pattern::parse(&text).ok()?)))
            .collect();
        let policy = policy_of(&written);
        for (text, client) in names.iter().zip((1..=7).cycle()) {
            let question = ask(&policy, &format!("{text}:443")).client(&format!("10.0.0.{client}"));
            let line = expected_line(&written, client, &Name::parse(text).unwrap());
            prop_assert_eq!(question.line(), line, "{} of {:?}", text, written);
            prop_assert_eq!(question.reason() == Reason::Allowed, line > 0);
        }
    }
}
