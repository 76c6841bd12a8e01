//! The sockets of connections to upstreams: left to the kernel, or leaving this host as they were told to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use crate::families::Families;
use crate::policy::outgoing::Outgoing;
use crate::sys;

/// Connects. What was told holds from the first packet on, or there is none. It is left to others to keep it alive.
pub(super) async fn connect(address: SocketAddr, outgoing: Option<&Outgoing>) -> io::Result<TcpStream> {
    let stream = match outgoing {
        None => TcpStream::connect(address).await?,
        Some(outgoing) => socket(address.ip(), outgoing)?.connect(address).await?,
    };
    sys::send_at_once(&stream)?;
    Ok(stream)
}

/// Whether connections can leave like that as things are now, by making their sockets; nothing is sent.
pub fn try_out(outgoing: &Outgoing) -> io::Result<()> {
    let one = match outgoing.families() {
        Families::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    socket(one, outgoing)?;
    match outgoing.source_v6 {
        Some(v6) => socket(IpAddr::V6(v6), outgoing).map(drop),
        None => Ok(()),
    }
}

/// A socket for a connection to an address of this family.
fn socket(to: IpAddr, outgoing: &Outgoing) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(mark) = outgoing.mark {
        let failed = |error| told(&error, Errno::PERM, "needs CAP_NET_ADMIN", format!("the mark {mark:#x}"));
        SockRef::from(&socket).set_mark(mark.get()).map_err(failed)?;
    }
    if let Some(interface) = &outgoing.interface {
        let failed = |error| told(&error, Errno::NODEV, "is not there", format!("the interface {interface}"));
        socket.bind_device(Some(interface.as_bytes())).map_err(failed)?;
    }
    if let Some(source) = outgoing.source_for(to) {
        let failed = |error| {
            let what = format!("the source address {source}");
            told(&error, Errno::ADDRNOTAVAIL, "is not one of this host", what)
        };
        sys::choose_port_late(&socket)?;
        socket.bind(SocketAddr::new(source, 0)).map_err(failed)?;
    }
    Ok(socket)
}

/// An error with what it is about, and with the usual cause in words.
fn told(error: &io::Error, usual: Errno, words: &str, what: String) -> io::Error {
    let text = match Errno::from_io_error(error) {
        Some(errno) if errno == usual => format!("{what} {words}"),
        _ => format!("{what} can't be used: {error}"),
    };
    io::Error::new(error.kind(), text)
}
