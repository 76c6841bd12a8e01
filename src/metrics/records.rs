//! What becomes of records.

use prometheus::IntCounter;

use crate::metrics::register::Register;

/// The counters of records; a copy counts the same.
#[derive(Clone, Debug)]
pub struct RecordCounters {
    lost: IntCounter,
    reopened: IntCounter,
    reopening_failed: IntCounter,
}

impl RecordCounters {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let lost = register.counter(
            "exeat_records_lost_total",
            "Audit records that could not be kept because the sink stalled.",
        )?;
        let (reopened, reopening_failed) = register.audit_reopens()?;
        Ok(Self { lost, reopened, reopening_failed })
    }

    /// The counter for records that could not be kept.
    pub fn lost(&self) -> &IntCounter {
        &self.lost
    }

    /// Counts an attempt to open the file anew.
    pub fn reopened(&self, success: bool) {
        if success { &self.reopened } else { &self.reopening_failed }.inc();
    }
}
