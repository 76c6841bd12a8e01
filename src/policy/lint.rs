//! What a policy says that its author hardly meant: rules that do nothing, or less than they seem to.
//!
//! A policy may have a million rules, so each is compared only with those above it in the index.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;

use crate::mistake::{Mistake, Place};
use crate::policy::Policy;
use crate::policy::index::Span;
use crate::policy::pattern::{Lead, Pattern};
use crate::policy::rules::{Kind, Row, Rule, Rules};
use crate::policy::terms::{Action, Protocol, Terms};

/// More warnings than anyone reads; the rest is counted.
const WARNINGS_MAX: usize = 1000;
/// Profiles for every client whose deny rules are compared with other profiles' allow rules. More than a few
/// of them are no layout of a policy that anyone keeps.
const BLANKETS_MAX: usize = 16;
/// Rules of one profile under one suffix that another is compared with.
const COMPARED_MAX: usize = 256;

/// The warnings about a policy, in file order.
pub fn lint(policy: &Policy, today: Date) -> Vec<Mistake> {
    let mut lint = Lint::new(&policy.rules);
    for row in &policy.rules.rows {
        lint.expired(row, today);
        match policy.rules.terms_of(row).action {
            Action::Allow => lint.allow(row),
            Action::Deny => {}
        }
    }
    lint.duplicates();
    lint.finish()
}

struct Lint<'p> {
    rules: &'p Rules,
    /// Where in the array the deny rules are: the array is sorted by place, so those of a place are a range here.
    denies: Vec<u32>,
    /// Where the allow rules without methods and paths are.
    wide: Vec<u32>,
    /// Profiles for every client that deny something.
    blankets: Vec<u32>,
    warnings: Vec<(u32, Mistake)>,
    uncounted: usize,
}

impl<'p> Lint<'p> {
    fn new(rules: &'p Rules) -> Self {
        let (mut denies, mut wide) = (Vec::new(), Vec::new());
        for (index, row) in (0..).zip(&rules.rows) {
            let terms = rules.terms_of(row);
            match terms.action {
                Action::Deny => denies.push(index),
                Action::Allow if !is_narrowed(terms) => wide.push(index),
                Action::Allow => {}
            }
        }
        let mut denying = vec![false; rules.profiles.len()];
        denies.iter().for_each(|&index| denying[rules.rows[index as usize].profile as usize] = true);
        let blankets = (0..).zip(denying.iter().zip(&rules.profiles));
        let blankets = blankets.filter(|(_, (denies, profile))| **denies && profile.clients.is_none());
        let blankets = blankets.map(|(index, _)| index).take(BLANKETS_MAX).collect();
        Self { rules, denies, wide, blankets, warnings: Vec::new(), uncounted: 0 }
    }

    fn expired(&mut self, row: &Row, today: Date) {
        let Some(last) = self.rules.terms_of(row).until.filter(|last| *last < today) else { return };
        self.warn(row, "ended", &format!("on {last}"), "remove it, or give it a later `until`");
    }

    fn allow(&mut self, row: &Row) {
        let terms = self.rules.terms_of(row);
        let denied_by = self.above(row, &self.denies, |other| denies_all(other, terms));
        if let Some(above) = denied_by {
            let by = format!("by {}", Rule::new(self.rules, above));
            self.warn(row, "never allows anything: it is denied", &by, "remove one of the two");
        }
        if !is_narrowed(terms) {
            return;
        }
        if let Some(above) = self.above(row, &self.wide, |other| voids(other, terms)) {
            let by = format!("by {}", Rule::new(self.rules, above));
            let hint = "one rule that accepts is enough; narrow the wider one";
            self.warn(row, "limits nothing: other methods and paths are allowed", &by, hint);
        }
    }

