//! What was seen inside a flow, in an owned form that outlives the bytes it was read from.

use crate::host::Name;
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
}

impl Inside {
    /// A request. Whatever follows `?` or `#` in the path is left out: it may hold credentials.
    pub fn http(method: &str, path: &str) -> Self {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        Self::Http { method: clip(method, METHOD_MAX).into(), path: clip(&path[..end], PATH_MAX).into() }
    }

    pub fn server_name(&self) -> Option<&Name> {
        match self {
            Self::Tls { server_name, .. } => server_name.as_ref(),
            _ => None,
        }
    }

    pub fn method(&self) -> Option<&str> {
        match self {
            Self::Http { method, .. } => Some(method),
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
