//! What rules about addresses open of those that the guard screens.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::guard::{self, Special};
use crate::policy::terms::Private;

/// Every form carries its IPv4 address in at most 32 of the bits: a shorter prefix names none of them.
const CARRYING: u8 = 96;

/// Why a rule for a network opens none of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// They are special for different reasons, and it is about neither alone.
    Spans,
    /// They carry IPv4 addresses, and its prefix names none of those.
    Short,
    /// They carry special IPv4 addresses.
    Carries,
}

impl Shut {
    /// Why a rule for a network opens none of its addresses, if it does not.
    pub(super) fn of(network: IpNet) -> Option<Self> {
        let (first, last) = (network.network(), network.broadcast());
        match (guard::special(first)?, guard::special(last)?) {
            (Special::Block(one), Special::Block(other)) => one.is_followed_by(other).then_some(Self::Spans),
            (Special::Embedded, Special::Embedded) if network.prefix_len() < CARRYING => Some(Self::Short),
            (Special::Embedded, Special::Embedded) => {
                let (one, other) = (guard::carried(first)?, guard::carried(last)?);
                (guard::special(one)? == guard::special(other)?).then_some(Self::Carries)
            }
            _ => None,
        }
    }

    /// What to do instead.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Spans => "a `cidr` rule opens special addresses of one kind alone: write one for each",
            Self::Short => "a prefix of 96 bits or more opens those of them that carry public ones",
            Self::Carries => "allow the IPv4 addresses themselves, or a name that leads there with `private`",
        }
    }
}

/// Completes "it never allows anything: …".
impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spans => "its addresses are special ones of different kinds",
            Self::Short => "its addresses carry IPv4 ones, and it is not about any of those",
            Self::Carries => "its addresses carry special IPv4 ones",
        })
    }
}

/// The metadata address, if there is one, that a rule about names lists by itself: no name may lead there.
pub(super) fn shut_to_names(private: &Private) -> Option<IpAddr> {
    let Private::Networks(networks) = private else { return None };
    let alone = networks.iter().filter(|network| network.prefix_len() == network.max_prefix_len());
    alone.map(IpNet::addr).find(|&address| guard::special(address) == Some(Special::Metadata))
}

/// Whether a rule for a network opens whatever special addresses one within it opens.
pub(super) fn opens_within(wide: IpNet, narrow: IpNet) -> bool {
    let (first, last) = (narrow.network(), narrow.broadcast());
    match guard::special(first) {
        Some(Special::Block(block)) if block.contains(last) => {
            block.contains(wide.network()) && block.contains(wide.broadcast())
        }
        // It opens none.
        None | Some(Special::Block(_)) => true,
        Some(Special::Metadata | Special::Embedded) => wide == narrow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_open_nothing_are_told_from_those_that_open_something() {
        for (network, shut) in [
            ("224.0.0.0/3", Some(Shut::Spans)),
            ("fe80::/9", Some(Shut::Spans)),
            ("::/127", Some(Shut::Spans)),
            ("2002::/16", Some(Shut::Short)),
            ("2001::/32", Some(Shut::Short)),
            ("64:ff9b:1::/48", Some(Shut::Short)),
            ("64:ff9b::10.0.0.0/104", Some(Shut::Carries)),
            ("64:ff9b::127.0.0.1/128", Some(Shut::Carries)),
            ("64:ff9b::/96", None),
            ("64:ff9b::8.8.8.8/128", None),
            ("64:ff9b:1::/96", None),
            // One kind is what a rule may be about.
            ("10.0.0.0/8", None),
            ("240.0.0.0/4", None),
            ("255.255.255.255/32", None),
            ("fc00::/7", None),
            ("169.254.169.254/32", None),
            ("169.254.0.0/16", None),
            // What is public in it is open.
            ("0.0.0.0/0", None),
            ("128.0.0.0/1", None),
            ("172.0.0.0/8", None),
            ("192.168.0.0/15", None),
            ("168.63.129.16/31", None),
            ("8.8.8.8/32", None),
            ("::/0", None),
            ("8000::/1", None),
            ("2000::/3", None),
            ("2001::/16", None),
        ] {
            assert_eq!(Shut::of(network.parse().unwrap()), shut, "{network}");
        }
    }
}
