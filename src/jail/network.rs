//! The jail's network: loopback alone, on which every address there is is the jail's own. A connection to anywhere
//! arrives here, and nowhere else.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};

/// In every network namespace loopback is the first interface.
const LOOPBACK: u32 = 1;
/// The routing table of what is local.
const LOCAL_TABLE: u8 = 255;
/// Longer than any answer to what is asked here.
const ANSWER: usize = 4096;

/// Sets loopback up, and makes every address local.
pub(super) fn raise() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    ask(&socket, RouteNetlinkMessage::SetLink(loopback_up()))?;
    ask(&socket, create(every_address(AddressFamily::Inet)))?;
    // A kernel without IPv6 has no way out over it either. With it the doors have an address that no interface has,
    // and DNS answers come from any.
    let has_v6 = ask(&socket, create(every_address(AddressFamily::Inet6))).is_ok();
    if has_v6 { fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1") } else { Ok(()) }
}

/// Pings to anywhere would be answered by the jail itself, as if the internet were there.
pub(super) fn answer_no_pings() {
    for setting in ["ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"] {
        // A family that does not exist answers none.
        let _ = fs::write(format!("/proc/sys/net/{setting}"), "1");
    }
}

fn loopback_up() -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

/// `local default dev lo`
fn every_address(family: AddressFamily) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = LOCAL_TABLE;
    route.header.protocol = RouteProtocol::Boot;
    route.header.scope = RouteScope::Host;
    route.header.kind = RouteType::Local;
    route.attributes.push(RouteAttribute::Oif(LOOPBACK));
    if family == AddressFamily::Inet {
        // Else each connection would seem to come from the very address that it goes to.
        let source = RouteAddress::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        route.attributes.push(RouteAttribute::PrefSource(source));
    }
    route
}

fn create(route: RouteMessage) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewRoute(route)
}

/// Has the kernel do something, and waits until it says that it has.
fn ask(socket: &OwnedFd, message: RouteNetlinkMessage) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    rustix::net::send(socket, &bytes, SendFlags::empty())?;
    let mut answer = vec![0; ANSWER];
    let (length, _) = rustix::net::recv(socket, &mut answer[..], RecvFlags::empty())?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..length]);
    match answer.map_err(io::Error::other)?.payload {
        NetlinkPayload::Error(answer) => match answer.code {
            Some(code) => Err(io::Error::from_raw_os_error(code.get().abs())),
            None => Ok(()),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
