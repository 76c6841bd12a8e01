//! How connections to upstreams leave this host, where that is not left to the kernel.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use crate::families::Families;

/// What a profile, or the settings for all others, say of their connections. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outgoing {
    /// The addresses that they come from. With one of a family alone, the other family is not dialled: its addresses
    /// would come from somewhere else.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    pub interface: Option<Box<str>>,
    /// Of their packets, for routes and firewalls (SO_MARK).
    pub mark: Option<NonZeroU32>,
    pub families: Families,
}

impl Outgoing {
    /// The families that are dialled.
    pub fn families(&self) -> Families {
        match (self.source_v4, self.source_v6) {
            (Some(_), None) => Families::V4,
            (None, Some(_)) => Families::V6,
            _ => self.families,
        }
    }

    /// The address that a connection to this one comes from; `None`: the kernel's choice.
    pub fn source_for(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }

    /// Why no connection is made to an address of this family.
    pub fn excludes(&self, address: IpAddr) -> Option<&'static str> {
        if self.families().have(address) {
            return None;
        }
        Some(match address {
            IpAddr::V4(_) if self.source_v6.is_some() => "`outgoing` has no IPv4 source address",
            IpAddr::V6(_) if self.source_v4.is_some() => "`outgoing` has no IPv6 source address",
            _ => "`outgoing` leaves its family out",
        })
    }
}

/// For people: `source 198.51.100.7, interface eth1, mark 0x7, IPv4 alone`.
impl fmt::Display for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = [self.source_v4.map(IpAddr::V4), self.source_v6.map(IpAddr::V6)];
        let sources = sources.into_iter().flatten().map(|source| format!("source {source}"));
        let interface = self.interface.iter().map(|interface| format!("interface {interface}"));
        let mark = self.mark.iter().map(|mark| format!("mark {mark:#x}"));
        let families = match self.families() {
            Families::V4 => "IPv4 alone",
            Families::V6 => "IPv6 alone",
            Families::V4First => "IPv4 first",
            Families::V6First => "IPv6 first",
        };
        let all: Vec<String> = sources.chain(interface).chain(mark).chain([families.to_owned()]).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "192.0.2.1";
    const V6: &str = "2001:db8::1";

    #[test]
    fn a_family_without_a_source_of_its_own_is_not_dialled() {
        let sources = |v4: Option<&str>, v6: Option<&str>| Outgoing {
            source_v4: v4.map(|v4| v4.parse().unwrap()),
            source_v6: v6.map(|v6| v6.parse().unwrap()),
            ..Outgoing::default()
        };
        let only = |families| Outgoing { families, ..Outgoing::default() };
        for (outgoing, v4, v6) in [
            (sources(None, None), None, None),
            (sources(Some("192.0.2.9"), Some("2001:db8::9")), None, None),
            (sources(Some("192.0.2.9"), None), None, Some("`outgoing` has no IPv6 source address")),
            (sources(None, Some("2001:db8::9")), Some("`outgoing` has no IPv4 source address"), None),
            (only(Families::V4), None, Some("`outgoing` leaves its family out")),
            (only(Families::V6), Some("`outgoing` leaves its family out"), None),
            (only(Families::V4First), None, None),
        ] {
            assert_eq!(outgoing.excludes(V4.parse().unwrap()), v4, "{outgoing}");
            assert_eq!(outgoing.excludes(V6.parse().unwrap()), v6, "{outgoing}");
        }
    }

    #[test]
    fn it_reads_as_people_would_say_it() {
        let all = Outgoing {
            source_v4: Some(Ipv4Addr::new(198, 51, 100, 7)),
            source_v6: None,
            interface: Some("eth1".into()),
            mark: NonZeroU32::new(7),
            families: Families::V6First,
        };
        assert_eq!(all.to_string(), "source 198.51.100.7, interface eth1, mark 0x7, IPv4 alone");
        assert_eq!(Outgoing::default().to_string(), "IPv6 first");
    }
}
