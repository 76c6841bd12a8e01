//! The whole proxy, spoken to over real sockets.

#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]

mod programs;
mod smoke;
mod support;
