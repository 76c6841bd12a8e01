//! The guard: which rule opens it for which address.

use super::draft::*;
use crate::guard::Special;
use crate::policy::Policy;
use crate::policy::terms::{Private, Terms};
use crate::reason::Reason;

fn private(networks: &[&str]) -> Terms {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Terms { private: Private::Networks(networks), ..allow() }
}

fn any_private() -> Terms {
    Terms { private: Private::Any, ..allow() }
}

/// Whether the address is accepted for a name under one rule.
fn name_leads_to(terms: &Terms, address: &str) -> bool {
    let policy = Draft::new(everyone()).rule("a.example", terms.clone()).finish();
    let answer = ask(&policy, "a.example:443").address(address).answer();
    let prohibited = answer.reason == Reason::AddressProhibited;
    assert_eq!(answer.special.is_some(), prohibited, "{address}");
    assert!(prohibited || answer.reason == Reason::Allowed, "{address}: {answer:?}");
    !prohibited
}

fn direct(policy: &Policy, to: &str) -> Reason {
    ask(policy, to).reason()
}

#[test]
fn names_lead_to_public_addresses_unless_a_rule_says_private() {
    let corporate = private(&["10.20.0.0/16", "fd12::/16", "64:ff9b::/96", "127.0.0.1/32"]);
    for (address, plain, networks, any) in [
        ("1.1.1.1", true, true, true),
        ("2606:4700::1111", true, true, true),
        ("::ffff:1.1.1.1", true, true, true),
        ("10.20.1.2", false, true, true),
        ("::ffff:10.20.1.2", false, true, true),
        ("10.21.1.2", false, false, true),
        ("127.0.0.1", false, true, true),
        ("fd12::1", false, true, true),
        ("fd13::1", false, false, true),
        ("224.0.0.1", false, false, true),
        // An embedding form is opened by its own network and what it carries by its own.
        ("64:ff9b::101:101", false, true, true),
        ("64:ff9b::a14:102", false, true, true),
        ("64:ff9b::a15:102", false, false, true),
        ("2002:101:101::1", false, false, true),
        // Metadata never, in whatever dress.
        ("169.254.169.254", false, false, false),
        ("::ffff:169.254.169.254", false, false, false),
        ("64:ff9b::a9fe:a9fe", false, false, false),
        ("fd00:ec2::254", false, false, false),
        ("168.63.129.16", false, false, false),
    ] {
        assert_eq!(name_leads_to(&allow(), address), plain, "{address}");
        assert_eq!(name_leads_to(&corporate, address), networks, "{address}");
        assert_eq!(name_leads_to(&any_private(), address), any, "{address}");
    }
}

#[test]
fn metadata_under_a_private_network_stays_closed() {
    for network in ["169.254.0.0/16", "169.254.169.254/32", "0.0.0.0/0"] {
        assert!(!name_leads_to(&private(&[network]), "169.254.169.254"), "{network}");
    }
}

#[test]
fn one_rule_alone_must_accept_the_address_too() {
    let policy = Draft::new(everyone())
        .rule("*.corp.example", any_private())
        .rule("git.corp.example", tcp(22))
        .finish();
    assert_eq!(ask(&policy, "git.corp.example:443").address("10.0.0.5").reason(), Reason::Allowed);
    let git = ask(&policy, "git.corp.example:22").address("10.0.0.5").answer();
    assert_eq!(git.reason, Reason::AddressProhibited);
    assert!(matches!(git.special, Some(Special::Block(block)) if block.name.contains("10.0.0.0/8")));
    assert_eq!(git.rule.as_deref(), Some("p.yaml:2 \"git.corp.example\""));
}

