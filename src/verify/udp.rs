//! UDP: QUIC servers, whom one datagram makes answer.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::verify::{Seen, Trial, any, loopback};

const HTTPS: u16 = 443;
/// Servers answer no smaller one (RFC 9000 §14.1).
const SMALLEST: usize = 1200;

/// A QUIC packet of a version that nobody has: every server answers it with those that it has (RFC 9000 §6.1),
/// and no key is needed.
pub(super) fn quic(trial: &Trial, ip: IpAddr) -> Seen {
    let mut packet = vec![0; SMALLEST];
    // A long header, a version kept free for this (§15), and connection IDs of eight bytes.
    packet[..6].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8]);
    packet[14] = 8;
    match send(trial, (ip, HTTPS).into(), &packet) {
        Ok(answer) => Seen::Answer(format!("{} bytes came back", answer.len())),
        Err(error) => Seen::of(&error, ip),
    }
}

/// Whether datagrams go to and fro here at all.
pub(super) fn itself(trial: &Trial, like: IpAddr) -> Result<String, String> {
    let echo = || -> io::Result<()> {
        let server = UdpSocket::bind((loopback(like), 0))?;
        server.set_read_timeout(Some(trial.patience))?;
        let client = connected(trial, server.local_addr()?)?;
        client.send(b"there")?;
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..length], from)?;
        client.recv(&mut buffer).map(drop)
    };
    echo()
        .map(|()| "UDP works on loopback".to_owned())
        .map_err(|error| format!("no UDP on loopback: {error}"))
}

/// Sends a datagram and waits for one.
pub(super) fn send(trial: &Trial, to: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let socket = connected(trial, to)?;
    socket.send(bytes)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn connected(trial: &Trial, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any(to.ip()), 0))?;
    socket.set_read_timeout(Some(trial.patience))?;
    socket.connect(to)?;
    Ok(socket)
}
