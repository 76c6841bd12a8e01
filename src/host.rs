//! The one canonical form of a host, and the only parser that makes it.
//!
//! CONNECT targets, Host headers, server names, DNS questions, policy patterns and the command line
//! all come through here, so the value that is matched is the value that is dialled and recorded.
//! Nothing is repaired: what has no single certain reading is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Longest name in text form, without the trailing dot (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// A destination host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address; an IPv4-mapped IPv6 address is the IPv4 one.
    Ip(IpAddr),
    /// A domain name.
    Name(Name),
}

/// A domain name: lower-case ASCII letters, digits, hyphens and underscores, no trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the host is empty")]
    Empty,
    #[error("the name is longer than 253 characters")]
    NameTooLong,
    #[error("a label of the name is longer than 63 characters")]
    LabelTooLong,
    #[error("the name has an empty label")]
    EmptyLabel,
    #[error("the name has a character other than letters, digits, '-', '_' and '.'")]
    BadCharacter,
    #[error("a label of the name starts or ends with '-'")]
    BadHyphen,
    #[error("an IPv4 address must be four decimal numbers without leading zeros")]
    BadIpv4,
    #[error("the brackets do not hold an IPv6 address")]
    BadIpv6,
    #[error("an IPv6 zone id is not allowed")]
    ZoneId,
    #[error("an IPv6 address must stand in brackets")]
    BareIpv6,
    #[error("user information before '@' is not allowed")]
    UserInfo,
    #[error("an IP address is not a name")]
    NotAName,
    #[error("the port is missing")]
    PortMissing,
    #[error("the port must be a number from 1 to 65535 without leading zeros")]
    BadPort,
}

impl Host {
    /// Reads a host as it stands in an authority: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(rest) = text.strip_prefix('[') {
            let literal = rest.strip_suffix(']').ok_or(HostError::BadIpv6)?;
            if literal.contains('%') {
                return Err(HostError::ZoneId);
            }
            let address: Ipv6Addr = literal.parse().map_err(|_| HostError::BadIpv6)?;
            return Ok(Self::from(IpAddr::V6(address)));
        }
        // Most hosts are names. What else it is, or was meant to be, is asked of the others alone.
        let error = match Name::parse(text) {
            Ok(name) => return Ok(Self::Name(name)),
            Err(error) => error,
        };
        if text.contains('@') {
            return Err(HostError::UserInfo);
        }
        if text.contains(':') {
            return Err(HostError::BareIpv6);
        }
        if looks_like_ipv4(text.strip_suffix('.').unwrap_or(text)) {
            // A trailing dot after an address has no meaning that resolvers agree on.
            let address: Ipv4Addr = text.parse().map_err(|_| HostError::BadIpv4)?;
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        Err(error)
    }

    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

/// As it stands in an authority: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Name {
    /// Reads a domain name; an address in any notation is not one.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(HostError::NameTooLong);
        }
        // Over bytes: labels are shorter than what searches in a text are made for.
        for label in name.as_bytes().split(|&byte| byte == b'.') {
            check_label(label)?;
        }
        if looks_like_ipv4(name) {
            return Err(HostError::NotAName);
        }
        let mut canonical: Arc<str> = Arc::from(name);
        if let Some(text) = Arc::get_mut(&mut canonical) {
            text.make_ascii_lowercase();
        }
        Ok(Self(canonical))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Which bytes are letters, digits, hyphens or underscores: a table, since each byte of each name is looked up.
const IN_LABELS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'-' || byte as u8 == b'_';
        byte += 1;
    }
    table
};

/// Letters, digits, hyphen (not at an end) and underscore, which real service names use.
fn check_label(label: &[u8]) -> Result<(), HostError> {
    if label.is_empty() {
        return Err(HostError::EmptyLabel);
    }
    if label.len() > LABEL_MAX {
        return Err(HostError::LabelTooLong);
    }
    if !label.iter().all(|&byte| IN_LABELS[usize::from(byte)]) {
        return Err(HostError::BadCharacter);
    }
    if label.starts_with(b"-") || label.ends_with(b"-") {
        return Err(HostError::BadHyphen);
    }
    Ok(())
}

/// Whether some resolver would read it as an IPv4 address: the last label is a number, in decimal
/// or hexadecimal (`127.1`, `0x7f.1`, `2130706433`). The WHATWG URL standard draws the line here too.
fn looks_like_ipv4(name: &str) -> bool {
    let last = name.bytes().rposition(|byte| byte == b'.').map_or(name, |dot| &name[dot + 1..]);
    // Of most names the first letter of the last label says that it is no number.
    if !last.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    match last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_canonical_form() {
        for (text, canonical) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.2.3.4", "1.2.3.4"),
            ("1and1.com", "1and1.com"),
            ("0xy.com", "0xy.com"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Host::parse(text).map(|host| host.to_string()), Ok(canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_has_no_certain_reading_is_refused() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = format!("{}com", "abcdefg.".repeat(32));
        for (text, error) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("..", HostError::EmptyLabel),
            ("a..b", HostError::EmptyLabel),
            (".example.com", HostError::EmptyLabel),
            ("example.com..", HostError::EmptyLabel),
            (&long_label, HostError::LabelTooLong),
            (&long_name, HostError::NameTooLong),
            ("exa mple.com", HostError::BadCharacter),
            ("example.com\0", HostError::BadCharacter),
            ("b\u{fc}cher.example", HostError::BadCharacter),
            ("example%2ecom", HostError::BadCharacter),
            ("example\u{3002}com", HostError::BadCharacter),
            ("*.example.com", HostError::BadCharacter),
            ("-a.example", HostError::BadHyphen),
            ("a-.example", HostError::BadHyphen),
            ("127.1", HostError::BadIpv4),
            ("0x7f.1", HostError::BadIpv4),
            ("0x7f000001", HostError::BadIpv4),
            ("2130706433", HostError::BadIpv4),
            ("0177.0.0.1", HostError::BadIpv4),
            ("127.0.0.01", HostError::BadIpv4),
            ("1.2.3.4.", HostError::BadIpv4),
            ("1.2.3.4.5", HostError::BadIpv4),
            ("example.0x", HostError::BadIpv4),
            ("user@example.com", HostError::UserInfo),
            ("::1", HostError::BareIpv6),
            ("[::1", HostError::BadIpv6),
            ("[1.2.3.4]", HostError::BadIpv6),
            ("[example.com]", HostError::BadIpv6),
            ("[::1]x", HostError::BadIpv6),
            ("[[::1]]", HostError::BadIpv6),
            ("[fe80::1%eth0]", HostError::ZoneId),
            ("[fe80::1%25eth0]", HostError::ZoneId),
        ] {
            assert_eq!(Host::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_never_a_name() {
        for text in ["1.2.3.4", "127.1", "0x7f.1"] {
            assert_eq!(Name::parse(text), Err(HostError::NotAName), "{text}");
        }
    }
}
