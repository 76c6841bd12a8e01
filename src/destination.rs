//! Where a client wants to go.

use std::fmt;

use crate::host::{Host, HostError};

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub host: Host,
    pub port: u16,
}

impl Destination {
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Reads `host:port`, the port being required: the target of CONNECT (RFC 9110 §9.3.6).
    pub fn parse(authority: &str) -> Result<Self, HostError> {
        match split_port(authority)? {
            (host, Some(port)) => Ok(Self::new(Host::parse(host)?, port)),
            (host, None) => Host::parse(host).and(Err(HostError::PortMissing)),
        }
    }

    /// Reads `host` or `host:port`: a Host header, or the authority of a URI whose scheme has a default port.
    pub fn parse_or_default(authority: &str, default_port: u16) -> Result<Self, HostError> {
        let (host, port) = split_port(authority)?;
        Ok(Self::new(Host::parse(host)?, port.unwrap_or(default_port)))
    }

    /// Writes `host`, or `host:port` where the port is not the default one.
    pub fn authority(&self, default_port: u16) -> String {
        if self.port == default_port { self.host.to_string() } else { self.to_string() }
    }

    /// Whether `authority` is this destination in its canonical form, and so needs no parser to tell; others may
    /// mean it too. The port may be left out if it is the default one.
    pub fn is_written(&self, authority: &str, default_port: u16) -> bool {
        let Host::Name(name) = &self.host else { return false };
        let Some(rest) = authority.strip_prefix(name.as_str()) else { return false };
        matches!(split_port(rest), Ok(("", port)) if port.unwrap_or(default_port) == self.port)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Parts the port from the host; the host is left as it is for [`Host::parse`].
fn split_port(authority: &str) -> Result<(&str, Option<u16>), HostError> {
    // From the right, where a port is short, and where no colon of an address comes before the end of its brackets.
    let end = authority.bytes().rposition(|byte| matches!(byte, b':' | b']'));
    let Some((host, port)) =
        end.and_then(|end| Some((&authority[..end], authority[end..].strip_prefix(':')?)))
    else {
        return Ok((authority, None));
    };
    match port.parse() {
        // Leading zeros and signs are what `u16::from_str` would forgive.
        Ok(number) if port.starts_with(|first| matches!(first, '1'..='9')) => Ok((host, Some(number))),
        _ if authority.contains('@') => Err(HostError::UserInfo),
        _ if host.contains(':') && !host.contains(']') => Err(HostError::BareIpv6),
        _ => Err(HostError::BadPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_target_is_host_and_port() {
        for (text, canonical) in [
            ("Example.com:443", "example.com:443"),
            ("example.com.:8443", "example.com:8443"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1:443"),
        ] {
            assert_eq!(Destination::parse(text).map(|to| to.to_string()), Ok(canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn odd_targets_are_refused() {
        for (text, error) in [
            ("example.com", HostError::PortMissing),
            ("[::1]", HostError::PortMissing),
            ("example.com:", HostError::BadPort),
            ("example.com:0", HostError::BadPort),
            ("example.com:0443", HostError::BadPort),
            ("example.com:+443", HostError::BadPort),
            ("example.com:65536", HostError::BadPort),
            ("example.com:https", HostError::BadPort),
            ("example.com:443:443", HostError::BareIpv6),
            ("::1:443", HostError::BareIpv6),
            (":443", HostError::Empty),
            ("[::1]]:443", HostError::BadIpv6),
            ("user:password@example.com:443", HostError::UserInfo),
            ("user:password@example.com", HostError::UserInfo),
            ("[::1]x:443", HostError::BadIpv6),
            ("127.1:443", HostError::BadIpv4),
        ] {
            assert_eq!(Destination::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_in_the_canonical_form_means_it() {
        for (authority, to, is_written) in [
            ("a.example", "a.example:80", true),
            ("a.example:80", "a.example:80", true),
            ("a.example:8080", "a.example:8080", true),
            ("a.example", "a.example:8080", false),
            ("a.example:8080", "a.example:80", false),
            ("a.example:080", "a.example:80", false),
            ("a.example:+80", "a.example:80", false),
            ("a.example:", "a.example:80", false),
            ("a.example:80:80", "a.example:80", false),
            ("a.example.:80", "a.example:80", false),
            ("A.example:80", "a.example:80", false),
            ("a.examples", "a.example:80", false),
            ("b.example", "a.example:80", false),
            ("192.0.2.1", "192.0.2.1:80", false),
        ] {
            let to = Destination::parse(to).unwrap();
            assert_eq!(to.is_written(authority, 80), is_written, "{authority:?}");
            if is_written {
                assert_eq!(Destination::parse_or_default(authority, 80), Ok(to));
            }
        }
    }

    #[test]
    fn a_default_port_fills_in() {
        let to = Destination::parse_or_default("example.com", 80);
        assert_eq!(to, Ok(Destination::new(Host::parse("example.com").unwrap(), 80)));
        assert_eq!(Destination::parse_or_default("example.com:", 80), Err(HostError::BadPort));
    }

    #[test]
    fn a_default_port_is_left_out() {
        for (to, authority) in [
            ("a.example:80", "a.example"),
            ("a.example:443", "a.example:443"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
        ] {
            let to = Destination::parse(to).unwrap();
            assert_eq!(to.authority(80), authority);
            assert_eq!(Destination::parse_or_default(authority, 80), Ok(to));
        }
    }
}
