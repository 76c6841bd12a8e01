//! What is in force, as the rule set itself tells it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::lockdown::chains;
use crate::lockdown::found::{OWN, leads_into_own, rule_of};
use crate::lockdown::nft;
use crate::lockdown::plan::{Plan, Shape};
use crate::lockdown::rule::{COMMENT, Chain};

/// Of one family, or of one `nft` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    pub chains: Vec<ChainStatus>,
    /// What is not as the lockdown made it, in words.
    pub faults: Vec<String>,
}

/// One of exeat's chains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainStatus {
    /// `filter EXEAT-OUTPUT`.
    pub name: String,
    pub rules: Vec<RuleStatus>,
    /// How many rules the lockdown put there.
    pub expected: usize,
}

/// What a rule has counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleStatus {
    pub comment: String,
    pub packets: u64,
    pub bytes: u64,
}

/// How much of the lockdown is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    Full,
    Partial,
    None,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "locked",
            Self::Partial => "NOT WHOLLY LOCKED",
            Self::None => "not locked",
        })
    }
}

impl Status {
    pub fn extent(&self) -> Extent {
        match (self.chains.is_empty() && self.faults.is_empty(), self.faults.is_empty()) {
            (true, _) => Extent::None,
            (_, true) => Extent::Full,
            _ => Extent::Partial,
        }
    }

    /// The shape of the lockdown, as its rules tell it.
    pub fn shape(&self) -> Option<Shape> {
        let heads = self.chains.iter().filter_map(|chain| chain.rules.first());
        heads.filter_map(|head| Shape::of_summary(&head.comment)).next()
    }

    /// Reads the output of `iptables-save -c`.
    pub fn of_iptables(saved: &str) -> Self {
        let mut reading = Reading::default();
        let mut table = "";
        for line in saved.lines() {
            match line.strip_prefix('*') {
                Some(name) => table = name,
                None => reading.line(table, line),
            }
        }
        reading.finish()
    }

