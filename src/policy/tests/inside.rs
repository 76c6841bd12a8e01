//! What is inside a connection: which rule accepts it, which denies it, and what report mode lets through.

use globset::{GlobBuilder, GlobSetBuilder};

use super::draft::*;
use crate::policy::terms::{Mode, Paths, Private, Profile, Protocol, Terms};
use crate::reason::Reason;

const NO_NAME: Sight = Sight::Hello { server_name: None, ech: false };
const ECH: Sight = Sight::Hello { server_name: Some("a.example"), ech: true };
const GET: Sight = Sight::Request("GET", "/");

fn protocol(protocol: Protocol) -> Terms {
    Terms { protocol: Some(protocol), ports: ports(&[80, 443, 9]), ..allow() }
}

fn paths(patterns: &[&str]) -> Option<Paths> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        globs.add(GlobBuilder::new(pattern).literal_separator(true).build().unwrap());
    }
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Some(Paths { patterns, globs: globs.build().unwrap() })
}

#[test]
fn each_protocol_accepts_what_it_says() {
    use Reason::*;
    let default = Terms { ports: ports(&[80, 443, 9]), ..allow() };
    let hello = hello("a.example");
    // For each rule and port: a hello, a request, something else, nothing read.
    for (terms, port, outcomes) in [
        (default.clone(), 443, [Allowed, NotTls, NotTls, NotTls]),
        (default.clone(), 80, [NotHttp, Allowed, NotHttp, NotHttp]),
        (default, 9, [Allowed, Allowed, NotTls, NotTls]),
        (protocol(Protocol::Tls), 80, [Allowed, NotTls, NotTls, NotTls]),
        (protocol(Protocol::Http), 443, [NotHttp, Allowed, NotHttp, NotHttp]),
        (protocol(Protocol::Tcp), 443, [Allowed, Allowed, Allowed, Allowed]),
    ] {
        let policy = Draft::new(everyone()).rule("a.example", terms).finish();
        let to = ask(&policy, &format!("a.example:{port}"));
        assert_eq!(to.reason(), Allowed);
        for (seen, reason) in [hello.clone(), GET, Sight::Other, Sight::Unread].into_iter().zip(outcomes) {
            assert_eq!(to.clone().seen(seen.clone()).reason(), reason, "{port} {seen:?}");
        }
    }
}

#[test]
fn the_server_name_is_the_destination() {
    let policy = Draft::new(everyone())
        .rule("*.example", allow())
        .rule("8.8.8.8/32", allow())
        .rule("denied.example", deny())
        .finish();
    for (to, seen, reason) in [
        ("a.example:443", hello("a.example"), Reason::Allowed),
        ("a.example:443", hello("b.example"), Reason::ServerNameMismatch),
        ("a.example:443", NO_NAME, Reason::ServerNameMissing),
        ("a.example:443", ECH, Reason::EchDenied),
        ("a.example:443", hello("denied.example"), Reason::DeniedByRule),
        ("8.8.8.8:443", NO_NAME, Reason::Allowed),
        ("8.8.8.8:443", hello("other.test"), Reason::Allowed),
        ("8.8.8.8:443", hello("denied.example"), Reason::DeniedByRule),
    ] {
        assert_eq!(ask(&policy, to).seen(seen.clone()).reason(), reason, "{to} {seen:?}");
    }
}

#[test]
fn ech_passes_where_the_rule_or_the_profile_says_so() {
    let by_rule = Draft::new(everyone()).rule("a.example", Terms { ech_outer: true, ..allow() }).finish();
    let by_profile =
        Draft::new(Profile { ech_outer: true, ..everyone() }).rule("a.example", allow()).finish();
    let elsewhere = Draft::new(everyone())
        .rule("a.example", allow())
        .profile(Profile { ech_outer: true, ..everyone() })
        .finish();
    let outer_differs = Sight::Hello { server_name: Some("front.example"), ech: true };
    for policy in [&by_rule, &by_profile] {
        assert_eq!(ask(policy, "a.example:443").seen(ECH).reason(), Reason::Allowed);
        let outer = ask(policy, "a.example:443").seen(outer_differs.clone());
        assert_eq!(outer.reason(), Reason::ServerNameMismatch);
    }
    assert_eq!(ask(&elsewhere, "a.example:443").seen(ECH).reason(), Reason::EchDenied);
}

