//! What the policy is asked: where to, and what is known of it so far.

use std::net::IpAddr;

use crate::destination::Destination;
use crate::host::Name;

/// What is known of a flow when the policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub to: &'a Destination,
    pub seen: Seen<'a>,
    /// The resolved address, once there is one. A destination that is an address is its own.
    pub address: Option<IpAddr>,
}

/// What the first bytes showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// Nothing read yet: whatever may be inside is left open.
    Unknown,
    /// Nothing will be read: only a rule that does not look inside can allow that.
    Unread,
    /// A ClientHello, whole and unambiguous.
    Tls { server_name: Option<&'a Name>, ech: bool },
    /// A request, by its method and its target in origin-form.
    Http { method: &'a str, path: &'a str },
    /// Neither TLS nor HTTP.
    Other,
}
