//! How often something was seen, and when last.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::plural::plural;

/// Flows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) flows: u64,
    last: Option<Timestamp>,
}

impl Count {
    pub(super) fn add(&mut self, time: Timestamp) {
        self.merge(Self { flows: 1, last: Some(time) });
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.flows += other.flows;
        self.last = self.last.max(other.last);
    }

    pub(super) fn is_zero(self) -> bool {
        self.flows == 0
    }
}

impl FromIterator<Count> for Count {
    fn from_iter<I: IntoIterator<Item = Count>>(counts: I) -> Self {
        let mut sum = Self::default();
        counts.into_iter().for_each(|count| sum.merge(count));
        sum
    }
}

/// `12 flows, last 2026-11-22`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plural(self.flows, "flow"))?;
        match self.last {
            Some(last) => write!(f, ", last {}", last.to_zoned(TimeZone::UTC).date()),
            None => Ok(()),
        }
    }
}
