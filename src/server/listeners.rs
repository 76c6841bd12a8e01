//! The sockets of each door: bound here, or bound in a jail before.

use std::io;
use std::net::{self, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::time::sleep;

use crate::client::Origin;
use crate::config::Listen;
use crate::server::StartError;
use crate::server::workers::Workers;
use crate::sys;

/// File descriptors don't come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The sockets of each door, and where their clients are.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) origin: Origin,
    /// Where they are to be found from where exeat dials, if that is not where they listen.
    pub(super) outside: Option<Vec<SocketAddr>>,
    /// One for each worker.
    pub(super) shares: Vec<Share>,
    pub(super) admin: Option<TcpListener>,
}

/// The sockets through which flows come to one worker; those of all workers have the same addresses.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) explicit: Vec<TcpListener>,
    pub(super) transparent: Vec<TcpListener>,
    /// For both transports.
    pub(super) dns: Vec<(UdpSocket, TcpListener)>,
}

/// The sockets of a jail's doors: bound inside, and handed to whoever serves them from outside.
#[derive(Debug)]
pub struct Doors {
    pub explicit: Vec<net::TcpListener>,
    pub transparent: Vec<net::TcpListener>,
    /// For both transports.
    pub dns: Vec<(net::UdpSocket, net::TcpListener)>,
    /// How many threads share them; of each address there is one socket for each, one after the other.
    pub workers: usize,
    /// Where they are to be found from outside; a jail with a network of its own has none that is.
    pub outside: Vec<SocketAddr>,
}

impl Listeners {
    pub(super) fn bind(listen: &Listen, workers: &Workers) -> Result<Self, StartError> {
        let mut shares: Vec<Share> = workers.runtimes().map(|_| Share::default()).collect();
        for address in listen.explicit.iter().map(|listener| listener.address) {
            for (share, listener) in shares.iter_mut().zip(bind(address, workers)?) {
                share.explicit.push(listener);
            }
        }
        for address in listen.transparent.iter().map(|listener| listener.address) {
            for (share, listener) in shares.iter_mut().zip(bind(address, workers)?) {
                // Only TPROXY needs this; REDIRECT and DNAT ask for nothing.
                if let Err(error) = sys::take_any_address(&listener) {
                    tracing::debug!(%error, "TPROXY needs CAP_NET_ADMIN");
                }
                share.transparent.push(listener);
            }
        }
        for address in listen.dns.iter().map(|listener| listener.address) {
            for (share, sockets) in shares.iter_mut().zip(bind_both(address, workers)?) {
                share.dns.push(sockets);
            }
        }
        let admin = listen.admin.map(|address| {
            let listener = sys::listen(address).and_then(TcpListener::from_std);
            listener.map_err(|error| StartError::Listen(address, error))
        });
        Ok(Self { origin: Origin::Network, outside: None, shares, admin: admin.transpose()? })
    }

    /// Sockets that stand in a jail already, dealt out among the workers.
    pub(super) fn take(doors: Doors, workers: &Workers) -> io::Result<Self> {
        let mut shares: Vec<Share> = workers.runtimes().map(|_| Share::default()).collect();
        let both = |(socket, listener): (net::UdpSocket, _)| {
            socket.set_nonblocking(true)?;
            Ok((UdpSocket::from_std(socket)?, taken(listener)?))
        };
        for (turn, listener) in workers.deal(doors.explicit, taken)? {
            shares[turn].explicit.push(listener);
        }
        for (turn, listener) in workers.deal(doors.transparent, taken)? {
            shares[turn].transparent.push(listener);
        }
        for (turn, sockets) in workers.deal(doors.dns, both)? {
            shares[turn].dns.push(sockets);
        }
        Ok(Self { origin: Origin::Jail, outside: Some(doors.outside), shares, admin: None })
    }

    pub(super) fn explicit_addresses(&self) -> Vec<SocketAddr> {
        self.shares.first().map(|share| addresses(&share.explicit)).unwrap_or_default()
    }

    pub(super) fn transparent_addresses(&self) -> Vec<SocketAddr> {
        self.shares.first().map(|share| addresses(&share.transparent)).unwrap_or_default()
    }

    pub(super) fn dns_addresses(&self) -> Vec<SocketAddr> {
        let dns = self.shares.first().into_iter().flat_map(|share| &share.dns);
        addresses(dns.map(|(_, listener)| listener))
    }

    /// How many listeners carry flows.
    pub(super) fn count(&self) -> usize {
        let count = |share: &Share| share.explicit.len() + share.transparent.len() + share.dns.len();
        self.shares.iter().map(count).sum()
    }

    /// Where DNS questions are answered, as far as they can be asked from where exeat asks its own.
    pub(super) fn questions(&self) -> Vec<SocketAddr> {
        match self.origin {
            Origin::Jail => Vec::new(),
            Origin::Network => self.dns_addresses(),
        }
    }

    /// Where exeat itself is to be found from where it dials.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        if let Some(outside) = &self.outside {
            return outside.clone();
        }
        let admin = addresses(&self.admin);
        [self.explicit_addresses(), self.transparent_addresses(), self.dns_addresses(), admin].concat()
    }
}

/// The addresses that listeners are bound to.
pub(super) fn addresses<'a>(listeners: impl IntoIterator<Item = &'a TcpListener>) -> Vec<SocketAddr> {
    listeners.into_iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn taken(listener: net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Listeners at one address, one on each worker.
fn bind(address: SocketAddr, workers: &Workers) -> Result<Vec<TcpListener>, StartError> {
    let listeners = sys::listen_each(address, workers.count())
        .and_then(|listeners| workers.each(listeners, TcpListener::from_std));
    listeners.map_err(|error| StartError::Listen(address, error))
}

/// An address bound for both transports, on each worker.
fn bind_both(address: SocketAddr, workers: &Workers) -> Result<Vec<(UdpSocket, TcpListener)>, StartError> {
    let both = |(socket, listener)| Ok((UdpSocket::from_std(socket)?, TcpListener::from_std(listener)?));
    let sockets =
        sys::listen_both_each(address, workers.count()).and_then(|sockets| workers.each(sockets, both));
    sockets.map_err(|error| StartError::Listen(address, error))
}

/// The one address at which all its connections arrive, unless it listens at every address of the host, or takes
/// those of others.
pub(super) fn only_address(listener: &TcpListener) -> Option<SocketAddr> {
    let is_one = |address: &SocketAddr| !address.ip().to_canonical().is_unspecified();
    listener.local_addr().ok().filter(is_one).filter(|_| !sys::takes_any_address(listener))
}

/// Waits after a failed accept.
pub(super) async fn pause(error: io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
    sleep(ACCEPT_PAUSE).await;
}
