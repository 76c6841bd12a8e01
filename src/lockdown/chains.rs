//! The chains of each shape: what passes is in `allow`, here is where it stands and what follows it.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::lockdown::allow;
use crate::lockdown::plan::{Plan, Shape};
use crate::lockdown::rule::Match::{
    Destination, DestinationPort, From, Local, Rate, Related, Reply, Source, Spoofed, Tcp, ToLoopback, Udp,
};
use crate::lockdown::rule::Verdict::{Count, Drop, Log, Prohibit, Redirect, Reset, Return, Take};
use crate::lockdown::rule::{Chain, Entry, Hook, Rule, Table};

/// What the kernel's log says before a packet that was refused.
const LOGGED: &str = "exeat-lockdown: ";
/// Why a backstop dropped.
const DISPLACED: &str = "let through by rules that stand before those of exeat";
/// The chain of TPROXY.
pub(super) const TAKING: &str = "EXEAT-TPROXY";
const DNS: u16 = 53;
const HTTPS: u16 = 443;
const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);
const UNNUMBERED_V4: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 32);
const UNNUMBERED_V6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 128);
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// The chains of a plan, for both families; those that close come first.
pub fn of(plan: &Plan) -> Vec<Chain> {
    match &plan.shape {
        Shape::Instance { containers } => instance(plan, containers),
        Shape::Gateway { interfaces, subnets, .. } => gateway(plan, interfaces, subnets),
    }
}

fn instance(plan: &Plan, containers: &[String]) -> Vec<Chain> {
    let mut chains = vec![output(plan), forward(plan, everything()), redirect_output(plan)];
    if !containers.is_empty() {
        chains.push(redirect_arriving(plan, by_interface(containers)));
        chains.push(sources(plan, containers, &[]));
    }
    chains.push(backstop(plan));
    chains
}

fn gateway(plan: &Plan, interfaces: &[String], subnets: &[IpNet]) -> Vec<Chain> {
    let mut chains = vec![
        forward(plan, by_interface(interfaces)),
        redirect_arriving(plan, by_interface(interfaces)),
        sources(plan, interfaces, subnets),
    ];
    if plan.shape.takes() {
        chains.push(take_arriving(plan, by_interface(interfaces)));
    }
    chains.push(backstop_of_forward(plan, by_interface(interfaces)));
    chains
}

/// Whoever lies about its source is not answered at all: each answer, be it an ICMP error that quotes the
/// packet, a reset or a denied DNS question, would carry what it sent to the address that it chose. Where clients
/// and the internet are behind one interface, what is meant for this host itself comes from anywhere.
fn sources(plan: &Plan, interfaces: &[String], subnets: &[IpNet]) -> Chain {
    let lie = "the source is not behind this interface: an answer would carry the packet out";
    let mut rules = vec![head(plan), Rule::new([Spoofed], Drop, lie)];
    // Where route_localnet is set, as kube-proxy does, the kernel would take them. Those of IPv6 it never takes.
    let inward =
        Rule::new([Destination(LOOPBACK_V4.into())], Drop, "loopback addresses never come by a wire");
    rules.push(inward);
    if !subnets.is_empty() {
        let unnumbered = [UNNUMBERED_V4.into(), UNNUMBERED_V6.into(), LINK_LOCAL.into()];
        let own = unnumbered.map(|network| (network, "has no address yet, or none beyond the link"));
        let given = subnets.iter().map(|subnet| (*subnet, "a client"));
        for (network, comment) in own.into_iter().chain(given) {
            rules.push(Rule::new([Source(network)], Return, comment));
        }
        for matches in [vec![Reply], vec![Related]] {
            rules.push(Rule::new(matches, Return, "belongs to what this host or a client began, or let in"));
        }
        for transport in [Udp, Tcp] {
            rules.push(Rule::new([transport, DestinationPort(DNS)], Drop, "only clients may ask"));
        }
        rules.push(Rule::new(
            [Local],
            Return,
            "for this host itself, over an interface that the uplink shares",
        ));
        rules.push(Rule::new([], Drop, "not an address of the clients"));
    }
    chain(Table::Mangle, Hook::Prerouting, "EXEAT-PREROUTING", by_interface(interfaces), rules)
}

/// Everything that this host sends.
fn output(plan: &Plan) -> Chain {
    let mut rules = vec![head(plan)];
    rules.extend(allow::exeat(plan));
    rules.push(allow::local());
    rules.extend(allow::replies(plan, &[]));
    rules.extend(allow::kept(plan));
    rules.push(allow::published(&[]));
    rules.extend(allow::vital());
    rules.extend(allow::by_hand(plan));
    rules.extend(refusals());
    chain(Table::Filter, Hook::Output, "EXEAT-OUTPUT", everything(), rules)
}

/// Everything that this host passes on.
fn forward(plan: &Plan, entries: Vec<Entry>) -> Chain {
    let mut rules = passing(plan);
    rules.extend(refusals());
    chain(Table::Filter, Hook::Forward, "EXEAT-FORWARD", entries, rules)
}

/// The same once more, after whatever stands in `filter`: other rules may come to stand before ours in
/// FORWARD and accept.
fn backstop_of_forward(plan: &Plan, entries: Vec<Entry>) -> Chain {
    let mut rules = passing(plan);
    rules.push(Rule::new([], Drop, DISPLACED));
    chain(Table::Security, Hook::Forward, "EXEAT-FORWARD", entries, rules)
}

