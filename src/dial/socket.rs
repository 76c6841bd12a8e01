//! The sockets of connections to upstreams: left to the kernel, or leaving this host as they were told to.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::families::Families;
use crate::policy::outgoing::Outgoing;
use crate::spares::Spares;
use crate::sys;

/// Connects. What was told holds from the first packet on, or there is none. It is left to others to keep it alive.
pub(super) async fn connect(
    address: SocketAddr,
    outgoing: Option<&Outgoing>,
    spares: &Spares,
) -> io::Result<TcpStream> {
    let socket = match outgoing {
        None => spares.take(address).map_or_else(|| socket(address.ip()), Ok),
        Some(outgoing) => socket_leaving(address.ip(), outgoing),
    }?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        begun => begun?,
    }
    let stream = TcpStream::from_std(socket.into())?;
    poll_fn(|cx| stream.poll_write_ready(cx)).await?;
    if let Some(error) = failure(&stream)? {
        return Err(error);
    }
    Ok(stream)
}

/// Why a connection that is no longer under way does not stand. The kernel is asked for its error (SO_ERROR) only where
/// it has told of one (EPOLLERR), as it does of each that failed: most stand, and need no system call to say so.
fn failure(stream: &TcpStream) -> io::Result<Option<io::Error>> {
    match stream.try_io(Interest::ERROR, || stream.take_error()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        failure => failure,
    }
}

/// Whether connections can leave like that as things are now, by making their sockets; nothing is sent.
pub fn try_out(outgoing: &Outgoing) -> io::Result<()> {
    let one = match outgoing.families() {
        Families::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    socket_leaving(one, outgoing)?;
    match outgoing.source_v6 {
        Some(v6) => socket_leaving(IpAddr::V6(v6), outgoing).map(drop),
        None => Ok(()),
    }
}

/// A socket for a connection to an address of this family, which will send at once.
fn socket(to: IpAddr) -> io::Result<Socket> {
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
    sys::send_at_once(&socket)?;
    Ok(socket)
}

/// The same, for one that leaves this host as it was told to.
fn socket_leaving(to: IpAddr, outgoing: &Outgoing) -> io::Result<Socket> {
    let socket = socket(to)?;
    if let Some(mark) = outgoing.mark {
        let failed = |error| told(&error, Errno::PERM, "needs CAP_NET_ADMIN", format!("the mark {mark:#x}"));
        socket.set_mark(mark.get()).map_err(failed)?;
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
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(failed)?;
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
