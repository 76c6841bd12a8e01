//! Looking up and dialling, over real sockets and a real DNS server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "it/support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is shared between binaries")]
mod authority;
#[path = "it/support/clock.rs"]
#[allow(unreachable_pub, reason = "it is shared between binaries")]
mod clock;
#[path = "dial/dialling.rs"]
mod dialling;
#[path = "it/support/dns.rs"]
mod dns;
#[path = "dial/leaving.rs"]
mod leaving;
#[path = "dial/over_tls.rs"]
mod over_tls;
#[path = "dial/resolving.rs"]
mod resolving;
#[path = "dial/through.rs"]
mod through;