/// What may be forwarded.
fn passing(plan: &Plan) -> Vec<Rule> {
    let mut rules = vec![head(plan)];
    rules.extend(allow::passing_replies(plan));
    rules.push(match plan.shape {
        Shape::Instance { .. } => allow::published(&[]),
        Shape::Gateway { .. } => allow::published(&[Reply]),
    });
    rules.extend(allow::by_hand(plan));
    rules
}

fn redirect_output(plan: &Plan) -> Chain {
    let mut rules = vec![
        head(plan),
        Rule::new([allow::exit(plan)], Return, "exeat may leave"),
        Rule::new([ToLoopback(true)], Return, "stays on this host"),
    ];
    rules.extend(dns_door(plan));
    rules.extend(allow::networks(plan));
    rules.push(transparent_door(plan));
    chain(Table::Nat, Hook::Output, "EXEAT-OUTPUT", everything(), rules)
}

/// What others send by way of this host. DNS goes to the DNS door even if it is meant for this host.
fn redirect_arriving(plan: &Plan, entries: Vec<Entry>) -> Chain {
    let mut rules = vec![head(plan)];
    rules.extend(dns_door(plan));
    if !plan.shape.takes() {
        rules.push(Rule::new([Local], Return, "meant for this host itself"));
        rules.extend(allow::networks(plan));
        rules.push(transparent_door(plan));
    }
    chain(Table::Nat, Hook::Prerouting, "EXEAT-PREROUTING", entries, rules)
}

/// The same for TCP without NAT: each packet is given to the socket of its connection, or to the listener.
fn take_arriving(plan: &Plan, entries: Vec<Entry>) -> Chain {
    let mut rules = vec![
        head(plan),
        Rule::new([Tcp, DestinationPort(DNS)], Return, "goes to the DNS door by NAT"),
        Rule::new([Local], Return, "meant for this host itself"),
        Rule::new([Tcp, Reply], Return, "answers to TCP connections from outside"),
    ];
    rules.extend(allow::networks(plan));
    rules.push(Rule::new([Tcp], Take(plan.transparent_port), "all TCP to the transparent door"));
    chain(Table::Mangle, Hook::Prerouting, TAKING, entries, rules)
}

/// The last look at what leaves the instance. Other rules may come to stand before ours in OUTPUT and
/// FORWARD and accept (Docker puts its own first whenever it starts); and a socket bound to an
/// interface takes what was redirected to loopback out by that interface.
fn backstop(plan: &Plan) -> Chain {
    let astray = |loopback: IpNet| {
        let matches = [ToLoopback(false), Destination(loopback)];
        Rule::new(matches, Drop, "loopback addresses never leave, whatever interface a socket is bound to")
    };
    let mut rules = vec![
        head(plan),
        astray(LOOPBACK_V4.into()),
        astray(LOOPBACK_V6.into()),
        Rule::new([ToLoopback(true)], Return, "stays on this host"),
    ];
    rules.extend(allow::exeat(plan));
    rules.extend(allow::replies(plan, &[]));
    rules.extend(allow::kept(plan));
    rules.push(allow::published(&[]));
    rules.extend(allow::vital());
    rules.extend(allow::by_hand(plan));
    rules.push(Rule::new([], Drop, DISPLACED));
    chain(Table::Mangle, Hook::Postrouting, "EXEAT-POSTROUTING", everything(), rules)
}

fn head(plan: &Plan) -> Rule {
    Rule::new([], Count, plan.summary())
}

fn dns_door(plan: &Plan) -> [Rule; 2] {
    let to = Redirect(plan.dns_port);
    [
        Rule::new([Udp, DestinationPort(DNS)], to.clone(), "DNS to the DNS door"),
        Rule::new([Tcp, DestinationPort(DNS)], to, "DNS over TCP to the DNS door"),
    ]
}

fn transparent_door(plan: &Plan) -> Rule {
    Rule::new([Tcp], Redirect(plan.transparent_port), "all TCP to the transparent door")
}

/// What nothing allowed is refused aloud, so that programs need not wait for a time-out. The only TCP that
/// comes here was opened before the lockdown: a reset ends it.
fn refusals() -> [Rule; 4] {
    let rate = Rate { each_minute: 10, burst: 20 };
    [
        Rule::new([rate], Log(LOGGED), "told in the log of the kernel, not for each packet"),
        Rule::new([Tcp], Reset, "TCP opened before the lockdown ends"),
        Rule::new([Udp, DestinationPort(HTTPS)], Prohibit, "QUIC: browsers turn to TCP at once"),
        Rule::new([], Prohibit, "nothing else leaves"),
    ]
}

fn everything() -> Vec<Entry> {
    vec![Entry { matches: Vec::new(), comment: "lockdown" }]
}

fn by_interface(names: &[String]) -> Vec<Entry> {
    let entry = |name: &String| Entry { matches: vec![From(name.clone())], comment: "lockdown" };
    names.iter().map(entry).collect()
}

fn chain(table: Table, hook: Hook, name: &'static str, entries: Vec<Entry>, rules: Vec<Rule>) -> Chain {
    Chain { table, hook, name, entries, rules }
}
