//! Where a connection to an upstream comes from, and where it waits between two requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use crate::destination::Destination;
use crate::dial::{Reached, Source, Upstream};
use crate::gate::http::pool::{Lease, Pool};
use crate::lock::lock;

/// The home of the upstream connections of one client connection.
#[derive(Clone, Debug)]
pub enum Home {
    /// Requests to the proxy itself may go anywhere; their connections wait in a pool.
    Pool(Arc<Pool>),
    /// Requests inside a tunnel go where it leads, on its one connection.
    Tunnel(Arc<OnlyUpstream>),
    /// Requests on a connection that was redirected go wherever they say, each for itself.
    Redirected {
        pool: Arc<Pool>,
        /// The address that the client connected to.
        original: SocketAddr,
    },
}

/// The one upstream of a tunnel.
#[derive(Debug)]
pub struct OnlyUpstream {
    to: Destination,
    upstream: Mutex<Option<Waiting>>,
}

/// A tunnel's upstream while no request is on it.
#[derive(Debug)]
pub(super) enum Waiting {
    /// No request has passed yet.
    Dialled(Box<Upstream>),
    Idle(Lease),
}

impl Home {
    /// A tunnel whose connection stands.
    pub(super) fn tunnel(to: Destination, upstream: Box<Upstream>) -> Self {
        Self::Tunnel(Arc::new(OnlyUpstream { to, upstream: Mutex::new(Some(Waiting::Dialled(upstream))) }))
    }

    /// Whether nothing is left to send another request on.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Self::Pool(_) | Self::Redirected { .. } => false,
            Self::Tunnel(tunnel) => tunnel.upstream().is_none(),
        }
    }

    /// Ready once the one upstream that there is has ended between two requests.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Pool(_) | Self::Redirected { .. } => Poll::Pending,
            Self::Tunnel(tunnel) => match &mut *tunnel.upstream() {
                Some(Waiting::Idle(lease)) => lease.poll_ended(cx),
                Some(Waiting::Dialled(_)) | None => Poll::Pending,
            },
        }
    }

    /// Where the addresses for a new connection come from.
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Redirected { original, .. } => Source::Prefer(original.ip()),
            _ => Source::LookUp,
        }
    }

    /// Takes a connection back that may serve another request.
    pub(super) fn put(&self, mut lease: Lease) {
        let is_fit = lease.rest();
        match self {
            Self::Pool(pool) | Self::Redirected { pool, .. } if is_fit => pool.put(lease),
            Self::Pool(_) | Self::Redirected { .. } => {}
            // Whoever waits for its end is told if that has come already.
            Self::Tunnel(tunnel) => tunnel.put(Waiting::Idle(lease)),
        }
    }
}

impl Waiting {
    pub(super) fn reached(&self) -> &Reached {
        match self {
            Self::Dialled(upstream) => upstream.reached(),
            Self::Idle(lease) => lease.reached(),
        }
    }
}

impl OnlyUpstream {
    pub(super) fn to(&self) -> &Destination {
        &self.to
    }

    /// `None` once the upstream has closed, or while a request is on it.
    pub(super) fn take(&self) -> Option<Waiting> {
        self.upstream().take()
    }

    pub(super) fn put(&self, waiting: Waiting) {
        *self.upstream() = Some(waiting);
    }

    fn upstream(&self) -> MutexGuard<'_, Option<Waiting>> {
        lock(&self.upstream)
    }
}
