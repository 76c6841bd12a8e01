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
        add(&self.sent, bytes);
    }

    pub fn add_received(&self, bytes: usize) {
        add(&self.received, bytes);
    }
}

/// Adds to one of the two. One task at a time moves the bytes of a direction, however many look on: it is done for each
/// piece of them, and nobody has to be held off meanwhile.
pub fn add(counter: &AtomicU64, bytes: usize) {
    counter.store(counter.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}
