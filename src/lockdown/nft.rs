//! The rules as one table of `nft`.
//!
//! It has base chains of its own, so no rule of another table can accept what it refuses. It never says
//! `flags owner`: such a table vanishes with the program that made it, and everything is open again.

use crate::lockdown::chains::{self, TAKING};
use crate::lockdown::found::OWN;
use crate::lockdown::plan::Plan;
use crate::lockdown::rule::{COMMENT, Chain, Family, Hook, Match, OWN_FLOW, Rule, Table, Verdict};
use crate::sys::TAKEN;

/// The name of the table.
pub const TABLE: &str = "exeat";
/// What the name of a chain ends with that leads from the kernel into the chain of the rest of the name.
pub(super) const BASE: &str = "_base";

/// The text for `nft -f -`: the table is declared, so that it is there; deleted with what an earlier run left
/// in it; and declared anew. All of it is one transaction.
pub fn text(plan: &Plan) -> String {
    let mut text = removal();
    text += &format!("table {} {TABLE} {{\n", table_family(plan));
    for chain in chains::of(plan) {
        text += &chain_text(&chain, plan);
    }
    text + "}\n"
}

/// The text for `nft -f -` after which no table of ours is left, whether there was one or not.
pub fn removal() -> String {
    ["inet", "ip"]
        .map(|family| format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n"))
        .concat()
}

fn table_family(plan: &Plan) -> &'static str {
    if plan.ipv4_only { "ip" } else { "inet" }
}

/// The name of a chain of ours.
pub(super) fn name(chain: &Chain) -> String {
    format!("{}_{}", chain.table.name(), chain.name.trim_start_matches(OWN)).to_ascii_lowercase()
}

fn chain_text(chain: &Chain, plan: &Plan) -> String {
    let name = name(chain);
    let rules: Vec<&Rule> =
        chain.rules.iter().filter(|rule| !plan.ipv4_only || rule.is_for(Family::V4)).collect();
    let mut text = format!("\tchain {name} {{\n");
    for (index, rule) in rules.iter().enumerate() {
        text += &format!("\t\t{}\n", rule_text(rule, index + 1, rules.len(), plan));
    }
    let (kind, priority) = base(chain);
    let hook = chain.hook.chain().to_ascii_lowercase();
    text += "\t}\n";
    text += &format!(
        "\tchain {name}{BASE} {{\n\t\ttype {kind} hook {hook} priority {priority}; policy accept;\n"
    );
    let entries = chain.entries.iter().filter(|entry| !plan.ipv4_only || !is_of_v6(&entry.matches));
    for entry in entries {
        text += &format!("\t\t{}jump {name}\n", words(&entry.matches));
    }
    text + "\t}\n"
}

fn is_of_v6(matches: &[Match]) -> bool {
    let rule = Rule::new(matches, Verdict::Count, "");
    !rule.is_for(Family::V4)
}

/// Redirects come before those of other tables (-100), verdicts after every redirect.
fn base(chain: &Chain) -> (&'static str, i16) {
    match (chain.table, chain.hook) {
        (Table::Nat, Hook::Prerouting | Hook::Output) => ("nat", -105),
        (Table::Nat, _) => ("nat", 95),
        // Sources are looked at first.
        (Table::Mangle, _) if chain.name == TAKING => ("filter", -144),
        (Table::Mangle, _) => ("filter", -145),
        (Table::Filter, _) => ("filter", 5),
        (Table::Security, _) => ("filter", 50),
    }
}

fn rule_text(rule: &Rule, number: usize, all: usize, plan: &Plan) -> String {
    let family = match rule.family {
        // A table of one family takes no word of which is meant.
        _ if plan.ipv4_only => "",
        // A `udp` or `icmp` match does not say it.
        Some(Family::V4) => "meta nfproto ipv4 ",
        Some(Family::V6) => "meta nfproto ipv6 ",
        None => "",
    };
    let comment = format!("{COMMENT} {number}/{all}: {}", rule.comment);
    let verdict = verdict(&rule.verdict, plan);
    format!("{family}{}counter{verdict} comment \"{comment}\"", words(&rule.matches))
}

/// The matches, each with a blank behind it.
fn words(matches: &[Match]) -> String {
    let tcp = matches.contains(&Match::Tcp);
    matches.iter().map(|one| word(one, if tcp { "tcp" } else { "udp" }) + " ").collect()
}

fn word(one: &Match, transport: &str) -> String {
    match one {
        // A number stays a number; a name is quoted, as it may be a word of nft's own.
        Match::Owner(user) if user.bytes().all(|byte| byte.is_ascii_digit()) => format!("meta skuid {user}"),
        Match::Owner(user) => format!("meta skuid \"{user}\""),
        Match::Mark(mark) => format!("meta mark {mark:#x}"),
        Match::OwnFlow => format!("ct mark & {OWN_FLOW:#x} == {OWN_FLOW:#x}"),
        Match::Onward => "ct direction original".to_owned(),
        Match::Backward => "ct direction reply".to_owned(),
        Match::From(interface) => match interface.strip_suffix('+') {
            Some(start) => format!("iifname \"{start}*\""),
            None => format!("iifname \"{interface}\""),
        },
        Match::ToLoopback(true) => "oifname \"lo\"".to_owned(),
        Match::ToLoopback(false) => "oifname != \"lo\"".to_owned(),
        Match::Local => "fib daddr type local".to_owned(),
        Match::Spoofed => "fib saddr . iif oif missing".to_owned(),
        Match::Source(network) => format!("{} saddr {}", protocol(Family::of(network)), network.trunc()),
        Match::Destination(network) => format!("{} daddr {}", protocol(Family::of(network)), network.trunc()),
        Match::Tcp => "meta l4proto tcp".to_owned(),
        Match::Udp => "meta l4proto udp".to_owned(),
        Match::Icmp => "meta l4proto { icmp, ipv6-icmp }".to_owned(),
        Match::SourcePort(port) => format!("{transport} sport {port}"),
        Match::DestinationPort(port) => format!("{transport} dport {port}"),
        Match::NotFirst => "tcp flags & (fin|syn|rst|ack) != syn".to_owned(),
        Match::Reply => "ct state established ct direction reply".to_owned(),
        Match::Related => "ct state related".to_owned(),
        Match::Untracked => "ct state invalid".to_owned(),
        Match::Published => "ct status dnat".to_owned(),
        Match::Icmp6(number) => format!("icmpv6 type {number}"),
        Match::HopLimit(limit) => format!("ip6 hoplimit {limit}"),
        Match::Rate { each_minute, burst } => {
            format!("limit rate {each_minute}/minute burst {burst} packets")
        }
    }
}

fn protocol(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn verdict(verdict: &Verdict, plan: &Plan) -> String {
    match verdict {
        Verdict::Count => String::new(),
        Verdict::Return => " return".to_owned(),
        Verdict::Remember => format!(" ct mark set ct mark | {OWN_FLOW:#x}"),
        Verdict::Redirect(port) => format!(" redirect to :{port}"),
        // Where nobody listens the rule ends here, and what would be forwarded is refused later.
        Verdict::Take(port) => format!(" tproxy to :{port} meta mark set meta mark | {TAKEN:#x} accept"),
        Verdict::Log(prefix) => format!(" log prefix \"{prefix}\""),
        Verdict::Reset => " reject with tcp reset".to_owned(),
        Verdict::Prohibit if plan.ipv4_only => " reject with icmp admin-prohibited".to_owned(),
        Verdict::Prohibit => " reject with icmpx admin-prohibited".to_owned(),
        Verdict::Drop => " drop".to_owned(),
    }
}
