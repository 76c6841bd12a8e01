//! A network as people write it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("it is no network and no address, like 10.0.1.0/24 or 2001:db8::1")]
    Shape,
    #[error("it is an IPv4 network in an IPv6 dress, which nobody has: write {0}")]
    Dressed(Ipv4Net),
}

/// Reads a network, or an address as the network of it alone. Bits behind the prefix are kept. Addresses are compared in
/// their plain form, so one of IPv6 that holds IPv4 alone would have nobody.
pub fn parse(text: &str) -> Result<IpNet, NetworkError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| NetworkError::Shape)?;
    match network {
        IpNet::V6(v6) => dressed(v6).map_or(Ok(network), |plain| Err(NetworkError::Dressed(plain))),
        IpNet::V4(_) => Ok(network),
    }
}

/// A network without bits behind its prefix, and of IPv4 in its plain form as addresses are, or it would hold none.
pub fn canonical(network: IpNet) -> IpNet {
    let plain = match network {
        IpNet::V6(v6) => dressed(v6),
        IpNet::V4(_) => None,
    };
    plain.map_or(network.trunc(), IpNet::V4)
}

/// The network of IPv4 that one of IPv6 holds alone.
fn dressed(network: Ipv6Net) -> Option<Ipv4Net> {
    let prefix = network.prefix_len().checked_sub(96)?;
    Ipv4Net::new(network.addr().to_ipv4_mapped()?, prefix).ok().map(|plain| plain.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_network_of_it_alone() {
        for (text, network) in [
            ("10.0.1.0/24", Some("10.0.1.0/24")),
            ("10.0.1.7/24", Some("10.0.1.7/24")),
            ("10.0.1.7", Some("10.0.1.7/32")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("2001:db8::1", Some("2001:db8::1/128")),
            ("10.0.1", None),
            ("10.0.0.0/33", None),
            ("[2001:db8::1]", None),
            ("fe80::1%eth0", None),
            ("a.example", None),
            ("", None),
            ("::ffff:0:0/95", Some("::ffff:0.0.0.0/95")),
        ] {
            let parsed = parse(text).ok().map(|network| network.to_string());
            assert_eq!(parsed.as_deref(), network, "{text}");
        }
    }

    #[test]
    fn a_network_of_ipv4_is_written_as_one() {
        for (text, plain) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.5/104", "10.0.0.0/8"),
            ("::ffff:10.0.1.7", "10.0.1.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(text), Err(NetworkError::Dressed(plain.parse().unwrap())), "{text}");
        }
    }
}