    /// Reads the output of `nft list table`.
    pub fn of_nft(listed: &str) -> Self {
        let (mut rules, mut entries) = (BTreeMap::<String, Vec<Found>>::new(), Vec::new());
        let mut status = Self::default();
        let mut chain = None;
        for line in listed.lines().map(str::trim) {
            if line == "}" || line.ends_with('{') {
                chain = line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {"));
                continue;
            }
            // What a base chain hooks into is no rule.
            let Some(chain) = chain.filter(|_| !line.is_empty() && !line.starts_with("type ")) else {
                continue;
            };
            if let Some(found) = Found::in_nft(line) {
                rules.entry(chain.to_owned()).or_default().push(found);
            } else if let Some(target) = entered(chain, line) {
                entries.push(target.to_owned());
            } else {
                status.stranger(chain);
            }
        }
        for (name, found) in rules {
            if !entries.contains(&name) {
                status.faults.push(format!("nothing leads into {name}"));
            }
            status.add(name, found);
        }
        status.miss(nft::name);
        status
    }

    /// Notes a rule in a chain of ours that the lockdown did not put there: it may let through what ours behind it refuse.
    fn stranger(&mut self, chain: &str) {
        let fault = format!("rules of others stand in {chain}");
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Notes the chains of the shape that are not there at all.
    fn miss(&mut self, name: impl Fn(&Chain) -> String) {
        let Some(shape) = self.shape() else { return };
        for wanted in chains::of(&Plan::new(shape)).iter().map(name) {
            if !self.chains.iter().any(|chain| chain.name == wanted) {
                self.faults.push(format!("{wanted} is not there"));
            }
        }
    }

    fn add(&mut self, name: String, found: Vec<Found>) {
        let expected = found.iter().map(|found| found.all).max().unwrap_or_default();
        let in_order = found.iter().enumerate().all(|(index, found)| found.number == index + 1);
        if found.len() != expected || !in_order {
            let there = found.len();
            self.faults.push(format!("{name} has {there} of its {expected} rules, or not in their order"));
        }
        let rules = found.into_iter().map(|found| found.rule).collect();
        self.chains.push(ChainStatus { name, rules, expected });
    }
}

/// What `iptables-save` said so far.
#[derive(Default)]
struct Reading {
    /// By table and name.
    chains: BTreeMap<(String, String), Vec<Found>>,
    /// Table and target of what leads into ours.
    entries: Vec<(String, String)>,
    /// Built-in chains in which another's rule stands before ours.
    behind: Vec<String>,
    /// Chains of ours in which another's rule stands.
    strange: Vec<String>,
    /// Built-in chains that have rules of others so far.
    others: Vec<(String, String)>,
}

impl Reading {
    fn line(&mut self, table: &str, line: &str) {
        let chain = line.strip_prefix(':').and_then(|rest| rest.split(' ').next());
        if let Some(name) = chain.filter(|name| name.starts_with(OWN)) {
            self.chains.entry((table.to_owned(), name.to_owned())).or_default();
        }
        let Some(rule) = rule_of(line) else { return };
        let chain = rule.split(' ').next().unwrap_or_default();
        let here = (table.to_owned(), chain.to_owned());
        if let Some(found) = self.chains.get_mut(&here) {
            match Found::in_iptables(line) {
                Some(rule) => found.push(rule),
                None => self.strange.push(format!("{table} {chain}")),
            }
        } else if leads_into_own(rule) {
            if self.others.contains(&here) {
                self.behind.push(format!("rules of others stand before ours in {table} {chain}"));
            }
            let target = rule.rsplit(' ').next().unwrap_or_default();
            self.entries.push((table.to_owned(), target.to_owned()));
        } else {
            self.others.push(here);
        }
    }

    fn finish(self) -> Status {
        let mut status = Status { faults: self.behind, ..Status::default() };
        // One fault for a chain, however many ways lead into ours behind it.
        status.faults.dedup();
        self.strange.iter().for_each(|chain| status.stranger(chain));
        for ((table, name), found) in self.chains {
            let shown = format!("{table} {name}");
            if !self.entries.contains(&(table, name)) {
                status.faults.push(format!("nothing leads into {shown}"));
            }
            status.add(shown, found);
        }
        status.miss(|chain| format!("{} {}", chain.table.name(), chain.name));
        status
    }
}

/// The chain that a rule of a base chain leads into, if it is the one that this is the way to.
fn entered<'l>(chain: &str, line: &'l str) -> Option<&'l str> {
    let (_, target) = line.split_once("jump ")?;
    (chain.strip_suffix(nft::BASE) == Some(target)).then_some(target)
}

/// A rule that says by its comment which it is.
struct Found {
    number: usize,
    all: usize,
    rule: RuleStatus,
}

impl Found {
    /// `[2:120] -A EXEAT-OUTPUT -m comment --comment "exeat 2/9: …" -j RETURN`
    fn in_iptables(line: &str) -> Option<Self> {
        let counters = line.strip_prefix('[')?.split_once(']')?.0;
        let (packets, bytes) = counters.split_once(':')?;
        Self::new(line, packets, bytes)
    }

    /// `meta l4proto tcp counter packets 2 bytes 120 return comment "exeat 2/9: …"`
    fn in_nft(line: &str) -> Option<Self> {
        let mut words = line.split_once("counter packets ")?.1.split(' ');
        let (packets, bytes) = (words.next()?, words.nth(1)?);
        Self::new(line, packets, bytes)
    }

    fn new(line: &str, packets: &str, bytes: &str) -> Option<Self> {
        let comment = line.split_once(&format!("\"{COMMENT} "))?.1.split('"').next()?;
        let (place, comment) = comment.split_once(": ")?;
        let (number, all) = place.split_once('/')?;
        let rule = RuleStatus {
            comment: comment.to_owned(),
            packets: packets.parse().ok()?,
            bytes: bytes.parse().ok()?,
        };
        Some(Self { number: number.parse().ok()?, all: all.parse().ok()?, rule })
    }
}