#[test]
fn methods_and_paths_hold_for_requests_alone() {
    let terms = Terms {
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        paths: paths(&["/pub/**", "/index"]),
        ..protocol(Protocol::Http)
    };
    let policy = Draft::new(everyone()).rule("a.example", terms.clone()).finish();
    let to = ask(&policy, "a.example:80");
    assert_eq!(to.reason(), Reason::Allowed);
    for (seen, reason) in [
        (Sight::Request("GET", "/pub/a/b"), Reason::Allowed),
        (Sight::Request("HEAD", "/pub/a?x=/"), Reason::Allowed),
        (Sight::Request("GET", "/index?/etc"), Reason::Allowed),
        (Sight::Request("POST", "/pub/a"), Reason::NoRule),
        (Sight::Request("get", "/pub/a"), Reason::NoRule),
        (Sight::Request("GET", "/private?/pub/a"), Reason::NoRule),
        (Sight::Request("GET", "/index/more"), Reason::NoRule),
        (hello("a.example"), Reason::NotHttp),
        (Sight::Other, Reason::NotHttp),
        (Sight::Unread, Reason::NotHttp),
    ] {
        assert_eq!(to.clone().seen(seen.clone()).reason(), reason, "{seen:?}");
    }
    // No other protocol makes such a rule one for everything.
    for other in [Protocol::Tls, Protocol::Tcp] {
        let terms = Terms { protocol: Some(other), ..terms.clone() };
        let policy = Draft::new(everyone()).rule("a.example", terms).finish();
        for seen in [hello("a.example"), Sight::Other, Sight::Unread] {
            assert_ne!(ask(&policy, "a.example:80").seen(seen).reason(), Reason::Allowed);
        }
    }
}

#[test]
fn features_of_several_rules_never_combine() {
    let policy = Draft::new(everyone())
        .rule(".example", Terms { ech_outer: true, ports: ports(&[8443]), ..allow() })
        .rule("a.example", Terms { private: Private::Any, ..protocol(Protocol::Http) })
        .rule("*.example", protocol(Protocol::Tls))
        .finish();
    let to = ask(&policy, "a.example:443");
    assert_eq!(to.clone().seen(hello("a.example")).address("8.8.8.8").line(), 3);
    assert_eq!(to.clone().seen(GET).address("10.0.0.1").line(), 2);
    assert_eq!(to.clone().seen(hello("a.example")).address("10.0.0.1").reason(), Reason::NotHttp);
    assert_eq!(to.clone().seen(ECH).address("8.8.8.8").reason(), Reason::NotHttp);
}

#[test]
fn a_denial_names_the_rule_that_came_nearest() {
    let policy = Draft::new(everyone())
        .rule("*.example", protocol(Protocol::Http))
        .rule("a.example", protocol(Protocol::Tls))
        .rule("a.example", protocol(Protocol::Http))
        .finish();
    let answer = ask(&policy, "a.example:443").seen(Sight::Other).answer();
    assert_eq!(answer.rule.as_deref(), Some("p.yaml:2 \"a.example\""));
    assert_eq!(answer.reason, Reason::NotTls);
    assert_eq!(ask(&policy, "b.test:443").answer().rule, None);
}

#[test]
fn a_denied_protocol_denies_what_was_not_read() {
    let http = Terms { methods: vec!["POST".to_owned()], protocol: Some(Protocol::Http), ..deny() };
    let tls = Terms { protocol: Some(Protocol::Tls), ..deny() };
    let tcp = Terms { protocol: Some(Protocol::Tcp), ..deny() };
    let post = Sight::Request("POST", "/");
    // For each deny rule: nothing known, nothing read, a hello, GET, POST, something else.
    for (terms, denied) in [
        (http, [false, true, false, false, true, false]),
        (tls, [false, true, true, false, false, false]),
        (tcp, [true; 6]),
        (deny(), [true; 6]),
    ] {
        let policy = Draft::new(everyone())
            .rule("a.example", protocol(Protocol::Tcp))
            .rule("*.example", terms)
            .finish();
        let sights = [Sight::Unknown, Sight::Unread, hello("a.example"), GET, post.clone(), Sight::Other];
        for (seen, denied) in sights.into_iter().zip(denied) {
            let reason = if denied { Reason::DeniedByRule } else { Reason::Allowed };
            assert_eq!(ask(&policy, "a.example:80").seen(seen.clone()).reason(), reason, "{seen:?}");
        }
    }
}

