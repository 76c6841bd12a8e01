//! The sockets of each door: bound here, or bound in a jail before.

use std::io;
use std::net::{self, SocketAddr};

use tokio::net::{TcpListener, UdpSocket};

use crate::client::Origin;
use crate::config::Listen;
use crate::server::StartError;
use crate::sys;

/// The sockets of each door, and where their clients are.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) origin: Origin,
    /// Where they are to be found from where exeat dials, if that is not where they listen.
    pub(super) outside: Option<Vec<SocketAddr>>,
    pub(super) explicit: Vec<TcpListener>,
    pub(super) transparent: Vec<TcpListener>,
    /// For both transports.
    pub(super) dns: Vec<(UdpSocket, TcpListener)>,
    pub(super) admin: Option<TcpListener>,
}

/// The sockets of a jail's doors: bound inside, and handed to whoever serves them from outside.
#[derive(Debug)]
pub struct Doors {
    pub explicit: Vec<net::TcpListener>,
    pub transparent: Vec<net::TcpListener>,
    /// For both transports.
    pub dns: Vec<(net::UdpSocket, net::TcpListener)>,
    /// Where they are to be found from outside; a jail with a network of its own has none that is.
    pub outside: Vec<SocketAddr>,
}

impl Listeners {
    pub(super) fn bind(listen: &Listen) -> Result<Self, StartError> {
        let transparent = bind(&listen.transparent)?;
        for listener in &transparent {
            // Only TPROXY needs this; REDIRECT and DNAT ask for nothing.
            if let Err(error) = sys::take_any_address(listener) {
                tracing::debug!(%error, "TPROXY needs CAP_NET_ADMIN");
            }
        }
        Ok(Self {
            origin: Origin::Network,
            outside: None,
            explicit: bind(&listen.explicit)?,
            transparent,
            dns: listen.dns.iter().map(bind_both).collect::<Result<_, _>>()?,
            admin: bind(listen.admin.as_slice())?.pop(),
        })
    }

    /// Sockets that stand in a jail already.
    pub(super) fn take(doors: Doors) -> Result<Self, StartError> {
        let all = |sockets: Vec<net::TcpListener>| sockets.into_iter().map(taken).collect::<io::Result<_>>();
        let both = |(socket, listener): (net::UdpSocket, _)| {
            socket.set_nonblocking(true)?;
            Ok((UdpSocket::from_std(socket)?, taken(listener)?))
        };
        Ok(Self {
            origin: Origin::Jail,
            outside: Some(doors.outside),
            explicit: all(doors.explicit)?,
            transparent: all(doors.transparent)?,
            dns: doors.dns.into_iter().map(both).collect::<io::Result<_>>()?,
            admin: None,
        })
    }

    /// Where DNS questions are answered, as far as they can be asked from where exeat asks its own.
    pub(super) fn questions(&self) -> Vec<SocketAddr> {
        match self.origin {
            Origin::Jail => Vec::new(),
            Origin::Network => addresses(self.dns.iter().map(|(_, listener)| listener)),
        }
    }

    /// Where exeat itself is to be found from where it dials.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        if let Some(outside) = &self.outside {
            return outside.clone();
        }
        let dns = self.dns.iter().map(|(_, listener)| listener);
        addresses(self.explicit.iter().chain(&self.transparent).chain(dns).chain(&self.admin))
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

fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    addresses.iter().map(bind_one).collect()
}

fn bind_one(address: &SocketAddr) -> Result<TcpListener, StartError> {
    let listener = sys::listen(*address).and_then(TcpListener::from_std);
    listener.map_err(|error| StartError::Listen(*address, error))
}

/// Binds an address for both transports; a port that is left to choose is the same for both.
fn bind_both(wanted: &SocketAddr) -> Result<(UdpSocket, TcpListener), StartError> {
    let failed = |error| StartError::Listen(*wanted, error);
    let listener = bind_one(wanted)?;
    let chosen = listener.local_addr().map_err(failed)?;
    let socket = sys::listen_udp(chosen).and_then(UdpSocket::from_std).map_err(failed)?;
    Ok((socket, listener))
}
