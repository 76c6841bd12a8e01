//! What the ledger keeps of an open flow, shared by the flow and by those who look on.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};

use prometheus::IntCounter;
use tokio::time::Instant;

use crate::counters::Counters;
use crate::flow::stop::Switch;
use crate::ingress::Ingress;
use crate::lock::lock;
use crate::policy::RuleId;
use crate::record::{FlowId, Record};

/// An open flow.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: FlowId,
    pub(super) ingress: Ingress,
    pub(super) begun: Instant,
    /// How often flows had been judged anew when this one began.
    pub(super) epoch: u64,
    pub(super) counters: Counters,
    pub(super) switch: Switch,
    /// `None` once the flow has ended, while someone may still hold this entry.
    facts: Mutex<Option<Facts>>,
}

/// What is learnt of a flow.
#[derive(Debug)]
pub(super) struct Facts {
    /// In a box, which goes to the sink as it is when the flow ends.
    pub(super) record: Box<Record>,
    /// The rule that the record names, if a verdict named it.
    pub(super) rule: Option<RuleId>,
    /// The counter of the rule that decided.
    pub(super) hits: Option<IntCounter>,
    /// How much of the bytes is already in the metrics.
    pub(super) counted: (u64, u64),
    pub(super) permit: bool,
    pub(super) ends_with_connection: bool,
}

impl Open {
    pub(super) fn new(record: Box<Record>, epoch: u64) -> Self {
        let (id, ingress) = (record.flow, record.ingress);
        let facts = Facts {
            record,
            rule: None,
            hits: None,
            counted: (0, 0),
            permit: false,
            ends_with_connection: false,
        };
        Self {
            id,
            ingress,
            begun: Instant::now(),
            epoch,
            counters: Counters::default(),
            switch: Switch::default(),
            facts: Mutex::new(Some(facts)),
        }
    }

    /// Reads or changes what is known; `None` if the flow has ended.
    pub(super) fn facts<T>(&self, f: impl FnOnce(&mut Facts) -> T) -> Option<T> {
        self.lock().as_mut().map(f)
    }

    /// Takes what is known at the flow's end: only one can.
    pub(super) fn take(&self) -> Option<Facts> {
        self.lock().take()
    }

    /// The bytes that moved since this was last asked, sent and received.
    pub(super) fn uncounted(&self, facts: &mut Facts) -> (u64, u64) {
        let now =
            (self.counters.sent.load(Ordering::Relaxed), self.counters.received.load(Ordering::Relaxed));
        let before = std::mem::replace(&mut facts.counted, now);
        (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Facts>> {
        lock(&self.facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_flow_is_small() {
        // With its record, the reference counts of its Arc, its slot in the registry and the guard itself.
        let bytes = size_of::<Open>()
            + size_of::<Record>()
            + 2 * size_of::<usize>()
            + 16
            + size_of::<crate::flow::Flow>();
        assert!(bytes <= 600, "{bytes}");
    }
}
