//! The screen of addresses: which ones a name may never lead to by itself.
//!
//! Sources: the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and its updates),
//! RFC 5771 and RFC 4291 for multicast, and the clouds' own documents for their metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is special, in words that complete "… is".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A cloud's metadata or host service: it hands out credentials.
    Metadata,
    /// An IPv6 form that carries an IPv4 address inside.
    Embedded,
    /// Any other block that is not globally reachable unicast.
    Block(&'static Block),
}

/// A block of a special-purpose registry.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub name: &'static str,
    /// The first address of the block, mapped into 128 bits for IPv4.
    network: u128,
    prefix: u8,
}

impl Special {
    pub fn what(self) -> &'static str {
        match self {
            Self::Metadata => "a cloud metadata address",
            Self::Embedded => "an IPv6 address that embeds an IPv4 one",
            Self::Block(block) => block.name,
        }
    }
}

impl Block {
    /// Whether the address lies in this block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = 128 - u32::from(self.prefix);
        // A shift by all 128 bits would overflow, but no block here is the whole space.
        number(address) >> shift == self.network >> shift
    }

    /// Whether the other block begins where this one ends.
    pub fn is_followed_by(&self, other: &Self) -> bool {
        self.network.checked_add(1 << (128 - self.prefix)) == Some(other.network)
    }
}

/// Says why an address may not be dialled unless a rule names it; `None` for a public one.
pub fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

/// The IPv4 address that an IPv6 address carries inside, if it is of such a form.
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        // Loopback and the unspecified address are blocks of their own, not ::0.0.0.1.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-mapped and IPv4-compatible (RFC 4291 §2.5.5), and the SIIT form ::ffff:0:a.b.c.d (RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        // NAT64's well-known prefix (RFC 6052); the local one (RFC 8215) is used with /96 in practice.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(v4(high, low)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo keeps the client's address inverted in its last bits (RFC 4380 §4).
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        // ISATAP interface identifiers, with either setting of the universal bit (RFC 5214 §6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        _ => None,
    }
}

/// The same of an address of either family.
pub fn carried(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
    }
}

/// Every address that is [`Special::Metadata`], but for the forms that embed one.
pub fn metadata() -> impl Iterator<Item = IpAddr> {
    METADATA_V4.map(IpAddr::V4).into_iter().chain(METADATA_V6.map(IpAddr::V6))
}

/// Services that tell an instance about itself or hand out its credentials, by the documents and the SDKs of those who
/// run them. `private: true` opens none of them, though most lie in blocks that it opens.
const METADATA_V4: [Ipv4Addr; 10] = [
    // AWS, Google Cloud, Azure, Oracle, IBM, DigitalOcean, Hetzner, Vultr, Exoscale, UpCloud, Akamai, OpenStack
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS: credentials of tasks
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS: Pod Identity
    Ipv4Addr::new(169, 254, 169, 252), // Google GKE: its metadata server on a node
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's host services
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent Cloud
    Ipv4Addr::new(169, 254, 10, 10),   // Tencent Cloud
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
];
const METADATA_V6: [Ipv6Addr; 8] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS EKS: Pod Identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google Cloud
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // Oracle Cloud
    Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), // Alibaba Cloud
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), // Akamai
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // OpenStack, Akamai
];

/// These and the next stand in order, and none lies in another.
static BLOCKS_V4: [Block; 18] = [
    v4([0, 0, 0, 0], 8, "an address of this network (0.0.0.0/8)"),
    v4([10, 0, 0, 0], 8, "a private address (10.0.0.0/8)"),
    v4([100, 64, 0, 0], 10, "a shared address of a carrier's NAT (100.64.0.0/10)"),
    v4([127, 0, 0, 0], 8, "a loopback address (127.0.0.0/8)"),
    v4([169, 254, 0, 0], 16, "a link-local address (169.254.0.0/16)"),
    v4([172, 16, 0, 0], 12, "a private address (172.16.0.0/12)"),
    v4([192, 0, 0, 0], 24, "a protocol-assignment address (192.0.0.0/24)"),
    v4([192, 0, 2, 0], 24, "a documentation address (192.0.2.0/24)"),
    v4([192, 31, 196, 0], 24, "an AS112 address (192.31.196.0/24)"),
    v4([192, 52, 193, 0], 24, "an AMT address (192.52.193.0/24)"),
    v4([192, 88, 99, 0], 24, "a 6to4 relay address (192.88.99.0/24)"),
    v4([192, 168, 0, 0], 16, "a private address (192.168.0.0/16)"),
    v4([192, 175, 48, 0], 24, "an AS112 address (192.175.48.0/24)"),
    v4([198, 18, 0, 0], 15, "a benchmarking address (198.18.0.0/15)"),
    v4([198, 51, 100, 0], 24, "a documentation address (198.51.100.0/24)"),
    v4([203, 0, 113, 0], 24, "a documentation address (203.0.113.0/24)"),
    v4([224, 0, 0, 0], 4, "a multicast address (224.0.0.0/4)"),
    v4([240, 0, 0, 0], 4, "a reserved or broadcast address (240.0.0.0/4)"),
];

