//! The lockdown: firewall rules that leave a machine, or a network behind it, no way out but exeat.
//!
//! A [`Plan`] becomes a list of [chains](rule::Chain) of rules, plain values that two writers turn into
//! text: for `iptables-restore` ([`iptables`]) and for `nft` ([`nft`]). [`firewall`] loads that text
//! in one piece, reads what is in force and takes it away again.

mod allow;
pub mod chains;
pub mod commands;
pub mod conntrack;
pub mod firewall;
pub mod found;
pub mod interfaces;
pub mod iptables;
pub mod listeners;
pub mod nft;
pub mod plan;
pub mod routes;
pub mod rule;
pub mod sockets;
pub mod status;
pub mod stub;
pub mod tracking;

pub use plan::Plan;

#[cfg(test)]
mod tests;
