//! What can be said of a client's rules before there is a destination.

use jiff::civil::{Date, date};

use super::*;
use crate::client::Client;
use crate::host::Name;
use crate::policy::terms::{Ports, Private, Protocol};

const TODAY: Date = date(2026, 11, 22);

fn client(address: &str) -> Client {
    Client::supposed(address.parse().unwrap())
}

fn inquire(policy: &Policy, name: &str, address: Option<&str>) -> (Reason, u32) {
    let subject = policy.subject(&client("10.0.0.1"));
    let address = address.map(|address| address.parse().unwrap());
    let inquiry = policy.inquire(&subject, &Name::parse(name).unwrap(), address, TODAY);
    (inquiry.reason, inquiry.rule.map_or(0, |rule| rule.line()))
}

#[test]
fn a_port_is_listed_by_the_allow_rules_of_the_clients_own_profiles() {
    let policy = Draft::new(clients("ours", &["10.0.0.0/8"]))
        .rule("a.example", allow())
        .rule("b.example", tcp(22))
        .rule("c.example", Terms { ports: ports(&[22, 8443]), protocol: Some(Protocol::Tls), ..allow() })
        .rule("192.0.2.0/24", tcp(5432))
        .rule("d.example", Terms { ports: ports(&[25]), ..deny() })
        .profile(clients("theirs", &["192.0.2.0/24"]))
        .rule("e.example", tcp(443))
        .finish();
    for (address, port, unread, inside) in [
        ("10.0.0.1", 443, false, true),
        ("10.0.0.1", 22, true, true),
        ("10.0.0.1", 8443, false, true),
        ("10.0.0.1", 5432, true, false),
        ("10.0.0.1", 25, false, false),
        ("192.0.2.1", 443, true, false),
        ("192.0.2.1", 22, false, false),
        ("198.51.100.1", 443, false, false),
    ] {
        let subject = policy.subject(&client(address));
        assert_eq!(policy.listed(&subject, port), Listed { unread, inside }, "{address} {port}");
    }
}

#[test]
fn a_name_may_be_asked_for_when_any_port_of_it_could_be_allowed() {
    let policy = Draft::new(everyone())
        .rule("a.example", tcp(22))
        .rule("*.b.example", allow())
        .rule("x.b.example", deny())
        .rule("y.b.example", Terms { ports: ports(&[25]), ..deny() })
        .rule("z.b.example", Terms { protocol: Some(Protocol::Http), ..deny() })
        .rule("every.b.example", Terms { ports: Ports::new(vec![(1, u16::MAX)]), ..deny() })
        .rule("old.example", Terms { until: Some(date(2026, 11, 21)), ..allow() })
        .rule("today.example", Terms { until: Some(TODAY), ..allow() })
        .finish();
    for (name, answer) in [
        ("a.example", (Reason::Allowed, 1)),
        ("www.a.example", (Reason::NoRule, 0)),
        ("w.b.example", (Reason::Allowed, 2)),
        ("x.b.example", (Reason::DeniedByRule, 3)),
        ("y.b.example", (Reason::Allowed, 2)),
        ("z.b.example", (Reason::Allowed, 2)),
        ("every.b.example", (Reason::DeniedByRule, 6)),
        ("old.example", (Reason::NoRule, 0)),
        ("today.example", (Reason::Allowed, 8)),
    ] {
        assert_eq!(inquire(&policy, name, None), answer, "{name}");
    }
}

#[test]
fn an_address_is_told_where_a_rule_for_the_name_opens_it() {
    let private = Private::Networks(vec!["10.0.0.0/8".parse().unwrap()]);
    let policy = Draft::new(everyone())
        .rule("*.example", allow())
        .rule("in.example", Terms { private, ..tcp(22) })
        .rule("203.0.113.0/24", deny())
        .rule("8.8.0.0/16", deny())
        .rule("127.0.0.0/8", allow())
        .rule("nat.example", Terms { private: Private::Any, ..allow() })
        .finish();
    for (name, address, answer) in [
        ("nat.example", "64:ff9b::808:808", (Reason::DeniedByRule, 4)),
        ("nat.example", "64:ff9b::909:909", (Reason::Allowed, 6)),
        ("a.example", "1.1.1.1", (Reason::Allowed, 1)),
        ("a.example", "10.0.0.1", (Reason::AddressProhibited, 1)),
        ("a.example", "127.0.0.1", (Reason::AddressProhibited, 1)),
        ("a.example", "::ffff:127.0.0.1", (Reason::AddressProhibited, 1)),
        ("a.example", "169.254.169.254", (Reason::AddressProhibited, 1)),
        ("a.example", "8.8.8.8", (Reason::DeniedByRule, 4)),
        ("in.example", "10.0.0.1", (Reason::Allowed, 2)),
        ("in.example", "192.168.0.1", (Reason::AddressProhibited, 2)),
        ("in.example", "1.1.1.1", (Reason::Allowed, 2)),
    ] {
        assert_eq!(inquire(&policy, name, Some(address)), answer, "{name} {address}");
    }
}

#[test]
fn report_mode_answers_what_no_rule_decides_and_no_special_address() {
    let policy = Draft::new(reporting()).rule("x.example", deny()).finish();
    assert_eq!(inquire(&policy, "a.example", None), (Reason::ReportOnly, 0));
    assert_eq!(inquire(&policy, "a.example", Some("1.1.1.1")), (Reason::ReportOnly, 0));
    assert_eq!(inquire(&policy, "a.example", Some("10.0.0.1")), (Reason::AddressProhibited, 0));
    assert_eq!(inquire(&policy, "x.example", None), (Reason::DeniedByRule, 1));
    assert_eq!(inquire(&Builder::new().finish(7), "a.example", None), (Reason::NoProfile, 0));
}

#[test]
fn the_names_of_tcp_rules_are_known_without_wildcards() {
    let policy = Draft::new(everyone())
        .rule("a.example", tcp(22))
        .rule("*.b.example", tcp(22))
        .rule(".c.example", tcp(22))
        .rule("d*.example", tcp(22))
        .rule("e.example", allow())
        .rule("f.example", Terms { ..deny() })
        .rule("192.0.2.1/32", tcp(22))
        .rule("*", tcp(22))
        .finish();
    let mut names: Vec<String> = policy.unread_names().map(|name| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["a.example", "c.example"]);
}
