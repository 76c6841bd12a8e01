//! IPv4 and IPv6: which of the two are looked up and dialled, and which of them first.

use std::net::IpAddr;

/// A choice of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Families {
    V4,
    V6,
    V4First,
    /// As RFC 8305 §4 has it.
    #[default]
    V6First,
}

impl Families {
    /// Each with its word in policies and settings.
    pub const ALL: [(&'static str, Self); 4] = [
        ("ipv4", Self::V4),
        ("ipv6", Self::V6),
        ("prefer_ipv4", Self::V4First),
        ("prefer_ipv6", Self::V6First),
    ];

    /// Whether the family of an address is among them; one of IPv4 in IPv6 dress is of IPv4.
    pub fn have(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.to_canonical().is_ipv4(),
            Self::V6 => address.to_canonical().is_ipv6(),
            Self::V4First | Self::V6First => true,
        }
    }

    /// What is among these or the others, in the order of these.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::V4, Self::V4) | (Self::V6, Self::V6) => self,
            (Self::V4 | Self::V4First, _) => Self::V4First,
            (Self::V6 | Self::V6First, _) => Self::V6First,
        }
    }

    /// Which family goes first.
    pub fn begin_with_v4(self) -> bool {
        matches!(self, Self::V4 | Self::V4First)
    }

    /// The only family, if there is one.
    pub fn only(self) -> Option<&'static str> {
        match self {
            Self::V4 => Some("IPv4"),
            Self::V6 => Some("IPv6"),
            Self::V4First | Self::V6First => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Families::{self, *};

    #[test]
    fn the_wider_choice_has_both_in_the_order_of_the_first() {
        for (one, other, wanted) in [
            (V4, V4, V4),
            (V6, V6, V6),
            (V4, V6, V4First),
            (V6, V4, V6First),
            (V4, V6First, V4First),
            (V4First, V6, V4First),
            (V6First, V4, V6First),
        ] {
            assert_eq!(Families::or(one, other), wanted, "{one:?} or {other:?}");
        }
    }

    #[test]
    fn an_address_in_the_other_dress_is_what_it_is() {
        for (text, v4) in [("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("2001:db8::1", false)] {
            let address = text.parse().unwrap();
            assert_eq!((V4.have(address), V6.have(address)), (v4, !v4), "{text}");
            assert!(V4First.have(address) && V6First.have(address));
        }
    }
}
