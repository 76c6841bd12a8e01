//! The whole proxy, spoken to over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "support is shared between the modules of this binary")]

mod admin;
mod answer;
mod authorities;
mod bodies;
mod client_certificates;
mod connect;
mod connections;
mod drain;
mod every_flow;
mod floods;
mod forward;
mod guard;
mod http2;
mod https;
mod import;
mod inside_http;
mod lifetime;
mod limits;
mod lockdown;
mod log;
mod mutated;
mod outgoing;
mod parents;
mod passwords;
mod pool;
mod programs;
mod proxy_protocol;
mod reasons;
mod reload;
mod report;
mod retry;
mod smoke;
mod spares;
mod stalled;
mod suggest;
mod support;
mod tls;
mod tokens;
mod tunnel;
mod upgrade;
