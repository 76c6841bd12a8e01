//! ClientHellos of real clients in every cut and dress, with rustls as the other opinion on the same bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod acceptor;
mod crafted;
mod disagreement;
mod recorded;
mod retry;
mod wire;
