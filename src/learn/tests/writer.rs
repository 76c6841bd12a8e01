//! Whatever a draft says is read back as it.

use proptest::prelude::*;

use super::*;
use crate::learn::draft::{Draft, Entry, On, Profile, Rule};
use crate::policy::pattern::Pattern;
use crate::policy::terms::{Action, Ports, Private, Protocol};
use crate::policy::who::Who;

fn pattern() -> impl Strategy<Value = Pattern> {
    let label = "[a-z0-9_]([a-z0-9-]{0,5}[a-z0-9])?|[a-z]{1,3}\\*|\\*";
    let text = (
        prop_oneof![Just(""), Just("*."), Just(".")],
        prop::collection::vec(label, 0..3),
        "[a-z][a-z0-9]{2,6}",
    );
    text.prop_filter_map("no pattern", |(lead, labels, last)| {
        let labels: Vec<String> = labels.into_iter().chain([last]).collect();
        Pattern::parse(&format!("{lead}{}.example", labels.join("."))).ok()
    })
}

fn on() -> impl Strategy<Value = On> {
    let v4 = (any::<u32>(), 0..=32u8)
        .prop_map(|(bits, length)| ipnet::Ipv4Net::new_assert(bits.into(), length).trunc().into());
    let v6 = (any::<u128>(), 1..=128u8).prop_map(|(bits, length)| {
        ipnet::Ipv6Net::new_assert((bits | 1 << 127).into(), length).trunc().into()
    });
    prop_oneof![3 => pattern().prop_map(On::Name), 1 => v4.prop_map(On::Network), 1 => v6.prop_map(On::Network)]
}

prop_compose! {
    fn rule()(
        on in on(),
        ports in prop::collection::vec((1..=u16::MAX, 1..=u16::MAX), 0..3),
        protocol in prop_oneof![Just(None), Just(Some(Protocol::Tls)), Just(Some(Protocol::Http)), Just(Some(Protocol::Tcp))],
        private in prop::collection::vec(Just("10.20.0.0/16".parse().unwrap()), 0..2),
        methods in prop::collection::vec("[A-Z!#$%&'*+.^_`|~-]{1,8}".prop_filter("CONNECT", |m| m != "CONNECT"), 0..3),
        reason in prop::option::of("\\PC{0,20}|[\\x00-\\x7f]{0,10}|true|~|- a|[#\"\\\\:]{1,4}"),
    ) -> Rule {
        let ports: Vec<_> = ports.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        let ports = if protocol == Some(Protocol::Tcp) && ports.is_empty() { vec![(22, 22)] } else { ports };
        let methods = if protocol == Some(Protocol::Http) { methods } else { Vec::new() };
        let private = if matches!(on, On::Name(_)) { private } else { Vec::new() };
        let public_suffix = matches!(&on, On::Name(pattern) if pattern.is_wildcard());
        Rule { on, ports, protocol, private, methods, public_suffix, reason }
    }
}

proptest! {
    #[test]
    fn a_written_policy_is_read_back(
        rules in prop::collection::vec((rule(), prop::option::of("\\PC{0,30}|[\\x00-\\x7f]{0,10}")), 0..6),
        name in "[a-z0-9][a-z0-9._-]{0,20}",
        clients in prop::option::of(prop::collection::vec(any::<std::net::IpAddr>(), 1..20)),
        head in prop::collection::vec("\\PC{0,30}|[\\x00-\\x7f]{0,10}", 0..3),
    ) {
        let clients: Option<Vec<Who>> = clients.map(|clients| clients.iter().map(|client| Who::Network(client.to_canonical().into())).collect());
        let entries = rules.iter().cloned().map(|(rule, comment)| Entry::Rule { rule, comment });
        let profile = Profile { name: name.clone(), clients, allow: entries.collect(), ..Profile::default() };
        let text = Draft { head, profiles: vec![profile.clone()], ..Draft::default() }.to_string();
        let loaded = load_text(Path::new("p.yaml"), &text);
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
        let policy = loaded.builder.finish(0);
        prop_assert_eq!(&policy.profiles()[0].name, &name);
        prop_assert_eq!(&policy.profiles()[0].clients, &profile.clients);
        prop_assert_eq!(policy.len(), rules.len(), "{}", text);
        for (read, (rule, _)) in policy.rules().zip(&rules) {
            let terms = read.terms();
            let on = match &rule.on {
                On::Name(pattern) => pattern.to_string(),
                On::Network(network) => network.to_string(),
            };
            prop_assert_eq!(read.pattern().to_string(), on);
            prop_assert_eq!((terms.action, terms.protocol), (Action::Allow, rule.protocol));
            if !rule.ports.is_empty() {
                prop_assert_eq!(&terms.ports, &Ports::new(rule.ports.clone()));
            }
            let private = match &terms.private {
                Private::Networks(networks) => networks.clone(),
                _ => Vec::new(),
            };
            prop_assert_eq!(&private, &rule.private);
            prop_assert_eq!(&terms.methods, &rule.methods);
            prop_assert_eq!(terms.reason.as_deref(), rule.reason.as_deref());
        }
    }
}
