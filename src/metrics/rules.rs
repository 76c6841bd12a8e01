//! How often each rule decided, within a bound on the number of series.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::RwLock;

use foldhash::fast::RandomState;
use prometheus::{IntCounter, IntCounterVec};

use crate::lock;
use crate::policy::Policy;

/// Most series that name a rule: a policy may have a million rules, a Prometheus server must not.
pub const SERIES_MAX: usize = 10_000;
/// Most profiles with a series for their rules beyond that bound.
const PROFILES_MAX: usize = 1_000;
/// The label of what is counted together.
const REST: &str = "";

/// Counts decisions by rule. Series exist for rules that were hit.
#[derive(Debug)]
pub struct RuleHits {
    family: IntCounterVec,
    series: RwLock<Series>,
}

/// By pattern. The keys are the policy's own, so their hash needs no key.
type Counters = HashMap<Box<str>, IntCounter, RandomState>;

/// The counters there are, by profile and then by pattern, where [`REST`] stands for all other patterns.
#[derive(Debug, Default)]
struct Series {
    profiles: HashMap<Box<str>, Counters, RandomState>,
    rules: usize,
    rests: usize,
}

impl RuleHits {
    pub(super) fn new(family: IntCounterVec) -> Self {
        Self { family, series: RwLock::default() }
    }

    /// The counter of a rule. Who holds it may go on counting when the rule is gone from the policy,
    /// but that no longer shows.
    pub fn counter(&self, profile: &str, rule: &str) -> Option<IntCounter> {
        let found = lock::read(&self.series).find(profile, rule);
        found.or_else(|| {
            let mut series = lock::write(&self.series);
            series.find(profile, rule).or_else(|| series.make(&self.family, profile, rule))
        })
    }

    /// Drops the series of rules that the policy no longer has. A walk over every rule: not for an I/O thread.
    pub fn keep(&self, policy: &Policy) {
        let mut gone = self.names();
        let mut text = String::new();
        for rule in policy.rules() {
            if let Some(patterns) = gone.get_mut(rule.profile()) {
                text.clear();
                // Writing to a String can't fail.
                let _ = write!(text, "{}", rule.pattern());
                patterns.remove(text.as_str());
                patterns.remove(REST);
            }
        }
        let mut series = lock::write(&self.series);
        for (profile, patterns) in gone {
            for rule in patterns {
                series.drop_one(&self.family, &profile, &rule);
            }
        }
    }

    fn names(&self) -> HashMap<Box<str>, HashSet<Box<str>>> {
        let series = lock::read(&self.series);
        let patterns = |counters: &Counters| counters.keys().cloned().collect();
        series.profiles.iter().map(|(profile, counters)| (profile.clone(), patterns(counters))).collect()
    }
}

impl Series {
    fn find(&self, profile: &str, rule: &str) -> Option<IntCounter> {
        let counters = self.profiles.get(profile)?;
        if let Some(counter) = counters.get(rule) {
            return Some(counter.clone());
        }
        if self.rules < SERIES_MAX { None } else { counters.get(REST).cloned() }
    }

    /// Makes the series of a rule; beyond the bounds that of its profile, or of nothing in particular.
    fn make(&mut self, family: &IntCounterVec, profile: &str, rule: &str) -> Option<IntCounter> {
        let (profile, rule) = if self.rules < SERIES_MAX {
            (profile, rule)
        } else if self.rests < PROFILES_MAX {
            (profile, REST)
        } else {
            (REST, REST)
        };
        let counter = family.get_metric_with_label_values(&[profile, rule]).ok()?;
        let counters = self.profiles.entry(profile.into()).or_default();
        if counters.insert(rule.into(), counter.clone()).is_none() {
            *if rule == REST { &mut self.rests } else { &mut self.rules } += 1;
        }
        Some(counter)
    }

    fn drop_one(&mut self, family: &IntCounterVec, profile: &str, rule: &str) {
        let Some(counters) = self.profiles.get_mut(profile) else { return };
        if counters.remove(rule).is_none() {
            return;
        }
        if counters.is_empty() {
            self.profiles.remove(profile);
        }
        *if rule == REST { &mut self.rests } else { &mut self.rules } -= 1;
        // It fails only for a series that does not exist.
        let _ = family.remove_label_values(&[profile, rule]);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;
    use prometheus::core::Collector;

    use super::*;

    fn hits() -> RuleHits {
        RuleHits::new(IntCounterVec::new(Opts::new("hits", "hits"), &["profile", "rule"]).unwrap())
    }

    fn series(hits: &RuleHits) -> Vec<(String, String, f64)> {
        let families = hits.family.collect();
        let labels = |metric: &prometheus::proto::Metric| -> Vec<String> {
            metric.get_label().iter().map(|label| label.value().to_owned()).collect()
        };
        let metrics = families.iter().flat_map(|family| family.get_metric());
        metrics
            .map(|metric| {
                (labels(metric)[0].clone(), labels(metric)[1].clone(), metric.get_counter().get_value())
            })
            .collect()
    }

    #[test]
    fn beyond_the_bound_profiles_and_then_all_together_are_counted() {
        let hits = hits();
        for number in 0..SERIES_MAX {
            hits.counter("a", &format!("{number}.example")).unwrap().inc();
        }
        hits.counter("a", "0.example").unwrap().inc();
        for number in 0..PROFILES_MAX + 5 {
            hits.counter(&format!("p{number}"), "late.example").unwrap().inc();
        }
        let series = series(&hits);
        assert_eq!(series.len(), SERIES_MAX + PROFILES_MAX + 1);
        assert!(series.contains(&("a".into(), "0.example".into(), 2.0)));
        assert!(series.contains(&("p0".into(), String::new(), 1.0)));
        assert!(series.contains(&(String::new(), String::new(), 5.0)));
    }
}
