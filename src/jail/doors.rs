//! The sockets of the doors, made inside so that they are of the jail's network for ever.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::jail::addresses::{DNS_PORT, DOOR_V4, DOOR_V6, EXPLICIT_PORT, TRANSPARENT_PORT};
use crate::jail::channel::{DESCRIPTORS_MAX, Standing};
use crate::jail::redirect::Redirect;
use crate::server::Doors;
use crate::sys;

/// Ports that are listened on where nothing redirects: each takes one descriptor of a message that has room for
/// so many, beside the other doors'.
pub(super) const PORTS_MAX: usize = DESCRIPTORS_MAX - 8;
/// Threads among which connections are spread. Each has seven sockets: one of the explicit door, and for both families
/// one of the transparent door and two of DNS (with IPv4 alone four).
const WORKERS_MAX: usize = 16;
const _: () = assert!(7 * WORKERS_MAX <= DESCRIPTORS_MAX);

/// How many threads are to serve the doors: as many as the settings say, or one for each core.
pub(super) fn workers(wanted: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    wanted.unwrap_or_else(cores).clamp(1, WORKERS_MAX)
}

#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) explicit: Vec<TcpListener>,
    pub(super) transparent: Vec<TcpListener>,
    pub(super) dns: Vec<(UdpSocket, TcpListener)>,
}

impl Sockets {
    /// Opens every door, with a socket for each of the outside's threads; without a redirection one on each port,
    /// whatever the address.
    pub(super) fn open(redirect: Redirect, ports: &[u16], workers: usize) -> io::Result<Self> {
        // Where there is one for each port, these are many already.
        let workers = if redirect == Redirect::Nothing { 1 } else { workers };
        let has_v6 = sys::listen_udp_each((Ipv6Addr::UNSPECIFIED, 0).into(), 1).is_ok();
        let v4 = |port| SocketAddr::from((DOOR_V4, port));
        let v6 = |port| has_v6.then_some(SocketAddr::from((DOOR_V6, port)));
        let any = |port| match has_v6 {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        };
        let (transparent, dns): (Vec<_>, Vec<_>) = match redirect {
            Redirect::Nft | Redirect::Iptables => (
                [Some(v4(TRANSPARENT_PORT)), v6(TRANSPARENT_PORT)].into_iter().flatten().collect(),
                [Some(v4(DNS_PORT)), v6(DNS_PORT)].into_iter().flatten().collect(),
            ),
            Redirect::Nothing => {
                let free = |port: &u16| ![DNS_PORT, EXPLICIT_PORT].contains(port);
                (ports.iter().copied().filter(free).map(any).collect(), vec![any(DNS_PORT)])
            }
        };
        let mut sockets = Self {
            explicit: sys::listen_each(v4(EXPLICIT_PORT), workers)?,
            transparent: Vec::new(),
            dns: Vec::new(),
        };
        for address in transparent {
            sockets.transparent.extend(sys::listen_each(address, workers)?);
        }
        for address in dns {
            sockets.dns.extend(sys::listen_both_each(address, workers)?);
        }
        Ok(sockets)
    }

    /// All of them in the order in which [`take`] finds them.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let listeners = self.explicit.iter().chain(&self.transparent).map(AsFd::as_fd);
        let dns = self.dns.iter().flat_map(|(socket, listener)| [socket.as_fd(), listener.as_fd()]);
        listeners.chain(dns).collect()
    }
}

/// The doors, from the descriptors that came with the news that they stand; `None` if there are not as many as that
/// says.
pub(super) fn take(standing: &Standing, descriptors: Vec<OwnedFd>, workers: usize) -> Option<Doors> {
    if descriptors.len() != standing.explicit + standing.transparent + 2 * standing.dns {
        return None;
    }
    let mut descriptors = descriptors.into_iter();
    let explicit = descriptors.by_ref().take(standing.explicit).map(TcpListener::from).collect();
    let transparent = descriptors.by_ref().take(standing.transparent).map(TcpListener::from).collect();
    let mut dns = Vec::new();
    while let (Some(socket), Some(listener)) = (descriptors.next(), descriptors.next()) {
        dns.push((UdpSocket::from(socket), TcpListener::from(listener)));
    }
    Some(Doors { explicit, transparent, dns, workers, outside: Vec::new() })
}
