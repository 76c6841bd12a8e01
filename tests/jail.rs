//! `exeat run` with real programs, as root and as a user without any power: what they reach, what they don't, and what
//! is left of them.
//!
//! Each test runs itself again in a network namespace, where the servers have public addresses. Without leave to make
//! one it says so, and CI requires it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "the namespace is shared with the tests of the doors")]

#[path = "jail/ask.rs"]
mod ask;
#[path = "jail/automounts.rs"]
mod automounts;
#[path = "jail/escape.rs"]
mod escape;
#[path = "jail/held.rs"]
mod held;
#[path = "jail/life.rs"]
mod life;
#[path = "doors/namespace.rs"]
mod namespace;
#[path = "jail/parents.rs"]
mod parents;
#[path = "jail/programs.rs"]
mod programs;
#[path = "jail/report.rs"]
mod report;
#[path = "jail/servers.rs"]
mod servers;
#[path = "jail/streams.rs"]
mod streams;
#[path = "jail/weaker.rs"]
mod weaker;
#[path = "jail/world.rs"]
mod world;
