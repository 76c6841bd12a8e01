//! What becomes of records.

use prometheus::IntCounter;

use crate::metrics::register::{Attempts, Register};

/// The counters of records; a copy counts the same.
#[derive(Clone, Debug)]
pub struct RecordCounters {
    lost: IntCounter,
    reopened: Attempts,
}

impl RecordCounters {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let lost = register.counter(
            "exeat_records_lost_total",
            "Audit records that could not be kept because the sink stalled.",
        )?;
        let reopened = register.attempts(
            "exeat_audit_reopens_total",
            "Attempts to open the audit file anew, by their result.",
        )?;
        Ok(Self { lost, reopened })
    }

    /// The counter for records that could not be kept.
    pub fn lost(&self) -> &IntCounter {
        &self.lost
    }

    /// Counts an attempt to open the file anew.
    pub fn reopened(&self, success: bool) {
        self.reopened.count(success);
    }
}
