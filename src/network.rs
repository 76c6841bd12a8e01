//! A network as people write it.

use std::net::IpAddr;

use ipnet::IpNet;

/// A text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no network and no address, like 10.0.1.0/24 or 2001:db8::1")]
pub struct NetworkError;

/// Reads a network, or an address as the network of it alone. Bits behind the prefix are kept.
pub fn parse(text: &str) -> Result<IpNet, NetworkError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| NetworkError)
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
        ] {
            let parsed = parse(text).ok().map(|network| network.to_string());
            assert_eq!(parsed.as_deref(), network, "{text}");
        }
    }
}
