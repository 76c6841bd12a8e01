//! Who connects to exeat.

use std::net::{IpAddr, SocketAddr};

/// A client, by the address its connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address, IPv4 in its plain form even on a dual-stack listener.
    pub address: SocketAddr,
    /// Whether it runs on this very host: only such a client may be given the host's own metadata service.
    pub on_this_host: bool,
}

impl Client {
    /// A client as an accepted connection shows it: `peer` is its end, `local` ours. A connection
    /// within one host has the same address at both ends, or a loopback one.
    pub fn new(peer: SocketAddr, local: IpAddr) -> Self {
        let ip = peer.ip().to_canonical();
        Self {
            address: SocketAddr::new(ip, peer.port()),
            on_this_host: ip.is_loopback() || ip == local.to_canonical(),
        }
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dual_stack_peers_are_unmapped() {
        let client =
            Client::new("[::ffff:10.0.1.9]:5000".parse().unwrap(), "::ffff:10.0.1.1".parse().unwrap());
        assert_eq!(client.ip(), "10.0.1.9".parse::<IpAddr>().unwrap());
        assert!(!client.on_this_host);
    }

    #[test]
    fn a_connection_within_the_host_is_known_by_its_ends() {
        let own: IpAddr = "10.0.1.1".parse().unwrap();
        assert!(Client::new("10.0.1.1:5000".parse().unwrap(), own).on_this_host);
        assert!(Client::new("127.0.0.1:5000".parse().unwrap(), own).on_this_host);
    }
}
