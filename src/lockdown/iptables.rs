//! The rules in the words of `iptables-restore`.

use std::collections::BTreeMap;

use crate::lockdown::found::{Held, State};
use crate::lockdown::rule::{COMMENT, Chain, Family, Match, OWN_FLOW, Rule, Table, Verdict};
use crate::sys::TAKEN;

/// What the first rule of a chain says where its table was not there before.
const MADE: &str = "; this table was made for it";

/// What the tables of one family hold when the chains are in force. Tables that were made for them say so.
pub fn state(chains: &[Chain], family: Family, made: &[Table]) -> State {
    let mut tables: BTreeMap<_, Held> = BTreeMap::new();
    for chain in chains {
        let entries: Vec<String> = chain
            .entries
            .iter()
            .filter_map(|entry| {
                let matches = matches(&entry.matches, family)?;
                let comment = format!("{COMMENT}: {}", entry.comment);
                Some(format!(
                    "{}{matches} -m comment --comment \"{comment}\" -j {}",
                    chain.hook.chain(),
                    chain.name
                ))
            })
            .collect();
        let held = tables.entry(chain.table).or_default();
        held.entries.extend(entries);
        let note = if made.contains(&chain.table) { MADE } else { "" };
        held.chains.push((chain.name.to_owned(), rules(chain, family, note)));
    }
    State(tables)
}

/// The tables that were made for the chains in force, and those that are not there yet.
pub fn made(saved: &str) -> Vec<Table> {
    let is_made = |table: &Table| {
        let rules = saved.split_once(&format!("*{}\n", table.name())).map(|(_, rules)| rules);
        rules.is_none_or(|rules| rules.split("COMMIT").next().unwrap_or_default().contains(MADE))
    };
    Table::ALL.into_iter().filter(is_made).collect()
}

/// Each rule says which it is of how many, so that what is in force can be seen to be whole.
fn rules(chain: &Chain, family: Family, note: &str) -> Vec<String> {
    let rules: Vec<&Rule> = chain.rules.iter().filter(|rule| rule.is_for(family)).collect();
    let all = rules.len();
    let text = |(index, rule): (usize, &&Rule)| {
        let note = if index == 0 { note } else { "" };
        let comment = format!("{COMMENT} {}/{all}: {}{note}", index + 1, rule.comment);
        let matches = matches(&rule.matches, family).unwrap_or_default();
        let verdict = verdict(&rule.verdict, family);
        format!("{}{matches} -m comment --comment \"{comment}\"{verdict}", chain.name)
    };
    rules.iter().enumerate().map(text).collect()
}

/// The words of the matches, or `None` where one is of the other family.
fn matches(matches: &[Match], family: Family) -> Option<String> {
    matches.iter().map(|one| words(one, family)).collect()
}

fn words(one: &Match, family: Family) -> Option<String> {
    let icmp = match family {
        Family::V4 => "icmp",
        Family::V6 => "ipv6-icmp",
    };
    Some(match one {
        Match::Owner(user) => format!(" -m owner --uid-owner {user}"),
        Match::Mark(mark) => format!(" -m mark --mark {mark:#x}"),
        Match::OwnFlow => format!(" -m connmark --mark {OWN_FLOW:#x}/{OWN_FLOW:#x}"),
        Match::Onward => " -m conntrack --ctdir ORIGINAL".to_owned(),
        Match::Backward => " -m conntrack --ctdir REPLY".to_owned(),
        Match::From(interface) => format!(" -i {interface}"),
        Match::ToLoopback(true) => " -o lo".to_owned(),
        Match::ToLoopback(false) => " ! -o lo".to_owned(),
        Match::Local => " -m addrtype --dst-type LOCAL".to_owned(),
        Match::Spoofed => " -m rpfilter --invert".to_owned(),
        Match::Source(network) | Match::Destination(network) if Family::of(network) != family => return None,
        Match::Source(network) => format!(" -s {}", network.trunc()),
        Match::Destination(network) => format!(" -d {}", network.trunc()),
        Match::Tcp => " -p tcp".to_owned(),
        Match::Udp => " -p udp".to_owned(),
        Match::Icmp => format!(" -p {icmp}"),
        Match::SourcePort(port) => format!(" --sport {port}"),
        Match::DestinationPort(port) => format!(" --dport {port}"),
        Match::NotFirst => " ! --syn".to_owned(),
        Match::Reply => " -m conntrack --ctstate ESTABLISHED --ctdir REPLY".to_owned(),
        Match::Related => " -m conntrack --ctstate RELATED".to_owned(),
        Match::Untracked => " -m conntrack --ctstate INVALID".to_owned(),
        Match::Published => " -m conntrack --ctstate DNAT".to_owned(),
        Match::Icmp6(number) => format!(" -p ipv6-icmp -m icmp6 --icmpv6-type {number}"),
        Match::HopLimit(limit) => format!(" -m hl --hl-eq {limit}"),
        Match::Rate { each_minute, burst } => {
            format!(" -m limit --limit {each_minute}/min --limit-burst {burst}")
        }
    })
}

fn verdict(verdict: &Verdict, family: Family) -> String {
    let prohibited = match family {
        Family::V4 => "icmp-admin-prohibited",
        Family::V6 => "icmp6-adm-prohibited",
    };
    match verdict {
        Verdict::Count => String::new(),
        Verdict::Return => " -j RETURN".to_owned(),
        Verdict::Remember => format!(" -j CONNMARK --or-mark {OWN_FLOW:#x}"),
        Verdict::Redirect(port) => format!(" -j REDIRECT --to-ports {port}"),
        Verdict::Take(port) => format!(" -j TPROXY --on-port {port} --tproxy-mark {TAKEN:#x}/{TAKEN:#x}"),
        Verdict::Log(prefix) => format!(" -j LOG --log-prefix \"{prefix}\""),
        Verdict::Reset => " -j REJECT --reject-with tcp-reset".to_owned(),
        Verdict::Prohibit => format!(" -j REJECT --reject-with {prohibited}"),
        Verdict::Drop => " -j DROP".to_owned(),
    }
}
