//! The whole proxy, spoken to over real sockets.

#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics when something is not as expected"
)]

mod drain;
mod every_flow;
mod guard;
mod limits;
mod reasons;
mod reload;
mod report;
mod retry;
mod smoke;
mod support;
mod tls;
mod tunnel;
