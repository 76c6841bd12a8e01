//! One flow as a policy would have to allow it.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::destination::Destination;
use crate::host::Name;
use crate::ingress::Ingress;
use crate::policy::Seen;
use crate::reason::Reason;
use crate::record::{Inside, Record};

/// A flow that ended, as far as it matters to a policy.
#[derive(Clone, Debug)]
pub struct Observation {
    pub time: Timestamp,
    pub ingress: Ingress,
    pub client: IpAddr,
    /// The user or certificate that the client proved to be, so that its address is not all that it is known by.
    pub name: Option<Box<str>>,
    /// The profiles that took part.
    pub profiles: Vec<Box<str>>,
    /// `None` where nobody could read where the client wanted to go.
    pub to: Option<Destination>,
    pub sight: Sight,
    /// The upstream's address, if there was a connection.
    pub address: Option<IpAddr>,
    pub reason: Reason,
}

/// What was inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing was said, or nobody looked.
    Unknown,
    Tls {
        server_name: Name,
        ech: bool,
    },
    Http {
        method: Box<str>,
        path: Box<str>,
    },
    /// What no rule can see into: neither TLS nor HTTP, or TLS that names no server.
    Other,
}

impl Sight {
    /// The same as a question to the policy.
    pub fn seen(&self) -> Seen<'_> {
        match self {
            Self::Unknown => Seen::Unknown,
            Self::Tls { server_name, ech } => Seen::Tls { server_name: Some(server_name), ech: *ech },
            Self::Http { method, path } => Seen::Http { method, path },
            Self::Other => Seen::Other,
        }
    }
}

impl From<&Record> for Observation {
    fn from(record: &Record) -> Self {
        let moved = record.sent > 0 || record.received > 0;
        let sight = match &record.inside {
            Inside::Tls { server_name: Some(server_name), ech } => {
                Sight::Tls { server_name: server_name.clone(), ech: *ech }
            }
            Inside::Tls { server_name: None, .. } | Inside::Other => Sight::Other,
            Inside::Http { method, path } => Sight::Http { method: method.clone(), path: path.clone() },
            // Nobody looked because a rule says so, and whatever passed was no business of exeat's.
            Inside::Unread if moved => Sight::Other,
            Inside::Unknown | Inside::Unread | Inside::Question { .. } => Sight::Unknown,
        };
        Self {
            time: record.time,
            ingress: record.ingress,
            client: record.client.ip(),
            name: record.client.name().map(Box::from),
            profiles: record.profiles.iter().flat_map(|names| names.iter().cloned()).collect(),
            to: record.to.clone(),
            sight,
            address: record.address,
            reason: record.reason.unwrap_or(Reason::Internal),
        }
    }
}
