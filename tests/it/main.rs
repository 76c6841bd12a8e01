//! The whole proxy, spoken to over real sockets.

#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]

mod guard;
mod report;
mod retry;
mod smoke;
mod support;
mod tls;
mod tunnel;
