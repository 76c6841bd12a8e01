//! What a policy says that its author hardly meant: rules that do nothing, or less than they seem to.
//!
//! A policy may have a million rules, so each is compared only with those above it in the index.

use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;

use crate::mistake::{Mistake, Place};
use crate::policy::Policy;
use crate::policy::index::Span;
use crate::policy::pattern::Pattern;
use crate::policy::rules::{Kind, Row, Rule, Rules};
use crate::policy::terms::{Action, Protocol, Terms};

/// More warnings than anyone reads; the rest is counted.
const WARNINGS_MAX: usize = 1000;
/// Profiles for every client whose deny rules are compared with other profiles' allow rules. More than a few
/// of them are no layout of a policy that anyone keeps.
const BLANKETS_MAX: usize = 16;

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
    /// Profiles for every client that deny something.
    blankets: Vec<u32>,
    /// Whether there is any deny rule to be covered by.
    has_denies: bool,
    warnings: Vec<(u32, Mistake)>,
    uncounted: usize,
}

impl<'p> Lint<'p> {
    fn new(rules: &'p Rules) -> Self {
        let mut denying = vec![false; rules.profiles.len()];
        for row in &rules.rows {
            denying[row.profile as usize] |= rules.terms_of(row).action == Action::Deny;
        }
        let has_denies = denying.contains(&true);
        let blankets = (0..).zip(denying.iter().zip(&rules.profiles));
        let blankets = blankets.filter(|(_, (denies, profile))| **denies && profile.clients.is_none());
        let blankets = blankets.map(|(index, _)| index).take(BLANKETS_MAX).collect();
        Self { rules, blankets, has_denies, warnings: Vec::new(), uncounted: 0 }
    }

    fn expired(&mut self, row: &Row, today: Date) {
        let Some(last) = self.rules.terms_of(row).until.filter(|last| *last < today) else { return };
        self.warn(row, "ended", &format!("on {last}"), "remove it, or give it a later `until`");
    }

    fn allow(&mut self, row: &Row) {
        let is_narrowed = {
            let terms = self.rules.terms_of(row);
            !terms.methods.is_empty() || terms.paths.is_some()
        };
        if !self.has_denies && !is_narrowed {
            return;
        }
        let (mut denied_by, mut voided_by) = (None, None);
        self.each_above(row, |rules, above| {
            let (own, other) = (rules.terms_of(row), rules.terms_of(above));
            match other.action {
                Action::Deny if denied_by.is_none() && denies_all(other, own) => denied_by = Some(above),
                Action::Allow if is_narrowed && voided_by.is_none() && voids(other, own) => {
                    voided_by = Some(above);
                }
                _ => {}
            }
        });
        if let Some(above) = denied_by {
            let by = format!("by {}", Rule::new(self.rules, above));
            self.warn(row, "never allows anything: it is denied", &by, "remove one of the two");
        }
        if let Some(above) = voided_by {
            let by = format!("by {}", Rule::new(self.rules, above));
            let hint = "one rule that accepts is enough; narrow the wider one";
            self.warn(row, "limits nothing: other methods and paths are allowed", &by, hint);
        }
    }

    /// Visits the rules that match whatever the row matches, of its own profile and of those for everyone.
    fn each_above(&self, row: &Row, mut visit: impl FnMut(&'p Rules, &'p Row)) {
        let rules = self.rules;
        let mut candidates: Vec<&'p Row> = Vec::new();
        let mut gather = |span: Span| {
            let rows = &rules.rows[span.range()];
            for profile in self.blankets.iter().filter(|other| **other != row.profile).chain([&row.profile]) {
                let start = rows.partition_point(|other| other.profile < *profile);
                let own = rows[start..].iter().take_while(|other| other.profile == *profile);
                candidates.extend(own.filter(|other| !std::ptr::eq(*other, row)));
            }
        };
        match row.kind {
            Kind::Network => {
                let network = rules.networks.network(row.at);
                rules.networks.each(network.network(), &mut gather);
                candidates.retain(|above| rules.networks.network(above.at).contains(&network));
            }
            Kind::Name(_) => rules.names.each(rules.names.suffix_text(row.at), |span, _| gather(span)),
            Kind::Glob(_) => {
                let suffix = rules.names.suffix_text(rules.names.suffix_of(row.at));
                rules.names.each(suffix, |span, _| gather(span));
            }
        }
        // Most rules have no other above them, so the pattern is rebuilt only where one does.
        let interesting = |above: &&'p Row| self.may_matter(row, above);
        let mut own: Option<Option<Pattern>> = None;
        for above in candidates.into_iter().filter(interesting) {
            let covers = row.kind == Kind::Network || {
                let own = own.get_or_insert_with(|| pattern(rules, row));
                own.as_ref().zip(pattern(rules, above)).is_some_and(|(own, above)| above.covers(own))
            };
            if covers {
                visit(rules, above);
            }
        }
    }

