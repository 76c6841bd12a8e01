//! The whole proxy, spoken to over real sockets.

#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]

mod answer;
mod bodies;
mod connect;
mod forward;
mod inside_http;
mod lifetime;
mod mutated;
mod pool;
mod smoke;
mod support;
mod upgrade;
