//! How many bytes a flow has moved so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of one flow, counted while they move, so that an open flow can be watched.
#[derive(Debug, Default)]
pub struct Counters {
    /// From the client to the upstream.
    pub sent: AtomicU64,
    /// From the upstream to the client.
    pub received: AtomicU64,
}

impl Counters {
    pub fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