    fn may_matter(&self, row: &Row, above: &Row) -> bool {
        let (own, other) = (self.rules.terms_of(row), self.rules.terms_of(above));
        match other.action {
            Action::Deny => denies_all(other, own),
            Action::Allow => voids(other, own),
        }
    }

    /// Equal rules stand side by side in the array: it is sorted by place and profile.
    fn duplicates(&mut self) {
        let rules = self.rules;
        let same_place = |a: &Row, b: &Row| {
            a.profile == b.profile
                && match (a.kind, b.kind) {
                    (Kind::Glob(_), Kind::Glob(_)) => {
                        rules.names.suffix_of(a.at) == rules.names.suffix_of(b.at)
                    }
                    (Kind::Glob(_), _) | (_, Kind::Glob(_)) => false,
                    (Kind::Network, other) | (other, Kind::Network) if other != Kind::Network => false,
                    _ => a.at == b.at,
                }
        };
        for group in rules.rows.chunk_by(same_place) {
            // A name may have a few rules, for its ports; thousands of equal ones are compared with the first.
            let mut kinds: Vec<&Row> = Vec::new();
            for row in group {
                match kinds.iter().find(|known| is_same(rules, known, row)) {
                    Some(first) => {
                        let first = Rule::new(rules, first);
                        let at = format!("{}:{}", first.source().display(), first.line());
                        self.warn(row, "is a duplicate", &format!("of {at}"), "remove one of the two");
                    }
                    None if kinds.len() < 64 => kinds.push(row),
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
        if self.uncounted > 0 {
            let file =
                warnings.last().map_or_else(|| Arc::from(Path::new("")), |last| Arc::clone(&last.place.file));
            let place = Place { file, line: 1, column: 1 };
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
    let is_whole = deny.methods.is_empty() && deny.paths.is_none();
    let protocol = match deny.protocol {
        None | Some(Protocol::Tcp) => true,
        own => own == allow.protocol,
    };
    let ports = allow
        .ports
        .ranges()
        .iter()
        .all(|&(first, last)| deny.ports.ranges().iter().any(|&(from, to)| from <= first && last <= to));
    outlasts && is_whole && protocol && ports
}

/// Whether an allow rule lets any request through on a port where another names methods or paths.
fn voids(wide: &Terms, narrow: &Terms) -> bool {
    let is_wide = wide.methods.is_empty() && wide.paths.is_none();
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
    let is_narrow = !narrow.methods.is_empty() || narrow.paths.is_some();
    is_wide && is_narrow && outlasts && shares_port
}

/// Whether two rules of one place and profile say the same, whatever their reasons are.
fn is_same(rules: &Rules, a: &Row, b: &Row) -> bool {
    let same_target = match (a.kind, b.kind) {
        (Kind::Glob(a_lead), Kind::Glob(b_lead)) => {
            a_lead == b_lead && rules.names.globs_text(a.at) == rules.names.globs_text(b.at)
        }
        (a, b) => a == b,
    };
    let (a, b) = (rules.terms_of(a), rules.terms_of(b));
    let paths = |terms: &Terms| terms.paths.as_ref().map(|paths| paths.patterns.clone());
    same_target
        && (std::ptr::eq(a, b)
            || (a.action == b.action
                && a.ports == b.ports
                && a.protocol == b.protocol
                && a.private == b.private
                && a.until == b.until
                && a.methods == b.methods
                && paths(a) == paths(b)
                && a.ech_outer == b.ech_outer))
}

#[cfg(test)]
mod tests;
