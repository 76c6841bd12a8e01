//! The audit replayed through the suggested policy: it allows what was to be allowed, and nothing that was not.

use proptest::prelude::*;

use super::*;
use crate::client::Client;
use crate::destination::Destination;
use crate::guard;
use crate::host::{Host, Name};
use crate::ingress::Ingress;
use crate::policy::Question;
use crate::reason::Reason;

const NAMES: [&str; 14] = [
    "example.com",
    "a.example.com",
    "b.example.com",
    "c.example.com",
    "d.example.com",
    "x.a.example.com",
    "y.a.example.com",
    "one.github.io",
    "two.github.io",
    "three.github.io",
    "q.s3.amazonaws.com",
    "s3.amazonaws.com",
    "10.0.0.1",
    "8.8.8.8",
];
const PORTS: [u16; 5] = [443, 80, 22, 8443, 8080];
const REASONS: [Reason; 12] = [
    Reason::ReportOnly,
    Reason::Allowed,
    Reason::ClientReset,
    Reason::Draining,
    Reason::NoRule,
    Reason::NoProfile,
    Reason::DeniedByRule,
    Reason::AddressProhibited,
    Reason::NotTls,
    Reason::DnsFailed,
    Reason::BadRequest,
    Reason::LimitFlows,
];

fn host(index: usize) -> Host {
    Host::parse(NAMES[index]).unwrap()
}

prop_compose! {
    fn observation()(
        host in (0..NAMES.len()).prop_map(host),
        port in prop::sample::select(&PORTS[..]),
        client in 1..4u8,
        profile in prop::sample::select(&["learn", "other"][..]),
        sight in 0..6,
        reason in prop_oneof![6 => Just(Reason::ReportOnly), 1 => prop::sample::select(&REASONS[..])],
        address in prop::sample::select(&["93.184.216.34", "93.184.216.34", "93.184.216.34", "10.1.1.1", "169.254.169.254"][..]),
        ingress in prop_oneof![5 => Just(Ingress::Connect), 1 => Just(Ingress::Dns)],
    ) -> Observation {
        let own = match &host {
            Host::Name(name) => name.clone(),
            Host::Ip(_) => Name::parse("a.example.com").unwrap(),
        };
        let sight = match sight {
            0 => Sight::Unknown,
            1 | 2 => Sight::Tls { server_name: own, ech: false },
            3 => Sight::Http { method: "GET".into(), path: "/".into() },
            4 => Sight::Other,
            _ => Sight::Tls { server_name: Name::parse("b.example.com").unwrap(), ech: port == 22 },
        };
        Observation {
            time: "2026-11-22T16:00:00Z".parse().unwrap(),
            ingress,
            client: std::net::IpAddr::from([10, 0, 0, client]),
            name: None,
            profiles: vec![profile.into()],
            to: Some(Destination::new(host, port)),
            sight,
            address: Some(address.parse().unwrap()),
            reason,
        }
    }
}

/// What the documents promise to allow, said the plain way.
fn is_meant(seen: &Observation, denied: bool) -> bool {
    let passed =
        matches!(seen.reason, Reason::ReportOnly | Reason::Allowed | Reason::ClientReset | Reason::Draining)
            || denied && matches!(seen.reason, Reason::NoRule | Reason::NoProfile);
    let Some(Destination { host: Host::Name(name), .. }) = &seen.to else { return false };
    let is_own = match &seen.sight {
        Sight::Tls { server_name, ech } => server_name == name && !ech,
        _ => true,
    };
    passed && is_own && seen.ingress != Ingress::Dns && seen.address.and_then(guard::special).is_none()
}

fn decides(policy: &Policy, client: std::net::IpAddr, to: &Destination, sight: &Sight) -> bool {
    let subject = policy.subject(&Client::supposed(client));
    let address = Some("93.184.216.34".parse().unwrap()).filter(|_| matches!(to.host, Host::Name(_)));
    let question = Question { to, seen: sight.seen(), address };
    policy.decide(&subject, &question, date(2026, 11, 25)).is_allow()
}

/// Whether flows that were meant, to one host, ask for rules that let this one pass, where deny rules refused others on
/// these ports.
fn is_asked(meant: &[&Observation], refused: &[u16], flow: &Observation) -> bool {
    let to = flow.to.as_ref().unwrap();
    // TLS, HTTP, and whatever else on a port.
    let asked = |port: u16| {
        let flows = || meant.iter().filter(move |other| other.to.as_ref().unwrap().port == port);
        let any = |is: fn(&Sight) -> bool| flows().any(|other| is(&other.sight));
        let (tls, http) = (any(|s| matches!(s, Sight::Tls { .. })), any(|s| matches!(s, Sight::Http { .. })));
        let silent = !tls && !http && flows().next().is_some();
        let other = any(|s| *s == Sight::Other);
        (!other && (tls || silent && port != 80), !other && (http || silent && port != 443), other)
    };
    let may_open =
        |port| !refused.contains(&port) || meant.iter().any(|it| it.to.as_ref().unwrap().port == port);
    let usual = (asked(443).0 || asked(80).1) && may_open(443) && may_open(80);
    let (tls, http, other) = asked(to.port);
    let (tls, http) = (tls || usual && to.port == 443, http || usual && to.port == 80);
    match &flow.sight {
        _ if other => true,
        Sight::Unknown => tls || http,
        Sight::Tls { server_name, ech } => tls && to.host.name() == Some(server_name) && !ech,
        Sight::Http { .. } => http,
        Sight::Other => false,
    }
}

