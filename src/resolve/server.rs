//! One DNS server: where it is, and whether it is asked in the clear or over TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use rustls::pki_types::ServerName;

use crate::host::{Host, HostError, Name};
use crate::tls::trust::server_name;

/// Where DNS servers listen when no port is named (RFC 1035 §4.2, RFC 7858 §3.1).
pub(super) const PORT: u16 = 53;
const TLS_PORT: u16 = 853;
/// What a server over TLS begins with.
const TLS: &str = "tls://";

/// A DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: SocketAddr,
    /// Whose certificate it has to show: it is asked over TLS alone. `None`: over UDP and TCP, in the clear.
    pub certified: Option<ServerName<'static>>,
}

/// Why a text is no DNS server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    #[error("it is no address")]
    Address,
    #[error("there is no port 0")]
    Port,
    /// Nobody could look up the name of the server that looks names up.
    #[error("the address has to be given, and the name behind it: tls://192.0.2.1#{0}")]
    AddressMissing(Name),
    #[error("only a server over TLS has a name: {TLS}{0}")]
    NameWithoutTls(String),
    #[error("{0}")]
    Name(#[from] HostError),
}

impl FromStr for Server {
    type Err = ServerError;

    /// Reads `ADDRESS`, `ADDRESS:PORT`, or either of them as in `tls://ADDRESS:PORT#NAME`. Without a name the
    /// certificate has to be for the address.
    fn from_str(text: &str) -> Result<Self, ServerError> {
        let Some(place) = text.strip_prefix(TLS) else {
            let name_behind = || text.split_once('#').and_then(|(place, _)| parse_address(place, TLS_PORT));
            return match parse_address(text, PORT) {
                Some(address) => asked(address).map(Self::from),
                None if name_behind().is_some() => Err(ServerError::NameWithoutTls(text.to_owned())),
                None => Err(ServerError::Address),
            };
        };
        let (place, name) = place.split_once('#').map_or((place, None), |(place, name)| (place, Some(name)));
        let Some(address) = parse_address(place, TLS_PORT) else {
            return Err(Name::parse(place).map_or(ServerError::Address, ServerError::AddressMissing));
        };
        let address = asked(address)?;
        let host = match name {
            Some(name) => Host::Name(Name::parse(name)?),
            None => Host::Ip(address.ip()),
        };
        let certified = server_name(&host).map_err(|_| HostError::BadCharacter)?;
        Ok(Self { address, certified: Some(certified) })
    }
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self { address, certified: None }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.certified {
            None => write!(f, "{}", self.address),
            Some(ServerName::DnsName(name)) => write!(f, "{TLS}{}#{}", self.address, name.as_ref()),
            Some(_) => write!(f, "{TLS}{}", self.address),
        }
    }
}

/// Nobody answers at port 0.
fn asked(address: SocketAddr) -> Result<SocketAddr, ServerError> {
    if address.port() == 0 { Err(ServerError::Port) } else { Ok(answering(address)) }
}

/// Where the answers of a server come from: what is sent to the unspecified address goes to this host.
pub(super) fn answering(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

/// An address with or without a port; IPv6 without one may stand in brackets.
fn parse_address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let ip: Result<IpAddr, _> = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6),
        None => text.parse(),
    };
    ip.map(|ip| SocketAddr::new(ip, port)).or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_one_over_tls_with_the_name_of_its_certificate() {
        for (text, shown) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("0.0.0.0", "127.0.0.1:53"),
            ("[::]:5353", "[::1]:5353"),
            ("2001:db8::2", "[2001:db8::2]:53"),
            ("[2001:db8::2]", "[2001:db8::2]:53"),
            ("[2001:db8::2]:5353", "[2001:db8::2]:5353"),
            ("tls://1.1.1.1", "tls://1.1.1.1:853"),
            ("tls://1.1.1.1:8853", "tls://1.1.1.1:8853"),
            ("tls://1.1.1.1#Cloudflare-DNS.com.", "tls://1.1.1.1:853#cloudflare-dns.com"),
            ("tls://[2001:db8::2]#dns.example", "tls://[2001:db8::2]:853#dns.example"),
            ("tls://2001:db8::2#dns.example", "tls://[2001:db8::2]:853#dns.example"),
            ("tls://[2001:db8::2]:8853#dns.example", "tls://[2001:db8::2]:8853#dns.example"),
        ] {
            let server: Server = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(server.to_string(), shown);
            assert_eq!(shown.parse(), Ok(server));
        }
    }

    #[test]
    fn what_is_no_server_is_told_with_what_would_be() {
        for (text, error) in [
            ("dns.example", "it is no address"),
            ("", "it is no address"),
            ("[10.0.0.2]", "it is no address"),
            ("tls://", "it is no address"),
            ("udp://10.0.0.2", "it is no address"),
            ("TLS://10.0.0.2", "it is no address"),
            ("tls://10.0.0.2:0853x", "it is no address"),
            ("10.0.0.2:0", "there is no port 0"),
            ("tls://10.0.0.2:0#dns.example", "there is no port 0"),
            (
                "tls://dns.example",
                "the address has to be given, and the name behind it: tls://192.0.2.1#dns.example",
            ),
            (
                "1.1.1.1#cloudflare-dns.com",
                "only a server over TLS has a name: tls://1.1.1.1#cloudflare-dns.com",
            ),
            ("tls://10.0.0.2#", "the host is empty"),
            ("tls://10.0.0.2#10.0.0.2", "an IP address is not a name"),
            ("tls://10.0.0.2#a b", "the name has a character other than letters, digits, '-', '_' and '.'"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap_err().to_string(), error, "{text}");
        }
    }
}
