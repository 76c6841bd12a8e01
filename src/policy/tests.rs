//! What the policy decides. Documents are read elsewhere: the rules here are made by hand.

mod address;
mod clients;
mod draft;
mod inside;
mod oracle;
mod reach;

use jiff::civil::date;

use self::draft::*;
use super::terms::{Action, Mode, Private, Profile, Protocol, Terms, Way};
use super::*;
use crate::destination::Destination;
use crate::error::Error;
use crate::reason::Reason;

#[test]
fn without_a_profile_nothing_passes() {
    let policy = Draft::new(clients("p", &["10.0.0.0/8", "2001:db8::/32"])).rule("*", allow()).finish();
    for (client, reason) in [
        ("10.0.0.1", Reason::Allowed),
        ("::ffff:10.0.0.1", Reason::Allowed),
        ("2001:db8::7", Reason::Allowed),
        ("11.0.0.1", Reason::NoProfile),
        ("2001:db9::7", Reason::NoProfile),
    ] {
        assert_eq!(ask(&policy, "crates.io:443").client(client).reason(), reason, "{client}");
    }
    assert_eq!(ask(&Builder::new().finish(7), "crates.io:443").reason(), Reason::NoProfile);
}

#[test]
fn every_profile_of_the_client_takes_part_and_no_other() {
    let policy = Draft::new(clients("wide", &["10.0.0.0/8", "10.0.0.0/24"]))
        .rule("wide.example", allow())
        .profile(clients("narrow", &["::ffff:10.0.0.1/128"]))
        .rule("narrow.example", allow())
        .profile(clients("others", &["192.0.2.0/24"]))
        .rule("others.example", allow())
        .rule("wide.example", deny())
        .profile(everyone())
        .rule("all.example", allow())
        .finish();
    for (client, names, allowed) in [
        (
            "10.0.0.1",
            &["wide", "narrow", "everyone"][..],
            &["wide.example", "narrow.example", "all.example"][..],
        ),
        ("10.0.0.2", &["wide", "everyone"], &["wide.example", "all.example"]),
        ("192.0.2.1", &["others", "everyone"], &["others.example", "all.example"]),
        ("2001:db8::1", &["everyone"], &["all.example"]),
    ] {
        let subject = policy.subject(&ask(&policy, "a.example:1").client(client).client);
        assert!(subject.profile_names().iter().map(AsRef::as_ref).eq(names.iter().copied()), "{client}");
        for name in ["wide.example", "narrow.example", "others.example", "all.example"] {
            let reason = ask(&policy, &format!("{name}:443")).client(client).reason();
            assert_eq!(reason == Reason::Allowed, allowed.contains(&name), "{client} {name} {reason}");
        }
    }
}

#[test]
fn a_deny_in_any_profile_wins_over_every_allow() {
    let policy = Draft::new(everyone())
        .rule("gist.github.com", allow())
        .rule(".github.com", allow())
        .profile(clients("p", &["10.0.0.0/8"]))
        .rule("*.github.com", deny())
        .rule("*", deny())
        .rule("192.0.2.0/24", deny())
        .rule("192.0.2.1/32", tcp(9))
        .finish();
    let gist = ask(&policy, "gist.github.com:443");
    assert_eq!((gist.reason(), gist.line()), (Reason::DeniedByRule, 3));
    assert_eq!(gist.client("11.0.0.1").reason(), Reason::Allowed);
    // `*` is any name, never an address.
    assert_eq!(ask(&policy, "192.0.3.1:443").reason(), Reason::NoRule);
    assert_eq!(ask(&policy, "192.0.2.1:9").line(), 5);
}

#[test]
fn the_decider_is_the_deepest_match_then_the_earlier() {
    let policy = Draft::new(everyone())
        .rule("*", allow())
        .rule(".example.com", allow())
        .rule("*.example.com", allow())
        .rule("api-*.example.com", allow())
        .rule("api-1.example.com", allow())
        .rule("*.api-1.example.com", allow())
        .rule("a.*.example.com", allow())
        .rule("a*.api-1.example.com", allow())
        .rule("192.0.0.0/8", tcp(9))
        .rule("192.0.2.0/24", tcp(9))
        .rule("192.0.2.0/24", tcp(9))
        .finish();
    for (to, line) in [
        ("other.test:443", 1),
        ("example.com:443", 2),
        ("www.example.com:443", 2),
        ("api-2.example.com:443", 4),
        ("api-1.example.com:443", 4),
        ("x.api-1.example.com:443", 6),
        ("a.b.example.com:443", 7),
        ("a.api-1.example.com:443", 7),
        ("ab.api-1.example.com:443", 8),
        ("192.0.2.1:9", 10),
    ] {
        assert_eq!(ask(&policy, to).line(), line, "{to}");
    }
}