#[test]
fn report_mode_relaxes_all_but_denies_the_guard_and_what_was_not_read() {
    let policy = Draft::new(reporting())
        .rule("a.example", allow())
        .rule("b.example", Terms { private: Private::Any, ..allow() })
        .rule("denied.example", deny())
        .finish();
    for (to, seen, address, reason) in [
        ("a.example:443", hello("a.example"), "8.8.8.8", Reason::Allowed),
        ("a.example:443", hello("b.example"), "8.8.8.8", Reason::ReportOnly),
        ("a.example:443", NO_NAME, "8.8.8.8", Reason::ReportOnly),
        ("a.example:443", ECH, "8.8.8.8", Reason::ReportOnly),
        ("a.example:443", GET, "8.8.8.8", Reason::ReportOnly),
        ("a.example:80", hello("a.example"), "8.8.8.8", Reason::ReportOnly),
        ("a.example:443", Sight::Other, "8.8.8.8", Reason::ReportOnly),
        ("c.example:9", Sight::Unknown, "8.8.8.8", Reason::ReportOnly),
        ("a.example:443", Sight::Unread, "8.8.8.8", Reason::NotTls),
        ("c.example:9", Sight::Unread, "8.8.8.8", Reason::NoRule),
        ("c.example:9", Sight::Unknown, "10.0.0.1", Reason::AddressProhibited),
        ("c.example:9", Sight::Other, "169.254.169.254", Reason::AddressProhibited),
        ("a.example:443", Sight::Other, "10.0.0.1", Reason::AddressProhibited),
        // The guard is not relaxed here: the rule itself opens it.
        ("b.example:443", Sight::Other, "10.0.0.1", Reason::ReportOnly),
        ("b.example:443", Sight::Other, "169.254.169.254", Reason::AddressProhibited),
        ("denied.example:443", Sight::Unknown, "8.8.8.8", Reason::DeniedByRule),
        ("a.example:443", hello("denied.example"), "8.8.8.8", Reason::DeniedByRule),
    ] {
        let answer = ask(&policy, to).seen(seen.clone()).address(address).answer();
        assert_eq!(answer.reason, reason, "{to} {seen:?} {address}");
        assert_eq!(answer.would_deny, reason == Reason::ReportOnly);
    }
    assert_eq!(ask(&policy, "10.0.0.1:443").reason(), Reason::AddressProhibited);
    assert_eq!(ask(&policy, "8.8.8.8:443").reason(), Reason::ReportOnly);
}

#[test]
fn the_order_of_rules_changes_nothing_that_report_mode_lets_through() {
    let http = |more: Terms| Terms { protocol: Some(Protocol::Http), ports: ports(&[80]), ..more };
    let public = http(Terms { methods: vec!["HEAD".into()], ..allow() });
    let opening = http(Terms { methods: vec!["PUT".into()], private: Private::Any, ..allow() });
    let with_paths = http(Terms { paths: paths(&["/pub/**"]), ..allow() });
    for (profile, rules, path, address, reason) in [
        (reporting(), [&public, &opening], "/", "10.0.0.1", Reason::ReportOnly),
        (reporting(), [&public, &public], "/", "10.0.0.1", Reason::AddressProhibited),
        (reporting(), [&public, &with_paths], "/a", "8.8.8.8", Reason::ReportOnly),
        (reporting(), [&public, &with_paths], "/pub/../a", "8.8.8.8", Reason::BadRequest),
        // Elsewhere it changes only what is said of the way to an allow.
        (everyone(), [&public, &opening], "/", "10.0.0.1", Reason::NoRule),
        (everyone(), [&public, &with_paths], "/pub/../a", "8.8.8.8", Reason::BadRequest),
    ] {
        // As deep, and the one deeper than the other.
        for patterns in [["a.example", "a.example"], ["a.example", ".example"], [".example", "a.example"]] {
            let is_deeper = patterns[0] != patterns[1];
            if is_deeper && profile.mode == Mode::Enforce {
                continue;
            }
            for [first, second] in [[0, 1], [1, 0]] {
                let policy = Draft::new(profile.clone())
                    .rule(patterns[first], rules[first].clone())
                    .rule(patterns[second], rules[second].clone())
                    .finish();
                let question =
                    ask(&policy, "a.example:80").seen(Sight::Request("GET", path)).address(address);
                assert_eq!(question.reason(), reason, "{patterns:?} {first} {path} {address}");
            }
        }
    }
}
