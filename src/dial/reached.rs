//! Where a connection leads, and which way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Through;
use crate::policy::outgoing::Outgoing;

/// Where a connection leads, as far as that is known here, and which way.
#[derive(Debug)]
pub struct Reached {
    /// The screened address; `None` where a parent looks the name up.
    pub address: Option<SocketAddr>,
    /// `None`: straight there.
    pub through: Option<Through>,
    /// How it leaves this host, where that was not left to the kernel.
    pub outgoing: Option<Arc<Outgoing>>,
}

/// Which way a connection takes, wherever it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Course {
    /// The parent's name; `None`: straight there.
    pub parent: Option<Arc<str>>,
    /// `None`: it leaves this host as the kernel likes.
    pub outgoing: Option<Arc<Outgoing>>,
}

impl Reached {
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }

    /// The name of the parent that it goes through.
    pub fn parent(&self) -> Option<&str> {
        self.through.as_ref().map(|through| &**through.parent())
    }

    pub fn course(&self) -> Course {
        let parent = self.through.as_ref().map(|through| Arc::clone(through.parent()));
        Course { parent, outgoing: self.outgoing.clone() }
    }
}