#[test]
fn ports_and_dates_say_whether_a_rule_takes_part() {
    let last = date(2027, 1, 31);
    let policy = Draft::new(everyone())
        .rule("a.example", Terms { until: Some(last), ..allow() })
        .rule("b.example", Terms { ports: ports(&[8443]), ..allow() })
        .rule("b.example", Terms { until: Some(date(2026, 12, 24)), ..deny() })
        .finish();
    assert_eq!(ask(&policy, "a.example:443").on(last).reason(), Reason::Allowed);
    assert_eq!(ask(&policy, "a.example:443").on(date(2027, 2, 1)).answer().rule, None);
    assert_eq!(ask(&policy, "a.example:8443").reason(), Reason::NoRule);
    assert_eq!(ask(&policy, "b.example:1").line(), 3);
    assert_eq!(ask(&policy, "b.example:8443").on(date(2026, 12, 25)).reason(), Reason::Allowed);
    assert_eq!(ask(&policy, "b.example:443").on(date(2026, 12, 25)).reason(), Reason::NoRule);
    assert_eq!(policy.next_expiry(date(2026, 12, 24)), Some(date(2026, 12, 24)));
    assert_eq!(policy.next_expiry(date(2026, 12, 25)), Some(last));
    assert_eq!(policy.next_expiry(date(2027, 2, 1)), None);
    let endless = Draft::new(everyone()).rule("a.example", allow()).finish();
    assert!(policy.has_ends() && !endless.has_ends());
}

#[test]
fn rules_print_in_file_order_as_they_were_written() {
    let written = [
        "z.example",
        "*.a.example",
        ".a.example",
        "*",
        "api-*.eu.example",
        "*.a-*.b.*",
        "10.1.0.0/16",
        "2001:db8::/32",
    ];
    let mut draft = Draft::new(everyone());
    for target in written {
        draft = draft.rule(target, deny());
    }
    let policy = draft.finish();
    assert_eq!((policy.len(), policy.is_empty(), policy.revision()), (written.len(), false, 7));
    for (rule, (line, target)) in policy.rules().zip((1..).zip(written)) {
        assert_eq!(rule.to_string(), format!("p.yaml:{line} \"{target}\""));
        assert_eq!(rule.pattern().to_string(), target);
        assert_eq!((rule.line(), rule.profile(), rule.action()), (line, "everyone", Action::Deny));
    }
}

#[test]
fn leaves_come_from_allowing_verdicts_alone() {
    let policy = Draft::new(everyone()).rule("*.crates.io", allow()).finish();
    let client = ask(&policy, "a.example:1").client;
    let subject = policy.subject(&client);
    let today = date(2026, 11, 22);
    let (to, denied_to) =
        (Destination::parse("static.crates.io:443").unwrap(), Destination::parse("crates.io:443").unwrap());
    let question = Question { to: &denied_to, seen: Seen::Unknown, address: None };
    let mut denied = policy.decide(&subject, &question, today);
    // What a verdict tells may be changed by whoever holds it; what it allows may not.
    denied.reason = Reason::Allowed;
    assert!(!denied.is_allow() && denied.admit().is_err() && denied.pass(None).is_err());

    let question = Question { to: &to, ..question };
    let verdict = policy.decide(&subject, &question, today);
    assert!(matches!(verdict.pass(None), Err(Error::Internal(_))));
    let admission = verdict.admit().unwrap();
    assert_eq!(admission.to(), &to);
    assert!(admission.accepts("151.101.2.137".parse().unwrap()).is_allow());
    let metadata = admission.accepts("169.254.169.254".parse().unwrap());
    assert!(matches!(metadata.admit(), Err(Error::Denied(Reason::AddressProhibited))));

    let server_name = to.host.name();
    let question = Question { seen: Seen::Tls { server_name, ech: false }, ..question };
    let verdict = policy.decide(&subject, &question, today);
    assert!(verdict.pass(None).is_ok());
}

