//! What a load has seen, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What all the workers of a load have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How long each successful step took.
    pub(crate) steps: Vec<Duration>,
    pub(crate) bytes: u64,
    /// Steps that ended after the load, which the rate leaves out.
    pub(crate) late: usize,
    /// How often something else came of it, by what that was.
    others: BTreeMap<String, u64>,
}

/// Times are microseconds, each of one successful step.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) load: String,
    pub(crate) seconds: f64,
    pub(crate) steps: usize,
    /// Steps a second, of those that ended within these seconds.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    pub(crate) gb: f64,
    /// Gigabytes (10⁹) a second.
    pub(crate) gb_s: f64,
    pub(crate) others: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, what: &str) {
        match self.others.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.others.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn report(mut self, load: &str, took: Duration) -> Report {
        self.steps.sort_unstable();
        let at = |part: f64| {
            let index = (self.steps.len().saturating_sub(1) as f64 * part) as usize;
            self.steps.get(index).map_or(0.0, |step| step.as_secs_f64() * 1e6)
        };
        let (seconds, gb) = (took.as_secs_f64(), self.bytes as f64 / 1e9);
        Report {
            load: load.to_owned(),
            seconds,
            steps: self.steps.len(),
            rate: (self.steps.len() - self.late) as f64 / seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
            gb,
            gb_s: gb / seconds,
            others: self.others,
        }
    }
}

impl fmt::Display for Report {
    /// A line to read, and one for machines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, seconds, steps, rate, p50_us, p99_us, max_us, gb, gb_s, others } = self;
        write!(f, "{load}: {steps} in {seconds:.2} s, {rate:.0} a second")?;
        write!(f, "; p50 {p50_us:.0} us, p99 {p99_us:.0} us, max {max_us:.0} us")?;
        if *gb > 0.0 {
            write!(f, "; {gb:.3} GB, {gb_s:.3} GB/s")?;
        }
        for (what, count) in others {
            write!(f, "; {what}: {count}")?;
        }
        write!(f, "\n{}", serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
