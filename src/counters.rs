//! How many bytes a flow has moved so far.

use std::sync::atomic::AtomicU64;

/// The bytes of one flow, counted while they move, so that an open flow can be watched.
#[derive(Debug, Default)]
pub struct Counters {
    /// From the client to the upstream.
    pub sent: AtomicU64,
    /// From the upstream to the client.
    pub received: AtomicU64,
}