#[test]
fn a_network_opens_a_special_block_only_from_within() {
    for (network, to, reason) in [
        ("0.0.0.0/0", "8.8.8.8:9", Reason::Allowed),
        ("0.0.0.0/0", "10.1.2.3:9", Reason::AddressProhibited),
        ("0.0.0.0/0", "127.0.0.1:9", Reason::AddressProhibited),
        ("8.0.0.0/6", "10.1.2.3:9", Reason::AddressProhibited),
        ("10.0.0.0/8", "10.1.2.3:9", Reason::Allowed),
        ("10.1.0.0/16", "10.1.2.3:9", Reason::Allowed),
        ("::ffff:10.1.0.0/112", "10.1.2.3:9", Reason::Allowed),
        ("10.1.0.0/16", "[::ffff:10.1.2.3]:9", Reason::Allowed),
        ("10.1.0.0/16", "10.2.2.3:9", Reason::NoRule),
        ("169.254.0.0/16", "169.254.1.1:9", Reason::Allowed),
        ("::/0", "[2606:4700::1]:9", Reason::Allowed),
        ("::/0", "[::1]:9", Reason::AddressProhibited),
        ("::/0", "[fd00::1]:9", Reason::AddressProhibited),
        ("::/0", "10.1.2.3:9", Reason::NoRule),
        ("::1/128", "[::1]:9", Reason::Allowed),
        ("fd00::/8", "[fd00::1]:9", Reason::Allowed),
        ("64:ff9b::/96", "[64:ff9b::808:808]:9", Reason::Allowed),
        ("64:ff9b::/96", "[64:ff9b::a01:203]:9", Reason::AddressProhibited),
        ("64:ff9b::/95", "[64:ff9b::808:808]:9", Reason::AddressProhibited),
        ("2002::/16", "[2002:808:808::1]:9", Reason::AddressProhibited),
    ] {
        let policy = Draft::new(everyone()).rule(network, tcp(9)).finish();
        assert_eq!(direct(&policy, to), reason, "{network} {to}");
    }
}

#[test]
fn metadata_is_for_clients_on_this_host_who_name_it() {
    for (network, to) in
        [("169.254.169.254/32", "169.254.169.254:80"), ("fd00:ec2::254/128", "[fd00:ec2::254]:80")]
    {
        let policy = Draft::new(everyone()).rule(network, allow()).finish();
        assert_eq!(ask(&policy, to).reason(), Reason::AddressProhibited);
        assert_eq!(ask(&policy, to).on_this_host().reason(), Reason::Allowed);
    }
    for wider in ["169.254.169.254/31", "169.254.0.0/16", "0.0.0.0/0"] {
        let policy = Draft::new(everyone()).rule(wider, any_private()).finish();
        let answer = ask(&policy, "169.254.169.254:80").on_this_host().answer();
        assert_eq!((answer.reason, answer.special), (Reason::AddressProhibited, Some(Special::Metadata)));
    }
    let policy = Draft::new(everyone()).rule("metadata.example", any_private()).finish();
    let by_name = ask(&policy, "metadata.example:80").on_this_host().address("169.254.169.254");
    assert_eq!(by_name.reason(), Reason::AddressProhibited);
}

#[test]
fn a_network_never_allows_a_name() {
    let policy = Draft::new(everyone()).rule("0.0.0.0/0", allow()).rule("192.0.2.1/32", allow()).finish();
    assert_eq!(ask(&policy, "crates.io:443").address("8.8.8.8").reason(), Reason::NoRule);
}

#[test]
fn a_denied_network_screens_what_names_lead_to() {
    let policy = Draft::new(reporting())
        .rule("*", any_private())
        .rule("198.51.100.0/24", deny())
        .rule("9.9.9.0/24", Terms { ports: ports(&[80]), ..deny() })
        .finish();
    let to = ask(&policy, "a.example:443");
    assert_eq!(to.reason(), Reason::Allowed);
    for (address, reason) in [
        ("198.51.100.7", Reason::DeniedByRule),
        ("::ffff:198.51.100.7", Reason::DeniedByRule),
        ("198.51.101.7", Reason::Allowed),
        ("9.9.9.9", Reason::Allowed),
    ] {
        assert_eq!(to.clone().address(address).reason(), reason, "{address}");
    }
}

#[test]
fn a_denied_network_is_denied_whatever_carries_its_addresses() {
    let policy = Draft::new(everyone())
        .rule("*", any_private())
        .rule("64:ff9b::/96", tcp(9))
        .rule("9.9.9.0/24", deny())
        .finish();
    let to = ask(&policy, "a.example:443");
    for (address, reason) in [
        ("64:ff9b::909:909", Reason::DeniedByRule),
        ("64:ff9b:1::909:909", Reason::DeniedByRule),
        ("2002:909:909::1", Reason::DeniedByRule),
        ("::909:909", Reason::DeniedByRule),
        ("64:ff9b::808:808", Reason::Allowed),
        ("2606:4700::909:909", Reason::Allowed),
    ] {
        assert_eq!(to.clone().address(address).reason(), reason, "{address}");
    }
    assert_eq!(direct(&policy, "[64:ff9b::909:909]:9"), Reason::DeniedByRule);
    assert_eq!(direct(&policy, "[64:ff9b::808:808]:9"), Reason::Allowed);
}
