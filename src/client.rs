//! Who connects to exeat: from where, and as whom.

mod counts;
mod identity;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::sys;

pub use self::counts::Counts;
pub use self::identity::{Certificate, Means, NAME_MAX, NameError, User, check_name};

/// A client, by the address its connection came from and by what it has proved. Whoever has proved
/// nothing costs no allocation, and a copy of anyone is a count at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address, IPv4 in its plain form even on a dual-stack listener.
    pub address: SocketAddr,
    /// Whether it runs on this very host: only such a client may be given the host's own metadata service.
    pub on_this_host: bool,
    /// What a person let this flow alone do.
    pub leave: Option<Leave>,
    /// Whose credentials came with its request.
    pub user: Option<Arc<User>>,
    /// Whose certificate its connection was opened with.
    pub certificate: Option<Arc<Certificate>>,
}

/// Leave that a person gave once, for what waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leave(pub NonZeroU32);

/// Where connections come from, and with it what the address at their other end is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Programs and hosts, known by their addresses.
    Network,
    /// A jail. In there every address is the jail's own, so a program may take any: they all are one client.
    Jail,
}

impl Origin {
    /// The client of a connection or question: `peer` is its end, `local` ours.
    pub fn client(self, peer: SocketAddr, local: IpAddr) -> Client {
        match self {
            Self::Network => {
                let client = Client::new(peer, local);
                let on_this_host = client.on_this_host || sys::is_redirected_from_here(client.ip(), local);
                Client { on_this_host, ..client }
            }
            // Whoever is jailed gets nothing of what the host alone may have: its metadata service.
            Self::Jail => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, peer.port()));
                Client { on_this_host: false, ..Client::new(address, local) }
            }
        }
    }
}

impl Client {
    /// A client as an accepted connection shows it: `peer` is its end, `local` ours. A connection
    /// within one host has the same address at both ends, or a loopback one.
    pub fn new(peer: SocketAddr, local: IpAddr) -> Self {
        let ip = peer.ip().to_canonical();
        Self {
            address: SocketAddr::new(ip, peer.port()),
            on_this_host: ip.is_loopback() || ip == local.to_canonical(),
            leave: None,
            user: None,
            certificate: None,
        }
    }

    /// A client as the PROXY header of a load balancer names it. It is never on this host: whatever a
    /// header says of loopback is said of another host's.
    pub fn proxied(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { on_this_host: false, ..Self::new(address, address.ip()) }
    }

    /// A client that nobody accepted: one that a person asks about. Whether another address is this host's own
    /// is not known then; it matters for metadata addresses alone.
    pub fn supposed(ip: IpAddr) -> Self {
        Self::new(SocketAddr::new(ip, 0), IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// The same client as this user, and with a certificate of this name.
    #[must_use]
    pub fn named(self, user: Option<User>, certificate: Option<&str>) -> Self {
        let certificate = certificate.map(|name| Arc::new(Certificate { name: name.into() }));
        Self { user: user.map(Arc::new), certificate, ..self }
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// What it is called where one name has to do: its user, or else its certificate.
    pub fn name(&self) -> Option<&str> {
        let certificate = || self.certificate.as_deref().map(|certificate| &*certificate.name);
        self.user.as_deref().map(|user| &*user.name).or_else(certificate)
    }
}

/// The address that one counts as where clients share something out: a host has all the addresses of an IPv6 network to
/// itself, so they are one.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// For people: its address, and who it is if that is known.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip())?;
        if let Some(user) = &self.user {
            write!(f, " as {}", user.name)?;
            if !user.groups.is_empty() {
                write!(f, " of {}", user.groups.join(", "))?;
            }
        }
        match &self.certificate {
            Some(certificate) => write!(f, " with the certificate {}", certificate.name),
            None => Ok(()),
        }
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
    fn a_proxied_client_is_never_on_this_host() {
        for text in ["127.0.0.1:5000", "[::ffff:127.0.0.1]:5000", "10.0.1.9:5000"] {
            let client = Client::proxied(text.parse().unwrap());
            assert!(!client.on_this_host && client.ip().is_ipv4(), "{text}");
        }
    }

    #[test]
    fn a_jail_is_one_client_whatever_address_it_takes_and_never_this_host() {
        for peer in ["127.0.0.1:5000", "10.0.1.9:5000", "[2001:db8::7]:5000"] {
            let client = Origin::Jail.client(peer.parse().unwrap(), "127.0.0.1".parse().unwrap());
            assert_eq!(client.address, "127.0.0.1:5000".parse().unwrap());
            assert!(!client.on_this_host);
        }
    }

    #[test]
    fn a_connection_within_the_host_is_known_by_its_ends() {
        let own: IpAddr = "10.0.1.1".parse().unwrap();
        assert!(Client::new("10.0.1.1:5000".parse().unwrap(), own).on_this_host);
        assert!(Client::new("127.0.0.1:5000".parse().unwrap(), own).on_this_host);
    }

    #[test]
    fn a_client_is_called_by_its_user_rather_than_its_certificate() {
        let mut client = Client::supposed("10.0.0.1".parse().unwrap());
        assert_eq!(client.name(), None);
        client = client.named(None, Some("spiffe://corp/ci/1"));
        assert_eq!(client.name(), Some("spiffe://corp/ci/1"));
        assert_eq!(client.to_string(), "10.0.0.1 with the certificate spiffe://corp/ci/1");
        client = client.named(Some(User::supposed("alice", &["ci".to_owned(), "dev".to_owned()])), None);
        assert_eq!(client.name(), Some("alice"));
        assert_eq!(client.to_string(), "10.0.0.1 as alice of ci, dev");
    }

    #[test]
    fn who_it_is_takes_two_words_of_a_client() {
        assert!(size_of::<Client>() <= size_of::<(SocketAddr, bool)>() + 20, "{}", size_of::<Client>());
    }
}
