//! Pings.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use crate::verify::{Seen, Trial, loopback};

/// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443): the question, the answer.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// By this its own answers are known on a raw socket, which hears everyone's.
const MARK: &[u8] = b"exeat verify";

/// Pings once.
pub(super) fn ping(trial: &Trial, ip: IpAddr) -> Seen {
    let socket = match open(ip) {
        Ok(socket) => socket,
        Err(error) => return Seen::NoWay(format!("may not ping here: {error}")),
    };
    match echo(trial, socket, ip) {
        Ok(()) => Seen::Answer("it answered".to_owned()),
        Err(error) => Seen::of(&error, ip),
    }
}

/// Whether this host answers itself.
pub(super) fn itself(trial: &Trial, like: IpAddr) -> Result<String, String> {
    match ping(trial, loopback(like)) {
        Seen::Answer(_) => Ok("loopback answers".to_owned()),
        Seen::Nothing(detail) | Seen::Ended(detail) | Seen::NoWay(detail) => {
            Err(format!("loopback does not answer: {detail}"))
        }
    }
}

/// Without privileges where `net.ipv4.ping_group_range` lets it, else raw.
fn open(ip: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match ip {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    Socket::new(domain, Type::DGRAM, Some(protocol))
        .or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))
}

fn echo(trial: &Trial, mut socket: Socket, ip: IpAddr) -> io::Result<()> {
    let (question, answer) = if ip.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
    socket.connect(&SocketAddr::new(ip, 0).into())?;
    socket.set_read_timeout(Some(trial.patience))?;
    let mut packet = [&[question, 0, 0, 0, 0x65, 0x78, 0, 1][..], MARK].concat();
    let sum = checksum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&sum);
    socket.send(&packet)?;
    let (start, mut buffer) = (Instant::now(), [0; 256]);
    while start.elapsed() < trial.patience {
        let length = socket.read(&mut buffer)?;
        // A raw socket of IPv4 gives the IP header too.
        let header = if ip.is_ipv4() && buffer[0] >> 4 == 4 { usize::from(buffer[0] & 15) * 4 } else { 0 };
        let heard = buffer[..length].get(header..).unwrap_or_default();
        if heard.first() == Some(&answer) && heard.ends_with(MARK) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// RFC 1071; the kernel does it for ICMPv6.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let sum: u32 = pairs.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_up_to_nothing() {
        let mut packet = [&[8, 0, 0, 0, 0x65, 0x78, 0, 1][..], MARK].concat();
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
        assert_eq!(checksum(&packet), 0);
    }
}
