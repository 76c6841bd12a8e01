//! What arrives at the internet, packet by packet: the last word on whether anything got out.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::place::Place;

/// Every kind of frame, in network byte order as packet(7) wants it.
const EVERYTHING: i32 = 0x0003_u16.to_be() as i32;
const PATIENCE: Duration = Duration::from_secs(20);

/// One packet that came by the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    /// Of TCP and UDP; the type of ICMP.
    pub(crate) port: u16,
    /// The beginning of what the IP header was followed by.
    pub(crate) bytes: Vec<u8>,
}

/// A tap that hears on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap(Arc<(Mutex<Vec<Packet>>, Condvar)>);

impl Tap {
    /// Hears what comes to the addresses of others too; what the place itself sends is left out.
    pub(crate) fn at(place: &Place, own: fn(&IpAddr) -> bool) -> Self {
        let tap = Self::default();
        let heard = tap.clone();
        let mut socket = place.inside(|| {
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(EVERYTHING))).unwrap();
            // A burst must not be lost before it is read.
            socket.set_recv_buffer_size(32 << 20).unwrap();
            socket
        });
        place.thread(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length) = socket.read(&mut buffer) {
                let packet = parse(&buffer[..length]).filter(|packet| !own(&packet.from));
                heard.0.0.lock().unwrap().extend(packet);
                heard.0.1.notify_all();
            }
        });
        tap
    }

    pub(crate) fn clear(&self) {
        self.0.0.lock().unwrap().clear();
    }

    /// All packets so far.
    pub(crate) fn heard(&self) -> Vec<Packet> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits for a packet.
    pub(crate) fn wait(&self, wanted: impl Fn(&Packet) -> bool) {
        let heard = self.0.0.lock().unwrap();
        let absent = |heard: &mut Vec<Packet>| !heard.iter().any(&wanted);
        let (_heard, waited) = self.0.1.wait_timeout_while(heard, PATIENCE, absent).unwrap();
        assert!(!waited.timed_out(), "a packet did not come");
    }
}

fn parse(bytes: &[u8]) -> Option<Packet> {
    let (from, to, protocol, rest): (IpAddr, IpAddr, u8, &[u8]) = match bytes.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
            let header = usize::from(bytes[0] & 15) * 4;
            (address(12)?.into(), address(16)?.into(), *bytes.get(9)?, bytes.get(header..)?)
        }
        6 => {
            let address =
                |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
            let mut rest = bytes.get(40..)?;
            let mut protocol = bytes[6];
            // Multicast listener reports have a hop-by-hop header before them.
            if protocol == 0 {
                protocol = *rest.first()?;
                rest = rest.get(8..)?;
            }
            (address(8)?.into(), address(24)?.into(), protocol, rest)
        }
        _ => return None,
    };
    let port = match protocol {
        6 | 17 => u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]),
        _ => u16::from(*rest.first()?),
    };
    Some(Packet { from, to, protocol, port, bytes: rest[..rest.len().min(2000)].to_vec() })
}
