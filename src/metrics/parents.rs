//! How parent proxies fare.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::register::Register;

/// The counters of all parents.
#[derive(Debug)]
pub struct ParentCounters {
    connections: IntCounterVec,
    up: IntGaugeVec,
}

/// Those of one URL of a parent.
#[derive(Clone, Debug)]
pub struct MemberCounters {
    opened: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
    up: IntGauge,
}

impl ParentCounters {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        let (connections, up) = register.parents()?;
        Ok(Self { connections, up })
    }

    /// The counters of a URL, at 0; it is held to be up until it fails.
    pub fn member(&self, parent: &str, url: &str) -> MemberCounters {
        let count = |result| self.connections.with_label_values(&[parent, url, result]);
        let counters = MemberCounters {
            opened: count("opened"),
            refused: count("refused"),
            failed: count("failed"),
            up: self.up.with_label_values(&[parent, url]),
        };
        counters.up(true);
        counters
    }
}

impl MemberCounters {
    /// A connection stands for a flow.
    pub fn opened(&self) {
        self.opened.inc();
    }

    /// It would open no tunnel to the destination, or not for us.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// There is no connection, or it could not do what was asked.
    pub fn failed(&self) {
        self.failed.inc();
    }

    pub fn up(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }
}
