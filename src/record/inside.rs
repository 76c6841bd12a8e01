//! What was seen inside a flow, in an owned form that outlives the bytes it was read from.

use crate::host::Name;
use crate::policy::Seen;
use crate::record::clip;

/// Longest method that is kept; the registered ones have at most 17 letters.
const METHOD_MAX: usize = 32;
/// Longest path that is kept.
const PATH_MAX: usize = 1024;

/// What the first bytes of a flow showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inside {
    /// Nothing read yet.
    #[default]
    Unknown,
    /// Nothing will be read.
    Unread,
    Tls {
        server_name: Option<Name>,
        ech: bool,
    },
    Http {
        method: Box<str>,
        path: Box<str>,
    },
    /// Neither TLS nor HTTP.
    Other,
    /// A DNS question for records of this type.
    Question {
        kind: Box<str>,
    },
}

impl Inside {
    /// The same as a question to the policy.
    pub fn seen(&self) -> Seen<'_> {
        match self {
            // A question is judged by its name alone.
            Self::Unknown | Self::Question { .. } => Seen::Unknown,
            Self::Unread => Seen::Unread,
            Self::Tls { server_name, ech } => Seen::Tls { server_name: server_name.as_ref(), ech: *ech },
            Self::Http { method, path } => Seen::Http { method, path },
            Self::Other => Seen::Other,
        }
    }

    pub fn server_name(&self) -> Option<&Name> {
        match self {
            Self::Tls { server_name, .. } => server_name.as_ref(),
            _ => None,
        }
    }

    /// Whether a ClientHello had an Encrypted Client Hello in it.
    pub fn ech(&self) -> Option<bool> {
        match self {
            Self::Tls { ech, .. } => Some(*ech),
            _ => None,
        }
    }

    /// What is to be done with the destination: the method of a request, or the type that a question asks for.
    pub fn method(&self) -> Option<&str> {
        match self {
            Self::Http { method, .. } => Some(method),
            Self::Question { kind } => Some(kind),
            _ => None,
        }
    }

    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Http { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// Whatever follows `?` or `#` in a path is left out: it may hold credentials.
impl From<Seen<'_>> for Inside {
    fn from(seen: Seen<'_>) -> Self {
        match seen {
            Seen::Unknown => Self::Unknown,
            Seen::Unread => Self::Unread,
            Seen::Tls { server_name, ech } => Self::Tls { server_name: server_name.cloned(), ech },
            Seen::Http { method, path } => {
                let end = path.find(['?', '#']).unwrap_or(path.len());
                let path = clip(&path[..end], PATH_MAX).into();
                Self::Http { method: clip(method, METHOD_MAX).into(), path }
            }
            Seen::Other => Self::Other,
        }
    }
}
