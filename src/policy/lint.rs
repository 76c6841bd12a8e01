//! What a policy says that its author hardly meant: rules that do nothing, or less than they seem to.
//!
//! A policy may have a million rules, so each is compared only with those above it in the index.

mod compare;
mod opened;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;

use crate::mistake::{Mistake, Place};
use crate::policy::Policy;
use crate::policy::index::Span;
use crate::policy::lint::compare::{Voided, denies_all, is_same};
use crate::policy::lint::opened::{Shut, opens_within, shut_to_names};
use crate::policy::pattern::{Lead, Pattern};
use crate::policy::rules::{Kind, Row, Rule, Rules};
use crate::policy::terms::{Action, Terms, Way};

/// More warnings than anyone reads; the rest is counted.
const WARNINGS_MAX: usize = 1000;
/// Profiles for every client whose rules are compared with other profiles' allow rules. More than a few
/// of them are no layout of a policy that anyone keeps.
const BLANKETS_MAX: usize = 16;
/// Rules of one profile under one suffix that another is compared with.
const COMPARED_MAX: usize = 256;

/// The warnings about a policy, in file order; `columns` says where in their lines its rules start.
pub fn lint(policy: &Policy, columns: &[u32], today: Date) -> Vec<Mistake> {
    let mut lint = Lint::new(&policy.rules, columns);
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
    columns: &'p [u32],
    denies: Among,
    /// The allow rules without methods and paths.
    wide: Among,
    warnings: Vec<(u32, Mistake)>,
    uncounted: usize,
}

/// Some of the rules, to be compared with others.
struct Among {
    /// Where in the array they are: the array is sorted by place, so those of a place are a range here.
    rows: Vec<u32>,
    /// Profiles for every client that have some of them.
    blankets: Vec<u32>,
}

impl Among {
    fn new(rules: &Rules, belongs: impl Fn(&Terms) -> bool) -> Self {
        let rows = (0..).zip(&rules.rows).filter(|(_, row)| belongs(rules.terms_of(row)));
        let rows: Vec<u32> = rows.map(|(index, _)| index).collect();
        let mut has_some = vec![false; rules.profiles.len()];
        rows.iter().for_each(|&index| has_some[rules.rows[index as usize].profile as usize] = true);
        let blankets = (0..).zip(has_some.iter().zip(&rules.profiles));
        let blankets = blankets.filter(|(_, (has_some, profile))| **has_some && profile.clients.is_none());
        let blankets = blankets.map(|(index, _)| index).take(BLANKETS_MAX).collect();
        Self { rows, blankets }
    }
}

impl<'p> Lint<'p> {
    fn new(rules: &'p Rules, columns: &'p [u32]) -> Self {
        let denies = Among::new(rules, |terms| terms.action == Action::Deny);
        let wide = Among::new(rules, |terms| terms.action == Action::Allow && !terms.is_narrowed());
        Self { rules, columns, denies, wide, warnings: Vec::new(), uncounted: 0 }
    }

    fn expired(&mut self, row: &Row, today: Date) {
        let Some(last) = self.rules.terms_of(row).until.filter(|last| *last < today) else { return };
        self.warn(row, "ended", &format!("on {last}"), "remove it, or give it a later `until`");
    }

    fn allow(&mut self, row: &Row) {
        let terms = self.rules.terms_of(row);
        let denied_by = self.above(row, &self.denies, |other| denies_all(self.rules.terms_of(other), terms));
        if let Some(above) = denied_by {
            let by = format!("by {}", Rule::new(self.rules, above));
            self.warn(row, "never allows anything: it is denied", &by, "remove one of the two");
        }
        if let Some(shut) = self.rules.network_of(row).and_then(Shut::of) {
            self.warn(row, "never allows anything:", &shut.to_string(), shut.hint());
        }
        if let Some(address) = shut_to_names(&terms.private) {
            let what = "leads nowhere by its `private` network";
            let hint = "only a `cidr` rule for the one address opens it, and only for clients on this host";
            self.warn(row, what, &format!("{address}: it is a cloud metadata address"), hint);
        }
        if terms.is_narrowed() {
            self.narrowed(row);
        }
    }