/// Everything that is not in here or outside 2000::/3 is public unicast (RFC 4291 §2.4).
static BLOCKS_V6: [Block; 12] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "the unspecified address (::)"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "the loopback address (::1)"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "a discard-only address (100::/64)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "a protocol-assignment address (2001::/23)"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "a documentation address (2001:db8::/32)"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "an AS112 address (2620:4f:8000::/48)"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "a documentation address (3fff::/20)"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "a segment-routing address (5f00::/16)"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a unique local address (fc00::/7)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address (fe80::/10)"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a site-local address (fec0::/10)"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address (ff00::/8)"),
];

/// Global unicast; all else in IPv6 is unassigned or special.
const GLOBAL_V6: Block = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, "global unicast (2000::/3)");
static UNASSIGNED_V6: [Block; 2] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 1, "an unassigned IPv6 address"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, "an unassigned IPv6 address"),
];

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    if METADATA_V4.contains(&address) {
        return Some(Special::Metadata);
    }
    find(&BLOCKS_V4, IpAddr::V4(address))
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    if METADATA_V6.contains(&address) {
        return Some(Special::Metadata);
    }
    if let Some(v4) = embedded(address) {
        // A metadata address stays one in whatever dress it comes.
        let is_metadata = METADATA_V4.contains(&v4);
        return Some(if is_metadata { Special::Metadata } else { Special::Embedded });
    }
    let address = IpAddr::V6(address);
    find(&BLOCKS_V6, address)
        .or_else(|| if GLOBAL_V6.contains(address) { None } else { find(&UNASSIGNED_V6, address) })
}

/// The block that holds an address, if there is one. Most addresses are public, and so in none of them.
fn find(blocks: &'static [Block], address: IpAddr) -> Option<Special> {
    let after = blocks.partition_point(|block| block.network <= number(address));
    let block = blocks[..after].last().filter(|block| block.contains(address))?;
    Some(Special::Block(block))
}

/// An address as a number; IPv4 under its mapped prefix, so that both families share one shape.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

const fn v4(octets: [u8; 4], prefix: u8, name: &'static str) -> Block {
    let [a, b, c, d] = octets;
    Block { name, network: Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().to_bits(), prefix: 96 + prefix }
}

const fn v6(segments: [u16; 8], prefix: u8, name: &'static str) -> Block {
    let [a, b, c, d, e, f, g, h] = segments;
    Block { name, network: Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits(), prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screened(text: &str) -> Option<Special> {
        special(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2400:cb00::1",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(screened(text), None, "{text}");
        }
    }

    #[test]
    fn special_blocks_are_named() {
        for (text, word) in [
            ("0.0.0.0", "0.0.0.0/8"),
            ("0.1.2.3", "0.0.0.0/8"),
            ("10.1.2.3", "private"),
            ("100.64.0.1", "shared"),
            ("100.127.255.255", "shared"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("169.254.1.1", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.1", "protocol"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("100::1", "discard"),
            ("2001:2::1", "protocol"),
            ("2001:db8::1", "documentation"),
            ("3fff::1", "documentation"),
            ("5f00::1", "segment"),
            ("fc00::1", "unique local"),
            ("fd12::1", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("4000::1", "unassigned"),
            ("e000::1", "unassigned"),
            ("64:ff9b:2::1", "unassigned"),
        ] {
            let Some(Special::Block(block)) = screened(text) else { panic!("{text} passed") };
            assert!(block.name.contains(word), "{text}: {}", block.name);
        }
    }

    #[test]
    fn blocks_stand_in_order_and_apart() {
        for blocks in [&BLOCKS_V4[..], &BLOCKS_V6, &UNASSIGNED_V6] {
            for pair in blocks.windows(2) {
                let size = 1 << (128 - pair[0].prefix);
                assert!(pair[0].network + size <= pair[1].network, "{pair:?}");
            }
        }
    }

    #[test]
    fn metadata_is_metadata_in_every_dress() {
        for text in [
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.169.252",
            "169.254.0.23",
            "169.254.10.10",
            "169.254.42.42",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:100::100:200",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.170.2",
            "64:ff9b::169.254.42.42",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
            "fe80::5efe:169.254.169.254",
            "2a00::200:5efe:168.63.129.16",
        ] {
            assert_eq!(screened(text), Some(Special::Metadata), "{text}");
        }
    }

    #[test]
    fn embedded_ipv4_is_refused_even_when_it_is_public() {
        for (text, inside) in [
            ("::ffff:8.8.8.8", "8.8.8.8"),
            ("::8.8.8.8", "8.8.8.8"),
            ("::ffff:0:8.8.8.8", "8.8.8.8"),
            ("64:ff9b::808:808", "8.8.8.8"),
            ("64:ff9b:1::808:808", "8.8.8.8"),
            ("2002:808:808::", "8.8.8.8"),
            ("2001::f7f7:f7f7", "8.8.8.8"),
            ("2a00::5efe:808:808", "8.8.8.8"),
            ("2a00::200:5efe:808:808", "8.8.8.8"),
        ] {
            assert_eq!(screened(text), Some(Special::Embedded), "{text}");
            assert_eq!(embedded(text.parse().unwrap()), Some(inside.parse().unwrap()), "{text}");
        }
    }
}
