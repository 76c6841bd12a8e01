//! The counters of a flow, for what does not keep it open.

use std::sync::Arc;

use crate::counters::Counters;
use crate::flow::open::Open;
use crate::flow::stop::Stopped;

/// A hold on the counters of a flow, which does not keep it open.
#[derive(Debug)]
pub struct Meter(pub(super) Arc<Open>);

impl Meter {
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Resolves when the flow has to end before its peers end it.
    pub fn stopped(&self) -> Stopped<'_> {
        Stopped(&self.0.switch)
    }
}
