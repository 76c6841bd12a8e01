//! exeat: an egress gate. Programs reach the internet only by the domain names that a policy lists.
//!
//! The modules stand in layers and import downwards only; `docs/architecture.md` draws them and
//! `tests/architecture.rs` holds the code to the drawing.

// facts: plain values that know nothing of each other's use
pub mod client;
pub mod destination;
pub mod error;
pub mod host;
pub mod mistake;
pub mod reason;

// decision: pure functions from bytes and rules to verdicts
pub mod guard;
