//! Whom a profile is for: one entry of its `clients`.

mod certificate;

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use crate::client::{Client, Leave, User, check_name};
use crate::network;

pub use self::certificate::{CertificatePattern, Lead, PatternError};

/// One entry: a network alone, as most are, or what else a client must have proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Network(IpNet),
    Named(Box<Named>),
    /// The flows that a person let do something once; no file says that.
    Leave(Leave),
}

/// A client that is known by more than its address. All that is asked must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub user: Option<UserPattern>,
    pub group: Option<Box<str>>,
    pub certificate: Option<CertificatePattern>,
    /// Where it comes from; empty: anywhere.
    pub from: Vec<IpNet>,
}

/// Which users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserPattern {
    /// Whoever has proved to be one.
    Any,
    Name(Box<str>),
}

/// How anyone at all is written.
const ANY: &str = "*";

impl Named {
    pub(super) fn holds(&self, client: &Client) -> bool {
        let user = client.user.as_deref();
        let certificate = client.certificate.as_deref();
        self.user.as_ref().is_none_or(|wanted| user.is_some_and(|user| wanted.matches(user)))
            && self.group.as_ref().is_none_or(|group| user.is_some_and(|user| user.groups.contains(group)))
            && self
                .certificate
                .as_ref()
                .is_none_or(|wanted| certificate.is_some_and(|certificate| wanted.matches(&certificate.name)))
            && (self.from.is_empty() || self.from.iter().any(|network| network.contains(&client.ip())))
    }
}

impl UserPattern {
    /// A name, or `*` for any. A name is never a pattern: who may choose one could choose into another's.
    pub fn new(text: &str) -> Self {
        if text == ANY { Self::Any } else { Self::Name(text.into()) }
    }

    fn matches(&self, user: &User) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => *name == user.name,
        }
    }
}

impl fmt::Display for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => ANY,
            Self::Name(name) => name,
        })
    }
}

/// As in a policy, where it is one word.
impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| -> Result<Box<str>, String> {
            check_name(name).map(|()| name.into()).map_err(|error| error.to_string())
        };
        let named = match text.split_once(':') {
            Some(("user", name)) => Named { user: Some(UserPattern::new(&named(name)?)), ..Named::default() },
            Some(("group", name)) => Named { group: Some(named(name)?), ..Named::default() },
            Some(("cert", name)) => {
                let pattern = CertificatePattern::parse(name).map_err(|error| error.to_string())?;
                Named { certificate: Some(pattern), ..Named::default() }
            }
            _ => {
                let network = network::parse(text).map(|network| Self::Network(network.trunc()));
                return network
                    .map_err(|error| format!("{error}, and no cert:, user: or group: with a name"));
            }
        };
        Ok(Self::Named(Box::new(named)))
    }
}

/// As in a policy.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Named(named) => named.fmt(f),
            Self::Leave(leave) => write!(f, "leave {}", leave.0),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, group, certificate, from } = self;
        let mut parts = Vec::new();
        parts.extend(user.as_ref().map(|user| ("user", user.to_string())));
        parts.extend(group.as_ref().map(|group| ("group", group.to_string())));
        parts.extend(certificate.as_ref().map(|certificate| ("cert", certificate.to_string())));
        if let ([(key, value)], []) = (&*parts, &**from) {
            return write!(f, "{key}:{value}");
        }
        let networks: Vec<_> = from.iter().map(ToString::to_string).collect();
        if !networks.is_empty() {
            parts.push(("from", format!("[{}]", networks.join(", "))));
        }
        let parts: Vec<_> = parts.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        write!(f, "{{ {} }}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_it_is_written() {
        let named = |named| Who::Named(Box::new(named)).to_string();
        let user = Some(UserPattern::new("alice"));
        let from = vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
        assert_eq!(named(Named { user: user.clone(), ..Named::default() }), "user:alice");
        assert_eq!(
            named(Named { user, from: from.clone(), ..Named::default() }),
            "{ user: alice, from: [10.0.0.0/8, 192.0.2.0/24] }"
        );
        let certificate = CertificatePattern::parse("spiffe://corp/ci/*").ok();
        assert_eq!(
            named(Named { group: Some("ci".into()), certificate, ..Named::default() }),
            "{ group: ci, cert: spiffe://corp/ci/* }"
        );
        assert_eq!(Who::Network(from[0]).to_string(), "10.0.0.0/8");
    }

    #[test]
    fn a_network_alone_stays_small() {
        assert!(size_of::<Who>() <= 24);
    }
}