proptest! {
    #[test]
    fn a_replay_allows_what_was_meant_and_no_more(
        seen in prop::collection::vec(observation(), 1..40),
        denied in any::<bool>(),
        by in prop::sample::select(&[By::Profile, By::Client, By::All][..]),
    ) {
        let options = Options { by, denied, siblings: None, ..Options::default() };
        let mut tally = Tally::new(options, None);
        seen.iter().for_each(|flow| tally.add(flow));
        let text = tally.suggest().to_string();
        let policy = policy(&text);
        // Who may do what: with whom they share a profile, and themselves.
        let meant: Vec<&Observation> = seen.iter().filter(|flow| is_meant(flow, denied)).collect();
        let is_refused =
            |it: &&Observation| it.reason == Reason::DeniedByRule && it.ingress != Ingress::Dns;
        let refused: Vec<&Observation> = seen.iter().filter(is_refused).collect();
        let shares = |a: &Observation, b: &Observation| match by {
            By::All => true,
            By::Client => a.client == b.client,
            By::Profile => {
                let in_profile = |of: &Observation| {
                    seen.iter().any(|flow| flow.client == a.client && flow.profiles == of.profiles && is_grouped(flow, denied))
                };
                in_profile(b)
            }
        };
        for flow in &seen {
            let to = flow.to.as_ref().unwrap();
            let own = decides(&policy, flow.client, to, &flow.sight);
            let is_here = |other: &&&Observation| {
                shares(flow, other) && other.to.as_ref().unwrap().host == to.host
            };
            // Each profile by itself: rules never combine.
            let expected = ["learn", "other"].iter().any(|profile| {
                let is_own = |other: &&&Observation| by != By::Profile || *other.profiles[0] == **profile;
                let here: Vec<&Observation> = meant.iter().filter(is_here).filter(is_own).copied().collect();
                let refused = refused.iter().filter(is_here).filter(is_own);
                let refused: Vec<u16> = refused.map(|flow| flow.to.as_ref().unwrap().port).collect();
                is_asked(&here, &refused, flow)
            });
            prop_assert_eq!(own, expected, "{:?}\n{}", flow, text);
        }
        // Nobody spoke of these.
        for other in ["evil.example.com", "example.net", "four.github.io"] {
            let to = Destination::new(Host::parse(other).unwrap(), 443);
            let sight = Sight::Tls { server_name: Name::parse(other).unwrap(), ech: false };
            prop_assert!(!decides(&policy, std::net::IpAddr::from([10, 0, 0, 1]), &to, &sight), "{other}: {text}");
        }
    }

    #[test]
    fn wildcards_allow_what_was_meant_and_nothing_that_was_set_apart(
        seen in prop::collection::vec(observation(), 1..80),
    ) {
        let options = Options { by: By::All, siblings: Some(2), ..Options::default() };
        let mut tally = Tally::new(options, None);
        seen.iter().for_each(|flow| tally.add(flow));
        let text = tally.suggest().to_string();
        let policy = policy(&text);
        for flow in seen.iter().filter(|flow| is_meant(flow, false)) {
            prop_assert!(decides(&policy, flow.client, flow.to.as_ref().unwrap(), &flow.sight), "{flow:?}\n{text}");
        }
        for other in ["four.github.io", "four.s3.amazonaws.com", "example.net", "com"] {
            let to = Destination::new(Host::parse(other).unwrap(), 443);
            let sight = Sight::Tls { server_name: Name::parse(other).unwrap(), ech: false };
            prop_assert!(!decides(&policy, std::net::IpAddr::from([10, 0, 0, 1]), &to, &sight), "{other}: {text}");
        }
        // A name that was set apart, and was not meant by another flow, stays denied.
        let meant: Vec<_> = seen.iter().filter(|flow| is_meant(flow, false)).filter_map(|flow| flow.to.clone()).collect();
        for flow in &seen {
            let Some(to) = &flow.to else { continue };
            let apart = matches!(flow.reason, Reason::DeniedByRule | Reason::AddressProhibited | Reason::NotTls)
                && flow.ingress != Ingress::Dns;
            if apart && !meant.iter().any(|other| other.host == to.host) {
                let Host::Name(name) = &to.host else { continue };
                let sight = Sight::Tls { server_name: name.clone(), ech: false };
                let to = Destination::new(to.host.clone(), 443);
                prop_assert!(!decides(&policy, flow.client, &to, &sight), "{flow:?}\n{text}");
            }
        }
    }

    #[test]
    fn the_order_of_records_changes_nothing(
        seen in prop::collection::vec(observation(), 1..40),
        by in prop::sample::select(&[By::Profile, By::Client, By::All][..]),
    ) {
        let text = |flows: &mut dyn Iterator<Item = &Observation>| {
            let mut tally = Tally::new(Options { by, siblings: Some(2), ..Options::default() }, None);
            flows.for_each(|flow| tally.add(flow));
            tally.suggest().to_string()
        };
        prop_assert_eq!(text(&mut seen.iter()), text(&mut seen.iter().rev()));
    }
}

/// Whether a flow makes its client one of its profile's.
fn is_grouped(flow: &Observation, denied: bool) -> bool {
    match flow.reason {
        _ if flow.ingress == Ingress::Dns => flow.reason.allows(),
        Reason::NoRule | Reason::NoProfile => denied,
        Reason::BadRequest | Reason::LimitFlows => false,
        _ => true,
    }
}