    /// One of the rules `among` that match whatever the row matches and have such terms: of the row's own
    /// profile, or of one for everyone.
    fn above(&self, row: &Row, among: &[u32], has_terms: impl Fn(&Terms) -> bool) -> Option<&'p Row> {
        if among.is_empty() {
            return None;
        }
        let rules = self.rules;
        let mut candidates: Vec<&'p Row> = Vec::new();
        let mut gather = |span: Span| {
            let before = |bound: usize| among.partition_point(|&index| (index as usize) < bound);
            let here = &among[before(span.range().start)..before(span.range().end)];
            let others = self.blankets.iter().filter(|other| **other != row.profile);
            for profile in others.chain([&row.profile]) {
                let start = here.partition_point(|&index| rules.rows[index as usize].profile < *profile);
                let own = here[start..].iter().map(|&index| &rules.rows[index as usize]);
                let own = own.take_while(|other| other.profile == *profile).take(COMPARED_MAX);
                candidates.extend(own.filter(|other| has_terms(rules.terms_of(other))));
            }
        };
        match row.kind {
            Kind::Network => rules.networks.each(rules.networks.network(row.at).network(), gather),
            Kind::Name(_) => rules.names.each(rules.names.suffix_text(row.at), |span, _| gather(span)),
            Kind::Glob(_) => {
                let suffix = rules.names.suffix_text(rules.names.suffix_of(row.at));
                rules.names.each(suffix, |span, _| gather(span));
            }
        }
        // Rows keep only the parts of their patterns, so the row's own is read anew, and only where it is needed.
        let own = if candidates.is_empty() { None } else { pattern(rules, row) };
        candidates.into_iter().find(|above| match (row.kind, &own) {
            (Kind::Network, _) => rules.networks.network(above.at).contains(&rules.networks.network(row.at)),
            (_, Some(own)) => pattern(rules, above).is_some_and(|above| above.covers(own)),
            (_, None) => false,
        })
    }

    /// Equal rules stand side by side in the array: it is sorted by place and profile.
    fn duplicates(&mut self) {
        let rules = self.rules;
        let place = |row: &Row| match row.kind {
            Kind::Name(_) => (false, row.at),
            Kind::Glob(_) => (false, rules.names.suffix_of(row.at)),
            Kind::Network => (true, row.at),
        };
        let same_place = |a: &Row, b: &Row| a.profile == b.profile && place(a) == place(b);
        for group in rules.rows.chunk_by(same_place).filter(|group| group.len() > 1) {
            let mut known: HashMap<(Lead, &str), Vec<&Row>> = HashMap::new();
            for row in group {
                let globs = match row.kind {
                    Kind::Glob(lead) => (lead, rules.names.globs_text(row.at)),
                    Kind::Name(lead) => (lead, ""),
                    Kind::Network => (Lead::This, ""),
                };
                let same_target = known.entry(globs).or_default();
                match same_target.iter().find(|first| is_same(rules.terms_of(first), rules.terms_of(row))) {
                    Some(first) => {
                        let first = Rule::new(rules, first);
                        let of = format!("of {}:{}", first.source().display(), first.line());
                        self.warn(row, "is a duplicate", &of, "remove one of the two");
                    }
                    None if same_target.len() < COMPARED_MAX => same_target.push(row),
                    None => {}
                }
            }
        }
    }

    fn warn(&mut self, row: &Row, what: &str, more: &str, hint: &str) {
        if self.warnings.len() == WARNINGS_MAX {
            self.uncounted += 1;
            return;
        }
        let rule = Rule::new(self.rules, row);
        let place = Place { file: Arc::from(rule.source()), line: rule.line(), column: 1 };
        let what = format!("the rule \"{}\" {what} {more}", rule.pattern());
        self.warnings.push((row.order, Mistake::warning(place, what).hint(hint)));
    }

    fn finish(mut self) -> Vec<Mistake> {
        self.warnings.sort_by_key(|(order, _)| *order);
        let mut warnings: Vec<Mistake> = self.warnings.into_iter().map(|(_, mistake)| mistake).collect();
        if let (1.., Some(last)) = (self.uncounted, warnings.last()) {
            let place = Place::start(&last.place.file);
            warnings.push(Mistake::warning(place, format!("{} more warnings", self.uncounted)));
        }
        warnings
    }
}

/// The pattern of a row, read anew: rows keep only its parts.
fn pattern(rules: &Rules, row: &Row) -> Option<Pattern> {
    Pattern::parse(&Rule::new(rules, row).pattern().to_string()).ok()
}

/// Whether a deny rule takes in all that an allow rule on the same names would let through.
fn denies_all(deny: &Terms, allow: &Terms) -> bool {
    let outlasts = deny.until.is_none_or(|last| allow.until.is_some_and(|until| until <= last));
    let protocol = match deny.protocol {
        None | Some(Protocol::Tcp) => true,
        own => own == allow.protocol,
    };
    let ports = allow
        .ports
        .ranges()
        .iter()
        .all(|&(first, last)| deny.ports.ranges().iter().any(|&(from, to)| from <= first && last <= to));
    !is_narrowed(deny) && outlasts && protocol && ports
}

/// Whether an allow rule lets any request through on a port where another names methods or paths.
fn voids(wide: &Terms, narrow: &Terms) -> bool {
    let outlasts = wide.until.is_none_or(|last| narrow.until.is_some_and(|until| until <= last));
    let takes_http = |first: u16, last: u16| match wide.protocol {
        Some(Protocol::Http | Protocol::Tcp) => true,
        Some(Protocol::Tls) => false,
        // By default 443 is for TLS alone.
        None => (first, last) != (443, 443),
    };
    let shares_port = narrow.ports.ranges().iter().any(|&(first, last)| {
        wide.ports.ranges().iter().any(|&(from, to)| {
            let (first, last) = (first.max(from), last.min(to));
            first <= last && takes_http(first, last)
        })
    });
    outlasts && shares_port
}

/// Whether two rules on the same names say the same, whatever their reasons are.
fn is_same(a: &Terms, b: &Terms) -> bool {
    let paths = |terms: &Terms| terms.paths.as_ref().map(|paths| paths.patterns.clone());
    std::ptr::eq(a, b)
        || (a.action == b.action
            && a.ports == b.ports
            && a.protocol == b.protocol
            && a.private == b.private
            && a.until == b.until
            && a.methods == b.methods
            && paths(a) == paths(b)
            && a.ech_outer == b.ech_outer)
}

/// Whether a rule is about some requests alone.
fn is_narrowed(terms: &Terms) -> bool {
    !terms.methods.is_empty() || terms.paths.is_some()
}

#[cfg(test)]
mod tests;
