//! The lockdown in real network namespaces: an instance, a gateway and an internet of several servers, with the
//! real iptables, nft, curl, dig, ping, socat, openssl and ssh.
//!
//! Needs root, or a kernel that gives user namespaces network namespaces of their own; says so loudly when it can't
//! run, and fails then where `CI` is set. Every address is inside namespaces that the tests made themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "netns/docker.rs"]
mod docker;
#[path = "netns/exeat.rs"]
mod exeat;
#[path = "netns/flows.rs"]
mod flows;
#[path = "netns/footing.rs"]
mod footing;
#[path = "netns/gateway.rs"]
mod gateway;
#[path = "netns/instance.rs"]
mod instance;
#[path = "netns/internet.rs"]
mod internet;
#[path = "netns/many.rs"]
mod many;
#[path = "netns/place.rs"]
mod place;
#[path = "netns/rules.rs"]
mod rules;
#[path = "netns/tap.rs"]
mod tap;
#[path = "netns/verify.rs"]
mod verify;
#[path = "netns/ways.rs"]
mod ways;
#[path = "netns/world.rs"]
mod world;
