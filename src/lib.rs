//! exeat: an egress gate. Programs reach the internet only by the domain names that a policy lists.
//!
//! The modules stand in layers and import downwards only; `docs/architecture.md` draws them and
//! `tests/architecture.rs` holds the code to the drawing.

// commands: what a person types
pub mod cli;

// wiring: settings, listeners, reload
pub mod admin;
pub mod config;
pub mod reload;
pub mod server;

// doors: how flows arrive
pub mod dns;
pub mod explicit;
pub mod transparent;

// core: what every door shares
pub mod auth;
pub mod consent;
pub mod gate;
pub mod proxy;
pub mod reply;

// motion: sockets
pub mod dial;
pub mod names;
pub mod parent;
pub mod race;
pub mod relay;
pub mod resolve;
pub mod spares;
pub mod stream;
pub mod tls;
pub mod via;

// account: what happened
pub mod flow;
pub mod metrics;
pub mod record;

// decision: pure functions from bytes and rules to verdicts
pub mod guard;
pub mod identity;
pub mod policy;
pub mod sniff;

// facts: plain values
pub mod alarm;
pub mod boxed;
pub mod client;
pub mod clock;
pub mod counters;
pub mod destination;
pub mod drain;
pub mod error;
pub mod families;
pub mod file;
pub mod host;
pub mod ingress;
pub mod lock;
pub mod mistake;
pub mod network;
pub mod plural;
pub mod reason;
pub mod silence;
pub mod sys;
pub mod yaml;

// beside: used by commands alone
pub mod jail;
pub mod learn;
pub mod lockdown;
pub mod verify;
