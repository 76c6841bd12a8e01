//! The rules that let something pass, each with its reason.

use crate::lockdown::plan::{Allowance, Exit, Plan};
use crate::lockdown::rule::Match::{
    Backward, Destination, DestinationPort, HopLimit, Icmp, Icmp6, Local, Mark, NotFirst, Onward, OwnFlow,
    Owner, Published, Related, Reply, SourcePort, Tcp, Udp, Untracked,
};
use crate::lockdown::rule::Verdict::{Remember, Return};
use crate::lockdown::rule::{Family, Match, Rule};

/// Neighbour and router discovery (RFC 4861) and multicast listeners (RFC 2710, RFC 3810): without
/// them a host has no neighbours and soon no address.
const DISCOVERY: [(u8, &str); 4] = [
    (133, "IPv6 router solicitation"),
    (134, "IPv6 router advertisement"),
    (135, "IPv6 neighbour solicitation"),
    (136, "IPv6 neighbour advertisement"),
];
const LISTENERS: [(u8, &str); 4] = [
    (130, "IPv6 multicast listener query"),
    (131, "IPv6 multicast listener report"),
    (132, "IPv6 multicast listener done"),
    (143, "IPv6 multicast listener report v2"),
];

/// What neighbours send has passed no router (RFC 4861 §7.1.1), what listeners send passes none (RFC 3810 §5).
const UNROUTED: u8 = 255;
const ON_LINK: u8 = 1;

/// By what exeat's own packets are known.
pub(super) fn exit(plan: &Plan) -> Match {
    match &plan.exit {
        Exit::User(user) => Owner(user.clone()),
        Exit::Mark(mark) => Mark(*mark),
    }
}

/// exeat itself. What it closed with bytes unsent is known by its connection alone: only TCP does that, and
/// never begins a connection. Whoever takes a port that exeat left begins anew, or sends UDP where exeat
/// asked its DNS servers, and conntrack takes both for the same connection.
pub(super) fn exeat(plan: &Plan) -> Vec<Rule> {
    vec![
        Rule::new([exit(plan), Onward], Remember, "remember the connections that exeat opens"),
        Rule::new([exit(plan)], Return, "exeat may leave"),
        Rule::new([Tcp, NotFirst, OwnFlow, Onward], Return, "what closed sockets of exeat still send"),
    ]
}

/// What stays on this host, also what was just redirected to loopback: `-o` still says by which
/// interface that would have left, so its destination decides.
pub(super) fn local() -> Rule {
    Rule::new([Local], Return, "stays on this host")
}

/// Answers to what came in from outside. UDP has no beginning that conntrack could know: a packet from
/// the far side of an old flow would look like one, so only ports that are served may answer.
pub(super) fn replies(plan: &Plan, errors: &[Match]) -> Vec<Rule> {
    let mut rules = vec![
        Rule::new([Tcp, Reply], Return, "answers to TCP connections from outside"),
        Rule::new([Icmp, Reply], Return, "answers to pings from outside"),
        Rule::new(
            [&[Icmp, Related], errors].concat(),
            Return,
            "errors of connections: path MTU and the like",
        ),
    ];
    for port in &plan.served_udp {
        let matches = [Udp, SourcePort(*port), Reply];
        rules.push(Rule::new(matches, Return, format!("answers of UDP port {port}, which is served here")));
    }
    rules
}

/// What is forwarded comes from whoever can write a packet, and an error holds what they like: theirs pass only where
/// the connection came in from outside. To a server that they called themselves it would be a letter.
pub(super) fn passing_replies(plan: &Plan) -> Vec<Rule> {
    replies(plan, &[Backward])
}

/// Connections from outside that are older than connection tracking; nobody without privileges can
/// send from these ports.
pub(super) fn kept(plan: &Plan) -> impl Iterator<Item = Rule> {
    plan.kept_tcp.iter().map(|port| {
        let matches = [Tcp, SourcePort(*port), NotFirst, Untracked];
        Rule::new(matches, Return, format!("connections to port {port} older than tracking"))
    })
}

/// Ports that a rule of this host sends elsewhere: Docker's, kube-proxy's. The outside can't make such a
/// connection out of another.
pub(super) fn published(and: &[Match]) -> Rule {
    let matches = [&[Published], and].concat();
    Rule::new(matches, Return, "published ports: a rule of this host chose the destination")
}

/// What a network needs to live. Only the kernel and root can send these.
pub(super) fn vital() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (number, comment) in DISCOVERY {
        rules.push(Rule::new([Icmp6(number), HopLimit(UNROUTED)], Return, comment));
    }
    for (number, comment) in LISTENERS {
        rules.push(Rule::new([Icmp6(number), HopLimit(ON_LINK)], Return, comment));
    }
    let dhcp = |client, server| [Udp, SourcePort(client), DestinationPort(server)];
    rules.push(Rule::new(dhcp(68, 67), Return, "DHCP: keep the address").only(Family::V4));
    rules.push(Rule::new(dhcp(546, 547), Return, "DHCPv6: keep the address").only(Family::V6));
    rules
}

/// What was allowed by hand.
pub(super) fn by_hand(plan: &Plan) -> impl Iterator<Item = Rule> {
    plan.allowances.iter().map(|allowance| match allowance {
        Allowance::Network(network) => {
            Rule::new([Destination(*network)], Return, format!("allowed: everything to {network}"))
        }
        Allowance::Udp(port, network) => {
            let matches = [Destination(*network), Udp, DestinationPort(*port)];
            Rule::new(matches, Return, format!("allowed: UDP port {port} of {network}"))
        }
    })
}

/// The same for the redirects, which stop at TCP and DNS alone.
pub(super) fn networks(plan: &Plan) -> impl Iterator<Item = Rule> {
    plan.allowances.iter().filter_map(|allowance| match allowance {
        Allowance::Network(network) => {
            let comment = format!("allowed: everything to {network}");
            Some(Rule::new([Destination(*network)], Return, comment))
        }
        Allowance::Udp(..) => None,
    })
}
