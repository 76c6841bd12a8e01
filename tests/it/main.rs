//! The whole proxy, spoken to over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod answer;
mod bodies;
mod connect;
mod forward;
mod guard;
mod inside_http;
mod lifetime;
mod mutated;
mod pool;
mod programs;
mod report;
mod retry;
mod smoke;
mod support;
mod tls;
mod tunnel;
mod upgrade;
