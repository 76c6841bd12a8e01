//! The whole proxy, spoken to over real sockets.

#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]

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
