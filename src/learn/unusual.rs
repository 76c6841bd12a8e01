//! What is set apart for somebody to look at, and why: noise, risks, and what a rule can't see into.

use std::collections::BTreeMap;
use std::fmt;

use crate::guard::Special;
use crate::host::Name;
use crate::reason::Reason;

/// Why something is not allowed although it was seen; in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Why {
    /// The address given is one of a cloud's metadata service.
    Metadata,
    /// The address given is another special one.
    SpecialAddress,
    ByAddress,
    /// The name led to a special address.
    LedToSpecial,
    /// Refused, for a reason that a rule should not open.
    Refused(Refused),
    /// A label that looks like carried data.
    LongLabel,
    /// Many names below one domain, most of which came once.
    Flood,
    /// Tried, but there never was a connection.
    Unreached,
}

/// A reason whose words sort as the reasons stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refused(pub(super) Reason);

impl PartialOrd for Refused {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Refused {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0 as usize).cmp(&(other.0 as usize))
    }
}

impl Why {
    /// Where somebody wanted to go by address.
    pub(super) fn by_address(special: Option<Special>) -> Self {
        match special {
            Some(Special::Metadata) => Self::Metadata,
            Some(Special::Embedded | Special::Block(_)) => Self::SpecialAddress,
            None => Self::ByAddress,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "a cloud metadata address: it hands out credentials",
            Self::SpecialAddress => "a private or other special address",
            Self::ByAddress => "given by address: whoever has it now is reached, whatever its name",
            Self::LedToSpecial => "the name led to a private or other special address",
            Self::Refused(Refused(reason)) => match reason {
                Reason::DeniedByRule => "a deny rule covers it, and wins over every allow",
                Reason::AddressProhibited => "the name led to no address that may be dialled",
                Reason::ServerNameMismatch => "the server name inside was another: no rule allows that",
                Reason::ServerNameMissing => {
                    "TLS that names no server: only a `tcp` rule lets that pass, blindly"
                }
                Reason::EchDenied => "Encrypted Client Hello: the name that counts can't be read",
                Reason::HostMismatch => "the Host of a request was another: no rule allows that",
                Reason::NotTls => "not TLS inside: only a `tcp` rule lets that pass, blindly",
                Reason::NotHttp => "not HTTP inside",
                Reason::Revoked => "a newer policy took it back while it was open",
                Reason::SelfConnect => "exeat itself",
                other => other.as_str(),
            },
            Self::LongLabel => "a long, random label: it may carry data out",
            Self::Flood => {
                "many names, most of which came once, or more than are kept: they may carry data out"
            }
            Self::Unreached => "there never was a connection",
        })
    }
}

/// The shortest label that may carry data: tunnels fill the 63 characters that there are, while the identifiers
/// of clouds have 32 or, as UUIDs, 36.
const LABEL_MIN: usize = 40;
/// The lowest entropy, in bits a character, of what looks random: hexadecimal digits come close to 4, words joined
/// by hyphens to 3.5, but not at this length without repeating themselves.
const ENTROPY_MIN: f64 = 3.2;
/// The shortest part before the owner's domain that is long whatever its labels are.
const BEFORE_MIN: usize = 100;
/// A domain below which this many names came once each, more than four fifths of them all, is rather a tunnel or a
/// counter of visitors than servers.
const ONE_OFFS_MIN: usize = 50;

/// Whether a name looks like carried data by itself.
pub(super) fn is_long(name: &Name) -> bool {
    let before = name.as_str().len() - domain(name).len();
    let is_random = |label: &str| label.len() >= LABEL_MIN && entropy(label) >= ENTROPY_MIN;
    before >= BEFORE_MIN || name.as_str().split('.').any(is_random)
}

/// Whether the names below one domain, by the flows to each, look like carried data together.
pub(super) fn is_flood(flows: impl Iterator<Item = u64>) -> bool {
    let (mut names, mut one_offs) = (0, 0);
    for flows in flows {
        names += 1;
        one_offs += usize::from(flows == 1);
    }
    one_offs >= ONE_OFFS_MIN && one_offs * 5 > names * 4
}

/// The part of a name that one owner has registered; where nobody knows, the last two labels.
pub(super) fn domain(name: &Name) -> &str {
    psl::domain_str(name.as_str()).unwrap_or(name.as_str())
}

/// Shannon's entropy of the characters of a text, in bits for each.
fn entropy(text: &str) -> f64 {
    let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
    for byte in text.bytes() {
        *counts.entry(byte).or_default() += 1;
    }
    let shares = counts.values().map(|&count| f64::from(count) / text.len() as f64);
    shares.map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn labels_that_carry_data_are_told_from_those_of_clouds() {
        for (text, expected) in [
            ("static.crates.io", false),
            ("a1b2c3d4e5f60718293a4b5c6d7e8f90.gr7.us-east-1.eks.amazonaws.com", false),
            ("8f14e45f-ceea-467a-9b0c-1b3e2f6d7a8c.ods.opinsights.azure.com", false),
            ("internal-name-of-a-load-balancer-1234567890.eu-west-1.elb.amazonaws.com", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com", false),
            ("nbswy3dpeb3w64tmmqqgc3tebuqho2lunaqgiylumeqgc3teebwgk5a.t.example.com", true),
            (
                "6f6e65.74776f.7468726565.666f7572.66697665.736978.736576656e.6569676874.6e696e65.74656e.656c6576656e.7477656c7665.t.example.com",
                true,
            ),
        ] {
            assert_eq!(is_long(&name(text)), expected, "{text}");
        }
    }

    #[test]
    fn many_names_that_come_once_are_a_flood() {
        let flood = |one_offs: usize, others: usize| {
            is_flood(std::iter::repeat_n(1, one_offs).chain(std::iter::repeat_n(7, others)))
        };
        assert!(flood(50, 0) && flood(50, 12) && flood(1000, 200));
        assert!(!flood(49, 0) && !flood(50, 13) && !flood(0, 1000));
    }

    #[test]
    fn a_domain_is_what_one_owner_registered() {
        for (text, expected) in [
            ("a.b.example.co.uk", "example.co.uk"),
            ("a.project.github.io", "project.github.io"),
            ("db.internal", "db.internal"),
            ("localhost", "localhost"),
            ("github.io", "github.io"),
        ] {
            assert_eq!(domain(&name(text)), expected);
        }
    }
}