    /// What names methods or paths in vain, be it for some of its ports and addresses alone.
    fn narrowed(&mut self, row: &Row) {
        let voided = |other: &Row| self.voided(other, row);
        let all = self.above(row, &self.wide, |other| voided(other).is_some_and(|voided| voided.is_all()));
        let wide = all.or_else(|| self.above(row, &self.wide, |other| voided(other).is_some()));
        let Some((wide, voided)) = wide.and_then(|wide| Some((wide, voided(wide)?))) else { return };
        let what = format!("limits nothing{voided}: other methods and paths are allowed");
        let by = format!("by {}", Rule::new(self.rules, wide));
        self.warn(row, &what, &by, "one rule that accepts is enough; narrow the wider one");
    }

    fn voided(&self, wide: &Row, narrow: &Row) -> Option<Voided> {
        let rules = self.rules;
        let opens = match (rules.network_of(wide), rules.network_of(narrow)) {
            (Some(wide), Some(narrow)) => opens_within(wide, narrow),
            _ => true,
        };
        Voided::by(rules.terms_of(wide), rules.terms_of(narrow)).filter(|_| opens)
    }

    /// One of the rules `among` that match whatever the row matches and are such: of the row's own profile, or of
    /// one for everyone.
    fn above(&self, row: &Row, among: &Among, is_such: impl Fn(&Row) -> bool) -> Option<&'p Row> {
        let Among { rows, blankets } = among;
        if rows.is_empty() {
            return None;
        }
        let rules = self.rules;
        let mut candidates: Vec<&'p Row> = Vec::new();
        let mut gather = |span: Span| {
            let before = |bound: usize| rows.partition_point(|&index| (index as usize) < bound);
            let here = &rows[before(span.range().start)..before(span.range().end)];
            let others = blankets.iter().filter(|other| **other != row.profile);
            for profile in others.chain([&row.profile]) {
                let start = here.partition_point(|&index| rules.rows[index as usize].profile < *profile);
                let own = here[start..].iter().map(|&index| &rules.rows[index as usize]);
                let own = own.take_while(|other| other.profile == *profile).take(COMPARED_MAX);
                candidates.extend(own.filter(|other| is_such(other)));
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
                let profile = rules.profile_of(row);
                let is_first = |first: &&&Row| is_same(rules.terms_of(first), rules.terms_of(row), profile);
                match same_target.iter().find(is_first) {
                    Some(first) => self.duplicate(first, row),
                    None if same_target.len() < COMPARED_MAX => same_target.push(row),
                    None => {}
                }
            }
        }
    }

    /// Of rules that say the same it is the first that decides.
    fn duplicate(&mut self, first: &Row, row: &Row) {
        let way = |row| self.rules.way_of(row).and_then(Way::parent);
        let goes_alike = way(first) == way(row);
        let first = Rule::new(self.rules, first);
        let of = format!("of {}:{}", first.source().display(), first.line());
        match goes_alike {
            true => self.warn(row, "is a duplicate", &of, "remove one of the two"),
            false => {
                let what = "is, but for its parent, a duplicate";
                self.warn(row, what, &of, "the first decides: remove the one that is not meant");
            }
        }
    }

    fn warn(&mut self, row: &Row, what: &str, more: &str, hint: &str) {
        if self.warnings.len() == WARNINGS_MAX {
            self.uncounted += 1;
            return;
        }
        let rule = Rule::new(self.rules, row);
        let column = self.columns.get(row.order as usize).copied().unwrap_or(1);
        let place = Place { file: Arc::from(rule.source()), line: rule.line(), column };
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

#[cfg(test)]
mod tests;
