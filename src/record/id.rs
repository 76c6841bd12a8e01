//! Names for flows.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The name of a flow: 16 hexadecimal digits, the same in its record, in `/flows` and in what the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(pub(crate) u64);

impl FlowId {
    /// The digits, without the machinery that a `fmt` of them takes.
    pub(super) fn digits(self) -> [u8; 16] {
        std::array::from_fn(|place| b"0123456789abcdef"[(self.0 >> (60 - 4 * place)) as usize & 0xf])
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.digits()))
    }
}

/// Gives out ids: consecutive numbers from a random start. Unique within a run; a run of n flows
/// meets the ids of another run, or another gate, with a chance of about n/2^63.
#[derive(Debug)]
pub struct Ids(AtomicU64);

impl Ids {
    pub fn new() -> Self {
        // `RandomState` is keyed by the operating system's randomness; the clock is there for the platform
        // that has none.
        Self(AtomicU64::new(RandomState::new().hash_one((SystemTime::now(), std::process::id()))))
    }

    pub fn next(&self) -> FlowId {
        FlowId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_16_hexadecimal_digits() {
        for (id, text) in [(0xab, "00000000000000ab"), (0xfedc_ba98_7654_3210, "fedcba9876543210")] {
            assert_eq!(
                (FlowId(id).to_string().as_str(), &FlowId(id).digits()),
                (text, text.as_bytes().try_into().unwrap())
            );
        }
    }

    #[test]
    fn every_run_starts_elsewhere() {
        let ids = Ids::new();
        assert_ne!(ids.next(), ids.next());
        assert_ne!(Ids::new().next(), Ids::new().next());
    }
}
