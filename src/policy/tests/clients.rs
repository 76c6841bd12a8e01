//! Whom profiles are for.

use super::draft::{allow, everyone};
use super::*;
use crate::client::User;
use crate::policy::terms::Profile;
use crate::policy::who::{CertificatePattern, Named, UserPattern, Who};

fn named(name: &str, entries: Vec<Who>) -> Profile {
    Profile { name: name.to_owned(), clients: Some(entries), ..everyone() }
}

fn who(user: Option<&str>, group: Option<&str>, certificate: Option<&str>, from: &[&str]) -> Who {
    Who::Named(Box::new(Named {
        user: user.map(UserPattern::new),
        group: group.map(Into::into),
        certificate: certificate.map(|text| CertificatePattern::parse(text).unwrap()),
        from: from.iter().map(|network| network.parse().unwrap()).collect(),
    }))
}

fn client(ip: &str, user: Option<(&str, &[&str])>, certificate: Option<&str>) -> Client {
    let groups = |groups: &[&str]| groups.iter().map(ToString::to_string).collect::<Vec<_>>();
    let user = user.map(|(name, of)| User::supposed(name, &groups(of)));
    Client::supposed(ip.parse().unwrap()).named(user, certificate)
}

fn policy(profiles: Vec<Profile>) -> Policy {
    let mut builder = Builder::new();
    for profile in profiles {
        builder.profile(profile);
    }
    builder.finish(7)
}

fn names(policy: &Policy, client: &Client) -> Vec<String> {
    policy.subject(client).profile_names().iter().map(ToString::to_string).collect()
}

#[test]
fn any_entry_makes_a_profile_take_part_and_an_entry_holds_as_a_whole() {
    let policy = policy(vec![
        named(
            "network-or-alice",
            vec![Who::Network("10.0.0.0/8".parse().unwrap()), who(Some("alice"), None, None, &[])],
        ),
        named("alice-at-work", vec![who(Some("alice"), None, None, &["10.0.0.0/8", "192.0.2.0/24"])]),
        named("ci", vec![who(None, Some("ci"), None, &[])]),
        named("ci-alice", vec![who(Some("alice"), Some("ci"), None, &[])]),
        named("spiffe", vec![who(None, None, Some("spiffe://corp/ci/*"), &[])]),
        named("spiffe-one", vec![who(None, None, Some("spiffe://corp/ci/build"), &["10.0.0.0/8"])]),
        named("any-user", vec![who(Some("*"), None, None, &[])]),
        named("any-user-at-work", vec![who(Some("*"), None, None, &["10.0.0.0/8"])]),
        named("any-certificate", vec![who(None, None, Some("*"), &[])]),
        named("both", vec![who(Some("*"), None, Some("*.corp.example"), &[])]),
        everyone(),
    ]);
    for (client, expected) in [
        (client("198.51.100.1", None, None), "everyone"),
        (client("10.0.0.1", None, None), "network-or-alice everyone"),
        (client("198.51.100.1", Some(("alice", &[])), None), "network-or-alice any-user everyone"),
        (
            client("10.0.0.1", Some(("alice", &["ci"])), None),
            "network-or-alice alice-at-work ci ci-alice any-user any-user-at-work everyone",
        ),
        (client("192.0.2.7", Some(("alice", &[])), None), "network-or-alice alice-at-work any-user everyone"),
        (client("192.0.2.7", Some(("Alice", &["CI"])), None), "any-user everyone"),
        (client("192.0.2.7", Some(("ci", &["alice"])), None), "any-user everyone"),
        (client("192.0.2.7", Some(("bob", &["dev", "ci"])), None), "ci any-user everyone"),
        (client("192.0.2.7", None, Some("spiffe://corp/ci/build")), "spiffe any-certificate everyone"),
        (
            client("10.0.0.7", None, Some("spiffe://corp/ci/build")),
            "network-or-alice spiffe spiffe-one any-certificate everyone",
        ),
        (client("192.0.2.7", None, Some("spiffe://corp/cd/build")), "any-certificate everyone"),
        (
            client("192.0.2.7", Some(("bob", &[])), Some("a.corp.example")),
            "any-user any-certificate both everyone",
        ),
    ] {
        assert_eq!(names(&policy, &client).join(" "), expected, "{client:?}");
    }
}

#[test]
fn however_many_profiles_there_are_a_client_meets_its_own() {
    let profile = |index: usize| {
        let at = |what: &str| format!("{what}{index}");
        let entries = vec![
            who(Some(&at("user")), None, None, &[]),
            who(None, Some(&at("group")), None, &[]),
            who(None, None, Some(&at("cert")), &[]),
            who(None, None, Some(&format!("spiffe://corp/{index}/*")), &[]),
            who(Some("*"), None, None, &[&format!("10.{}.{}.0/24", index / 256, index % 256)]),
        ];
        named(&at("p"), entries)
    };
    let policy = policy((0..1000).map(profile).collect());
    assert_eq!(policy.clients.most_met_at_once(), 1);
    let client = client("10.1.2.3", Some(("user7", &["group8", "group9"])), Some("spiffe://corp/10/x"));
    assert_eq!(names(&policy, &client), ["p7", "p8", "p9", "p10", "p258"]);
}

#[test]
fn a_named_profile_decides_for_its_user_alone() {
    let policy = draft::Draft::new(named("alice", vec![who(Some("alice"), None, None, &[])]))
        .rule("a.example", allow())
        .finish();
    let to = Destination::parse("a.example:443").unwrap();
    let ask = |client: &Client| {
        let subject = policy.subject(client);
        let question = Question { to: &to, seen: Seen::Unknown, address: None };
        policy.decide(&subject, &question, jiff::civil::date(2026, 11, 25)).reason
    };
    assert_eq!(ask(&client("10.0.0.1", Some(("alice", &[])), None)), Reason::Allowed);
    assert_eq!(ask(&client("10.0.0.1", Some(("bob", &[])), None)), Reason::NoProfile);
    assert_eq!(ask(&client("10.0.0.1", None, None)), Reason::NoProfile);
}
