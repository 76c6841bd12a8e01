//! What the tables of one family hold of exeat's, and the text that takes them from there to somewhere else.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::lockdown::rule::Table;

/// The names of exeat's own chains begin so; nothing else in a rule set is ever touched.
pub(super) const OWN: &str = "EXEAT-";

/// The chains of exeat in each table, and the ways into them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(pub(super) BTreeMap<Table, Held>);

/// Of one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    /// Rules of built-in chains that lead into ours, as `iptables-save` writes them, without the `-A`.
    pub(super) entries: Vec<String>,
    /// Our chains, each with its rules in the same form.
    pub(super) chains: Vec<(String, Vec<String>)>,
}

impl State {
    /// Reads what `iptables-save` says, with or without counters.
    pub fn parse(saved: &str) -> Self {
        let mut state = Self::default();
        let mut table = None;
        for line in saved.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table::parse(name);
            }
            if let Some(table) = table {
                state.read(table, line);
            }
        }
        state
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is anything of exeat's in a table.
    pub fn holds(&self, table: Table) -> bool {
        self.0.contains_key(&table)
    }

    fn read(&mut self, table: Table, line: &str) {
        if let Some(name) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
            if name.starts_with(OWN) {
                self.0.entry(table).or_default().chains.push((name.to_owned(), Vec::new()));
            }
            return;
        }
        let Some(rule) = rule_of(line) else { return };
        let chain = rule.split(' ').next().unwrap_or_default();
        if chain.starts_with(OWN) {
            let held = self.0.entry(table).or_default();
            if let Some((_, rules)) = held.chains.iter_mut().find(|(name, _)| name == chain) {
                rules.push(rule.to_owned());
            }
        } else if leads_into_own(rule) {
            self.0.entry(table).or_default().entries.push(rule.to_owned());
        }
    }

    /// The text for `iptables-restore --noflush` that makes these tables hold what `wanted` says, whatever
    /// they hold of exeat's now. Each table changes at once or not at all.
    pub fn change(&self, wanted: &Self) -> String {
        let (nothing, mut text) = (Held::default(), String::new());
        for table in Table::ALL {
            let (from, to) = (self.0.get(&table), wanted.0.get(&table));
            if from.is_none() && to.is_none() {
                continue;
            }
            // Writing to a String can't fail.
            let _ = writeln!(text, "*{}", table.name());
            from.unwrap_or(&nothing).change(to.unwrap_or(&nothing), &mut text);
            text += "COMMIT\n";
        }
        text
    }
}

impl Held {
    fn change(&self, wanted: &Self, text: &mut String) {
        // Naming a chain makes it, or empties it.
        let mut named: Vec<&str> = Vec::new();
        for (name, _) in self.chains.iter().chain(&wanted.chains) {
            if !named.contains(&name.as_str()) {
                named.push(name);
                *text += &format!(":{name} - [0:0]\n");
            }
        }
        for entry in &self.entries {
            *text += &format!("-D {entry}\n");
        }
        for rule in wanted.chains.iter().flat_map(|(_, rules)| rules) {
            *text += &format!("-A {rule}\n");
        }
        for entry in wanted.entries.iter().rev() {
            let (chain, rest) = entry.split_once(' ').unwrap_or((entry, ""));
            *text += &format!("-I {chain} 1 {rest}\n");
        }
        for (name, _) in &self.chains {
            if !wanted.chains.iter().any(|(kept, _)| kept == name) {
                *text += &format!("-X {name}\n");
            }
        }
    }
}

/// The rule of a line `-A …` or `[packets:bytes] -A …`, without the `-A`.
pub(super) fn rule_of(line: &str) -> Option<&str> {
    let line = match line.strip_prefix('[') {
        Some(counted) => counted.split_once("] ")?.1,
        None => line,
    };
    line.strip_prefix("-A ")
}

/// Whether a rule jumps to a chain of ours. The words of a comment can't be taken for a jump: quotes
/// end at the end of a comment, and the jump comes after it.
pub(super) fn leads_into_own(rule: &str) -> bool {
    let mut words = rule.rsplit('"').next().unwrap_or_default().split(' ');
    words.any(|word| word == "-j" || word == "-g")
        && words.next().is_some_and(|target| target.starts_with(OWN))
}
