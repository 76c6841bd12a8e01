//! The whole proxy, spoken to over real sockets.

#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]

mod answer;
mod bodies;
mod connect;
mod forward;
mod guard;
mod inside_http;
mod lifetime;
mod mutated;
mod pool;
mod report;
mod retry;
mod smoke;
mod support;
mod tls;
mod tunnel;
mod upgrade;