#[test]
fn the_rule_that_allows_says_which_way_and_no_other_rule_may_use_it() {
    let way = |name: &str| Some(Way::Parent(name.into()));
    let profile = Profile { way: way("corp"), ..everyone() };
    let policy = Draft::new(profile)
        .rule(".example", allow())
        .rule("direct.example", Terms { way: Some(Way::Direct), ..allow() })
        .rule("dmz.example", Terms { way: way("dmz"), protocol: Some(Protocol::Tls), ..allow() })
        .rule("dmz.example", Terms { private: Private::Any, ..allow() })
        .finish();
    let client = ask(&policy, "a.example:1").client;
    let subject = policy.subject(&client);
    assert_eq!(policy.parents().into_iter().collect::<Vec<_>>(), ["corp", "dmz"]);
    for (to, parent) in
        [("a.example:443", Some("corp")), ("direct.example:443", None), ("dmz.example:443", Some("dmz"))]
    {
        let to = Destination::parse(to).unwrap();
        let outside = Question { to: &to, seen: Seen::Unknown, address: None };
        let admission = policy.decide(&subject, &outside, date(2026, 11, 22)).admit().unwrap();
        assert_eq!(admission.parent().map(|parent| &**parent), parent, "{to}");
        let inside = Question { seen: Seen::Tls { server_name: to.host.name(), ech: false }, ..outside };
        for through in [None, Some("corp"), Some("dmz")] {
            match policy.decide(&subject, &inside, date(2026, 11, 22)).pass(through) {
                Ok(_) => assert_eq!(through, parent, "{to}"),
                Err(error) => assert!(through != parent && matches!(error, Error::OtherWay), "{to}: {error}"),
            }
        }
    }
    // The one rule that accepts a private address sends it another way than the one that was admitted.
    let to = Destination::parse("dmz.example:443").unwrap();
    let question = Question { to: &to, seen: Seen::Unknown, address: None };
    let admission = policy.decide(&subject, &question, date(2026, 11, 22)).admit().unwrap();
    assert!(admission.accepts("151.101.2.137".parse().unwrap()).is_allow());
    let private = admission.accepts("10.0.0.1".parse().unwrap());
    assert!(!private.is_allow() && private.admit().is_err());
}

#[test]
fn in_report_mode_the_first_profile_that_says_anything_says_which_way() {
    let profile = |name: &str, way| Profile { name: name.to_owned(), way, ..reporting() };
    let policy = Draft::new(profile("silent", None))
        .profile(profile("first", Some(Way::Parent("corp".into()))))
        .rule("direct.example", Terms { way: Some(Way::Direct), ..allow() })
        .profile(profile("second", Some(Way::Parent("dmz".into()))))
        .finish();
    let client = ask(&policy, "a.example:1").client;
    let subject = policy.subject(&client);
    for (to, parent) in [("other.example:443", Some("corp")), ("direct.example:443", None)] {
        let to = Destination::parse(to).unwrap();
        let question = Question { to: &to, seen: Seen::Unknown, address: None };
        let verdict = policy.decide(&subject, &question, date(2026, 11, 22));
        assert_eq!(verdict.parent().map(|parent| &**parent), parent, "{to}");
        // It goes on as it went, whatever is inside.
        let question = Question { seen: Seen::Other, ..question };
        let inside = policy.decide(&subject, &question, date(2026, 11, 22));
        assert!(inside.would_deny && inside.pass(parent).is_ok(), "{to}");
    }
}

#[test]
fn a_policy_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Policy>();
    is_shared::<Subject>();
    is_shared::<Verdict<'_>>();
    is_shared::<Admission<'_>>();
}

#[test]
fn report_mode_needs_every_profile() {
    let reporting = |name: &str, networks: &[&str]| Profile { mode: Mode::Report, ..clients(name, networks) };
    let policy = Draft::new(reporting("a", &["10.0.0.0/8"]))
        .profile(reporting("b", &["10.0.0.0/24"]))
        .profile(clients("c", &["10.0.0.1/32"]))
        .finish();
    for (client, reason) in
        [("10.0.0.1", Reason::NoRule), ("10.0.0.2", Reason::ReportOnly), ("10.1.0.0", Reason::ReportOnly)]
    {
        let answer = ask(&policy, "crates.io:443").client(client).answer();
        assert_eq!((answer.reason, answer.would_deny), (reason, reason == Reason::ReportOnly), "{client}");
    }
}
