//! Whether somebody listens where the rules are going to send things.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::lockdown::commands;
use crate::lockdown::plan::{Plan, Shape};
use crate::lockdown::rule::Family;

/// A door that nobody opened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = if self.protocol == Protocol::UDP { "UDP" } else { "TCP" };
        write!(f, "{protocol} {}", self.address)
    }
}

/// The doors of a plan at which nobody listens.
pub fn closed(plan: &Plan) -> Vec<Closed> {
    doors(plan).into_iter().filter(|door| is_closed(*door)).collect()
}

/// Whether the listener of a port takes connections to foreign addresses, as TPROXY brings them; unknown where ss(8)
/// can't tell.
pub fn takes_any_address(port: u16) -> Option<bool> {
    let filter = format!("sport = :{port}");
    let listed = commands::run("ss", &["-H", "-l", "-t", "-n", "--inet-sockopt", &filter], "").ok()?;
    let mut options = listed.lines().filter(|line| line.contains("inet-sockopt:")).peekable();
    options.peek()?;
    Some(options.all(|line| line.contains(" transparent")))
}

/// Redirects lead to loopback for this host's own packets, and for others' to the address of the interface
/// they came by, whatever that is then: somebody has to listen on every address.
fn doors(plan: &Plan) -> Vec<Closed> {
    let everywhere = match &plan.shape {
        Shape::Instance { containers } => !containers.is_empty(),
        Shape::Gateway { .. } => true,
    };
    let address = |family| match (family, everywhere) {
        (Family::V4, false) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (Family::V4, true) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (Family::V6, false) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (Family::V6, true) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let doors = |family: &Family| {
        let at = |protocol, port| Closed { protocol, address: SocketAddr::new(address(*family), port) };
        let (transparent, dns) = (plan.transparent_port, plan.dns_port);
        [at(Protocol::TCP, transparent), at(Protocol::UDP, dns), at(Protocol::TCP, dns)]
    };
    plan.families().iter().flat_map(doors).collect()
}

/// What is in use can't be bound. Nothing is connected or sent, so nothing shows in exeat's records. Where a family has no
/// loopback address, as where `disable_ipv6` is 1, nobody can listen there, and nothing can be sent there either.
fn is_closed(door: Closed) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable};
    !matches!(bind(door), Err(error) if matches!(error.kind(), AddrInUse | AddrNotAvailable))
}

fn bind(door: Closed) -> io::Result<()> {
    let kind = if door.protocol == Protocol::UDP { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(door.address), kind, Some(door.protocol))?;
    if kind == Type::STREAM {
        // Connections in TIME_WAIT hold the port too, but nobody listens there.
        socket.set_reuse_address(true)?;
    }
    if door.address.is_ipv6() {
        // Else a listener for IPv4 alone would stand for both.
        socket.set_only_v6(true)?;
    }
    let mut address = door.address;
    if address.ip().is_unspecified() {
        // A listener on one address is enough to keep others from the wildcard: an address that is
        // nobody's (RFC 5737, RFC 3849) can be bound unless somebody has them all.
        match address.ip() {
            IpAddr::V4(_) => socket.set_freebind_v4(true)?,
            IpAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
        address.set_ip(nobodys(address.ip()));
    }
    socket.bind(&address.into())
}

fn nobodys(wildcard: IpAddr) -> IpAddr {
    match wildcard {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_door_is_open_where_somebody_listens() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let door = |protocol, address| !is_closed(Closed { protocol, address });
        let (there, there_udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        assert!(door(Protocol::TCP, there) && door(Protocol::UDP, there_udp));
        drop((tcp, udp));
        assert!(!door(Protocol::TCP, there) && !door(Protocol::UDP, there_udp));
    }

    #[test]
    fn a_listener_on_every_address_serves_each_and_one_on_loopback_serves_that_alone() {
        for (listening, loopback, everywhere) in [("0.0.0.0:0", true, true), ("127.0.0.1:0", true, false)] {
            let tcp = TcpListener::bind(listening).unwrap();
            let port = tcp.local_addr().unwrap().port();
            let open =
                |ip| !is_closed(Closed { protocol: Protocol::TCP, address: SocketAddr::from((ip, port)) });
            assert_eq!(open(Ipv4Addr::LOCALHOST), loopback, "{listening}");
            assert_eq!(open(Ipv4Addr::UNSPECIFIED), everywhere, "{listening}");
        }
    }
}
