//! Where a connection leads, and which way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::HeaderValue;

use crate::error::{Error, ParentFailure, ParentFault};
use crate::parent::Parent;
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

/// The parent that a connection goes through.
#[derive(Clone, Debug)]
pub struct Through {
    parent: Arc<Parent>,
    /// Which of its URLs took it.
    url: Arc<str>,
    /// Whether requests on it are for the parent to read and to send on.
    forwards: bool,
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

    /// Where its socket may be connected again ([`Spares`](crate::spares::Spares)), if it goes straight there as the
    /// kernel likes.
    pub fn again(&self) -> Option<SocketAddr> {
        if self.through.is_none() && self.outgoing.is_none() { self.address } else { None }
    }

    pub fn course(&self) -> Course {
        let parent = self.through.as_ref().map(|through| Arc::clone(through.parent()));
        Course { parent, outgoing: self.outgoing.clone() }
    }
}

impl Through {
    pub(super) fn new(parent: Arc<Parent>, url: Arc<str>, forwards: bool) -> Self {
        Self { parent, url, forwards }
    }

    /// The parent's name.
    pub fn parent(&self) -> &Arc<str> {
        self.parent.name()
    }

    /// Whether there is no tunnel: requests name their destinations, and the parent sends them on.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// What shows the parent who asks.
    pub fn authorization(&self) -> Option<HeaderValue> {
        self.parent.authorization()
    }

    /// An answer of the parent's own, to a request that it should have sent on.
    pub fn answered(&self, status: u16) -> Error {
        let fault = ParentFault::Answer(status);
        ParentFailure { parent: Arc::clone(self.parent()), url: Arc::clone(&self.url), fault }.into()
    }
}
