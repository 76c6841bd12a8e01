//! What a person asks about: a host, a host and port, or a URL, and the answer to it.

use std::iter;

use jiff::civil::Date;

use crate::destination::Destination;
use crate::host::{Host, HostError};
use crate::policy::pattern::Pattern;
use crate::policy::{Policy, Question, Seen, Subject};

/// A destination as a person names it, and what is assumed to be inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub to: Destination,
    pub inside: Inside,
}

/// What is assumed to be inside a connection that nobody opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// A ClientHello with the destination's name: `https://`, and port 443.
    Tls,
    /// A request: `http://`, and port 80.
    Http { method: String, path: String },
    /// Whichever of TLS, HTTP and anything else a rule allows.
    Any,
}

/// Why a text names no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("the scheme {0:?} is neither http nor https")]
    Scheme(String),
    #[error("a path needs http:// or https:// before the host")]
    Path,
}

impl Asked {
    /// Reads `HOST`, `HOST:PORT` or a URL; without either the port is 443. Names may be written in
    /// Unicode here, as in a policy.
    pub fn parse(text: &str) -> Result<Self, AskedError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        match scheme.as_deref() {
            None if !target.is_empty() => Err(AskedError::Path),
            None => {
                let to = destination(authority, 443)?;
                let inside = Inside::usual(to.port);
                Ok(Self { to, inside })
            }
            Some("https") => Ok(Self { to: destination(authority, 443)?, inside: Inside::Tls }),
            Some("http") => {
                let path = target.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
                let inside = Inside::Http { method: "GET".to_owned(), path: path.to_owned() };
                Ok(Self { to: destination(authority, 80)?, inside })
            }
            Some(other) => Err(AskedError::Scheme(other.to_owned())),
        }
    }

    /// The question as far as it can be put without a connection: the address a name leads to is unknown. Where anything
    /// may be inside, it is about what the policy allows.
    pub fn question(&self, policy: &Policy, subject: &Subject, today: Date) -> Question<'_> {
        let about = |seen| Question { to: &self.to, seen, address: None };
        let tls = about(Seen::Tls { server_name: self.to.host.name(), ech: false });
        match &self.inside {
            Inside::Tls => tls,
            Inside::Http { method, path } => about(Seen::Http { method, path }),
            Inside::Any => {
                let others = [Seen::Http { method: "GET", path: "/" }, Seen::Other].map(about);
                let allows = |question: &Question<'_>| {
                    let verdict = policy.decide(subject, question, today);
                    verdict.is_allow() && !verdict.would_deny
                };
                iter::once(tls).chain(others).find(allows).unwrap_or(tls)
            }
        }
    }
}

impl Inside {
    /// What a port is mostly used for.
    fn usual(port: u16) -> Self {
        match port {
            443 => Self::Tls,
            80 => Self::Http { method: "GET".to_owned(), path: "/".to_owned() },
            _ => Self::Any,
        }
    }
}

fn destination(authority: &str, port: u16) -> Result<Destination, HostError> {
    if authority.is_ascii() {
        // An IPv6 address alone is no authority, but there is one way to read it here.
        if let Ok(address) = authority.parse::<std::net::Ipv6Addr>() {
            return Ok(Destination::new(Host::from(std::net::IpAddr::V6(address)), port));
        }
        return Destination::parse_or_default(authority, port);
    }
    let (host, port_text) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let name = Pattern::parse(host).ok().filter(|pattern| !pattern.is_wildcard());
    let name = name.ok_or(HostError::BadCharacter)?.to_string();
    match port_text {
        Some(port) => Destination::parse(&format!("{name}:{port}")),
        None => Destination::parse_or_default(&name, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_names_a_destination_in_several_ways() {
        let http = |path: &str| Inside::Http { method: "GET".into(), path: path.into() };
        for (text, to, inside) in [
            ("example.com", "example.com:443", Inside::Tls),
            ("Example.com:443", "example.com:443", Inside::Tls),
            ("example.com:80", "example.com:80", http("/")),
            ("example.com:22", "example.com:22", Inside::Any),
            ("https://example.com/a?b", "example.com:443", Inside::Tls),
            ("https://example.com:8443", "example.com:8443", Inside::Tls),
            ("HTTP://example.com", "example.com:80", http("/")),
            ("http://example.com/pub/x?q=1#f", "example.com:80", http("/pub/x")),
            ("http://example.com?q", "example.com:80", http("/")),
            ("bücher.example:8080", "xn--bcher-kva.example:8080", Inside::Any),
            ("192.0.2.1", "192.0.2.1:443", Inside::Tls),
            ("2001:db8::1", "[2001:db8::1]:443", Inside::Tls),
            ("[2001:db8::1]:22", "[2001:db8::1]:22", Inside::Any),
        ] {
            let asked = Asked::parse(text).unwrap();
            assert_eq!((asked.to.to_string().as_str(), asked.inside), (to, inside), "{text}");
        }
    }

    #[test]
    fn what_names_no_destination_is_refused() {
        for (text, error) in [
            ("", AskedError::Host(HostError::Empty)),
            ("example.com/a", AskedError::Path),
            ("ftp://example.com", AskedError::Scheme("ftp".into())),
            ("*.example.com", AskedError::Host(HostError::BadCharacter)),
            ("*.bücher.example", AskedError::Host(HostError::BadCharacter)),
            ("https://user@example.com", AskedError::Host(HostError::UserInfo)),
            ("example.com:0", AskedError::Host(HostError::BadPort)),
        ] {
            assert_eq!(Asked::parse(text), Err(error), "{text}");
        }
    }
}
