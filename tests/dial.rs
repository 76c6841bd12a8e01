//! Looking up and dialling, over real sockets and a real DNS server.

#[path = "it/support/dns.rs"]
mod dns;
#[path = "dial/resolving.rs"]
mod resolving;
