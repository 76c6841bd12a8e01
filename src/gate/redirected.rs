//! Where a redirected connection may go: the client chose an address, but the policy speaks of names.

use std::net::SocketAddr;

use crate::destination::Destination;
use crate::host::Host;
use crate::policy::{Question, Seen};
use crate::proxy::Standing;
use crate::reason::Reason;

/// The address that the client connected to, as a destination.
pub fn original(address: SocketAddr) -> Destination {
    Destination::new(Host::from(address.ip()), address.port())
}

/// The destination of a client that named one itself: that, unless a rule for addresses alone allows what it
/// connected to. A rule that denies the name stands in both ways.
pub fn destination(
    standing: &Standing,
    named: Destination,
    address: SocketAddr,
    seen: Seen<'_>,
) -> Destination {
    if !standing.policy.has_networks() {
        return named;
    }
    let reason = |to: &Destination| standing.decide(&Question { to, seen, address: None }).reason;
    if matches!(reason(&named), Reason::Allowed | Reason::DeniedByRule) {
        return named;
    }
    let original = original(address);
    if reason(&original) == Reason::Allowed { original } else { named }
}
