//! Where the doors of a jail are found inside.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Where the doors are inside. No interface has these addresses of documentation (RFC 5737, RFC 3849), so that the
/// jail's own loopback is left to the command.
pub const DOOR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const DOOR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const EXPLICIT_PORT: u16 = 3128;
pub(super) const TRANSPARENT_PORT: u16 = 3129;
pub(super) const DNS_PORT: u16 = 53;
