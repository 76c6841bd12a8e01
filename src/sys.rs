//! What exeat asks of the operating system.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// How many connections may wait on a listener to be accepted; the kernel cuts it to `net.core.somaxconn`. A worker
/// that can't keep up serves them in order, so this is how long they wait: 0.1 s at 10,000 a second. With more, those
/// whose turn it is may have given up. The kernel ignores who comes beyond that, and clients try again after a second.
const BACKLOG: i32 = 1024;

/// How many ports are tried for one that is free for both transports, where the choice is the kernel's.
const CHOICES: usize = 64;

/// The bit of a packet's mark that says that TPROXY gave it to exeat: routes of the lockdown lead it there.
pub const TAKEN: u32 = 0x0200_0000;

/// Load balancers and NATs forget a connection that was silent for about 350 s: a probe each minute
/// keeps theirs, and a peer that is gone is found out after 180 s.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(30))
    .with_retries(4);

/// Raises the limit on open files as far as this user may, and returns the limit in force. A
/// failure is no error: what is returned is what the settings are clamped to.
pub fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    limit.unwrap_or(u64::MAX)
}

/// Binds a non-blocking listener; `[::]` takes IPv4 too. The connections it accepts are tuned
/// already: on Linux they inherit the options of [`tune`] from their listener, at no system call each.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// So many listeners at one address, among which the kernel spreads the connections.
pub fn listen_each(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let sockets = share(address, Type::STREAM, count)?;
    sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// So many non-blocking UDP sockets at one address, among which the kernel spreads the datagrams by where they
/// come from.
pub fn listen_udp_each(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    Ok(share(address, Type::DGRAM, count)?.into_iter().map(UdpSocket::from).collect())
}

/// So many of both kinds at one address. A port that is left to choose is the same for both: the kernel chooses one that
/// is free for TCP, and for UDP it may be another's.
pub fn listen_both_each(address: SocketAddr, count: usize) -> io::Result<Vec<(UdpSocket, TcpListener)>> {
    // Held until there is one, so that each choice is another.
    let mut in_vain = Vec::new();
    loop {
        let listeners = listen_each(address, count)?;
        let chosen = listeners.first().map_or(Ok(address), TcpListener::local_addr)?;
        match listen_udp_each(chosen, count) {
            Ok(sockets) => return Ok(sockets.into_iter().zip(listeners).collect()),
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && address.port() == 0
                    && in_vain.len() < CHOICES =>
            {
                in_vain.push(listeners);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sockets at one address (SO_REUSEPORT). The first is bound as if it were to be the only one, so that the
/// address can't be another's: a second exeat would not fail, but take a half of the first one's connections.
fn share(address: SocketAddr, kind: Type, count: usize) -> io::Result<Vec<Socket>> {
    let first = open(address, kind)?;
    first.bind(&address.into())?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    if count > 1 {
        sockets[0].set_reuse_port(true)?;
    }
    while sockets.len() < count {
        let socket = open(address, kind)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A socket that is to be bound to an address.
fn open(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        // A restart must not wait for the connections of the last run to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
        tune(&socket)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sets the options of every TCP connection: no delay for small writes, and probes while silent.
pub fn tune(socket: &impl AsFd) -> io::Result<()> {
    send_at_once(socket)?;
    keep_alive(socket)
}

/// Lets small writes wait for nothing.
pub fn send_at_once(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// Has the kernel probe a silent connection. It costs four system calls.
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_keepalive(&KEEPALIVE)
}

/// Lets a socket that is bound to an address have its port only when it connects: then many may have the same one, each
/// to somewhere else. Bound at once, all connections from an address share the 28,232 ports of
/// `net.ipv4.ip_local_port_range`. The option of IPv4 does for IPv6 too (ip(7), IP_BIND_ADDRESS_NO_PORT).
pub fn choose_port_late(socket: &impl AsFd) -> io::Result<()> {
    IpBindAddressNoPort.set(socket, &true).map_err(io::Error::from)
}

/// Whether an address is one of this host's own, so that dialling it at a listener's port would be
/// a loop. Only an address of this host can be bound; nothing is sent. It costs three system calls:
/// ask only where the port is a listener's. When the answer can't be had, it is yes.
pub fn is_local(address: IpAddr) -> bool {
    locality(address).unwrap_or(true)
}

/// The same; `None` when the answer can't be had.
fn locality(address: IpAddr) -> Option<bool> {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput, Unsupported};
    let Err(error) = UdpSocket::bind((address.to_canonical(), 0)) else { return Some(true) };
    // EINVAL: a link-local address without its interface, which can't be dialled either.
    // EAFNOSUPPORT: the host has no IPv6.
    let unsupported = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    let is_foreign = unsupported || matches!(error.kind(), AddrNotAvailable | InvalidInput | Unsupported);
    is_foreign.then_some(false)
}

/// Whether a client was redirected within this host: REDIRECT sends what a host dials itself to a loopback address. Its
/// own address has to be this host's too, lest someone redirects foreign clients there.
pub fn is_redirected_from_here(client: IpAddr, local: IpAddr) -> bool {
    local.to_canonical().is_loopback() && locality(client) == Some(true)
}

/// Lets a listener take connections to addresses of other hosts, as TPROXY delivers them; what it accepts inherits
/// that. Needs CAP_NET_ADMIN. The option of IPv4 does for IPv6 too: in the kernel they are one.
pub fn take_any_address(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).set_ip_transparent_v4(true)
}

/// Whether it does; without an answer, yes.
pub fn takes_any_address(listener: &impl AsFd) -> bool {
    SockRef::from(listener).ip_transparent_v4().unwrap_or(true)
}

/// Whether the peer has not left yet.
pub fn is_connected(socket: &impl AsFd) -> bool {
    SockRef::from(socket).peer_addr().is_ok()
}

/// Where the client of an accepted connection wanted to go: what REDIRECT or DNAT rewrote, or the socket's own
/// `local` address, which TPROXY leaves as it was. Without either it is the listener's.
pub fn original_destination(socket: &impl AsFd, local: SocketAddr) -> SocketAddr {
    let socket = SockRef::from(socket);
    // A client that speaks IPv4 to a listener for both families is known to the firewall by IPv4.
    let original = match local.ip().to_canonical().is_ipv4() {
        true => socket.original_dst_v4(),
        false => socket.original_dst_v6(),
    };
    let found = original.ok().as_ref().and_then(SockAddr::as_socket).unwrap_or(local);
    SocketAddr::new(found.ip().to_canonical(), found.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_file_limit_is_raised_to_the_hard_one() {
        let limit = raise_file_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.current.unwrap_or(u64::MAX), limit);
    }

    #[test]
    fn accepted_and_dialled_connections_are_tuned() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tune(&dialled).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for socket in [&dialled, &accepted] {
            let socket = SockRef::from(socket);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(30));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        }
    }

    #[test]
    fn a_listener_on_every_address_takes_both_families() {
        let Ok(listener) = listen("[::]:0".parse().unwrap()) else { return };
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(TcpStream::connect(("::1", port)).is_ok());
    }

    #[test]
    fn an_address_is_shared_among_workers_and_with_nobody_else() {
        let any = "127.0.0.1:0".parse().unwrap();
        for count in [1, 3] {
            let both = listen_both_each(any, count).unwrap();
            let address = both[0].1.local_addr().unwrap();
            for (socket, listener) in &both {
                assert_eq!(
                    (socket.local_addr().unwrap(), listener.local_addr().unwrap()),
                    (address, address)
                );
            }
            assert_eq!(both.len(), count);
            for again in [1, 2] {
                let kind = io::ErrorKind::AddrInUse;
                assert_eq!(listen_each(address, again).unwrap_err().kind(), kind);
                assert_eq!(listen_udp_each(address, again).unwrap_err().kind(), kind);
            }
        }
    }

    #[test]
    fn every_connection_comes_to_one_of_those_who_share() {
        let listeners = listen_each("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let connected: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = [0, 0];
        // On a busy machine the last word of a handshake can be on its way for a while.
        while accepted.iter().sum::<usize>() < connected.len() {
            for (count, listener) in accepted.iter_mut().zip(&listeners) {
                *count += usize::from(listener.accept().is_ok());
            }
        }
        assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
    }

    #[test]
    fn own_addresses_are_local_and_others_are_not() {
        for (text, local) in [
            ("127.0.0.1", true),
            ("127.200.0.9", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", true),
            ("192.0.2.1", false),
            ("8.8.8.8", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_local(text.parse().unwrap()), local, "{text}");
        }
    }
}
