//! What a record says of rules and errors, within bounds.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, RwLock};

use foldhash::fast::RandomState;
use prometheus::IntCounter;

use crate::error::Error;
use crate::guard::{self, Special};
use crate::lock;
use crate::metrics::RuleHits;
use crate::policy::{Rule, RuleId};
use crate::record::{Record, clip};

/// Longest text of an error in a record.
const ERROR_MAX: usize = 256;
/// Longest text of a rule in a record.
const RULE_MAX: usize = 512;
/// Most rules whose citations are kept. Those beyond are put into words for each flow.
const CITATIONS_MAX: usize = 10_000;

/// How flows name a rule that decided: in their records, and in the metrics.
#[derive(Clone, Debug)]
pub(super) struct Citation {
    pub(super) label: Arc<str>,
    pub(super) hits: Option<IntCounter>,
}

/// The citations of the rules of one policy, each made when it was first needed.
#[derive(Debug, Default)]
pub(super) struct Citations(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    revision: u64,
    /// The keys are the policy's own, so their hash needs no key.
    rules: HashMap<RuleId, Citation, RandomState>,
}

impl Citations {
    pub(super) fn cite(&self, rule: Rule<'_>, hits: &RuleHits) -> Citation {
        let id = rule.id();
        let found = lock::read(&self.0).rules.get(&id).cloned();
        found.unwrap_or_else(|| {
            let words = Words::new(rule);
            let hits = hits.counter(rule.profile(), words.pattern());
            let citation = Citation { label: words.label().into(), hits };
            lock::write(&self.0).keep(id, &citation);
            citation
        })
    }
}

impl Kept {
    /// Keeps a citation, and none of policies before.
    fn keep(&mut self, id: RuleId, citation: &Citation) {
        if id.revision() > self.revision {
            *self = Self { revision: id.revision(), ..Self::default() };
        }
        if id.revision() == self.revision && self.rules.len() < CITATIONS_MAX {
            self.rules.insert(id, citation.clone());
        }
    }
}

/// A rule in words, written once into one buffer: its label for people, then its pattern.
pub(super) struct Words {
    text: String,
    label: usize,
}

impl Words {
    pub(super) fn new(rule: Rule<'_>) -> Self {
        let mut text = String::with_capacity(128);
        // Writing to a String can't fail.
        let _ = write!(text, "{rule}");
        let label = text.len();
        let _ = write!(text, "{}", rule.pattern());
        Self { text, label }
    }

    pub(super) fn label(&self) -> &str {
        clip(&self.text[..self.label], RULE_MAX)
    }

    pub(super) fn pattern(&self) -> &str {
        &self.text[self.label..]
    }
}

/// Writes into a record how its flow failed.
pub(super) fn tell(record: &mut Record, error: Option<&Error>) {
    record.metadata = error.is_some_and(leads_to_metadata);
    record.error = error.and_then(words);
}

/// Whether the address that may not be dialled is one of cloud metadata.
fn leads_to_metadata(error: &Error) -> bool {
    matches!(error, Error::AddressProhibited { address, .. } if guard::special(*address) == Some(Special::Metadata))
}

/// What a record says of an error; nothing if the reason says it all.
fn words(error: &Error) -> Option<Box<str>> {
    if matches!(error, Error::Denied(_)) {
        return None;
    }
    Some(clip(&error.to_string(), ERROR_MAX).into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::Metrics;
    use crate::policy::Policy;
    use crate::policy::document::load_text;

    fn policy(rule: &str, revision: u64) -> Policy {
        let text = format!("version: 1\nprofiles:\n  - name: a\n    allow: [{rule}]\n");
        load_text(Path::new("p.yaml"), &text).unwrap().builder.finish(revision)
    }

    #[test]
    fn a_rule_is_put_into_words_once_and_those_of_older_policies_are_dropped() {
        let (metrics, citations) = (Metrics::new().unwrap(), Citations::default());
        let (old, new) = (policy("a.example", 1), policy("b.example", 2));
        let cite = |policy: &Policy| citations.cite(policy.rules().next().unwrap(), metrics.rules());
        let first = cite(&old);
        assert_eq!(&*first.label, "p.yaml:4 \"a.example\"");
        assert!(Arc::ptr_eq(&first.label, &cite(&old).label));
        assert_eq!(&*cite(&new).label, "p.yaml:4 \"b.example\"");
        // A flow that an old policy judges late is no reason to keep its citation.
        let late = cite(&old);
        assert_eq!(late.label, first.label);
        assert!(!Arc::ptr_eq(&late.label, &first.label));
        first.hits.unwrap().inc();
        assert_eq!(late.hits.unwrap().get(), 1, "both count for one rule");
        assert_eq!(citations.0.read().unwrap().rules.len(), 1);
    }
}
