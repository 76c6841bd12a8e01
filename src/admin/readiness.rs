//! Whether exeat can take flows.

use std::sync::atomic::{AtomicBool, Ordering};

/// What has to be true before flows are sent here. Starts as not ready.
#[derive(Debug, Default)]
pub struct Readiness {
    listening: AtomicBool,
    policy: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// Every listener is bound.
    pub fn listening(&self) {
        self.listening.store(true, Ordering::Relaxed);
    }

    /// A policy is in force.
    pub fn policy_loaded(&self) {
        self.policy.store(true, Ordering::Relaxed);
    }

    /// exeat is stopping; this is for good.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why exeat is not ready; empty if it is.
    pub fn missing(&self) -> Vec<&'static str> {
        [
            (!self.listening.load(Ordering::Relaxed), "the listeners are not bound"),
            (!self.policy.load(Ordering::Relaxed), "no policy is loaded"),
            (self.draining.load(Ordering::Relaxed), "exeat is draining"),
        ]
        .into_iter()
        .filter_map(|(holds, why)| holds.then_some(why))
        .collect()
    }
}
