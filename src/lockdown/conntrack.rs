//! The connections that conntrack took up in their middle, and their end.
//!
//! Of such a connection nobody knows who opened it: conntrack holds the one whose packet it saw first to be the
//! opener. If that was the far side, everything this side sends counts as an answer. So conntrack is told to forget
//! them, once it takes up no more (see [`tracking`](super::tracking)): their next packets belong to nothing.

use std::io::{self, Read};

use socket2::{Domain, Protocol, Socket, Type};

/// Of netlink(7) and its family `NETLINK_NETFILTER`, as `linux/netlink.h` and `linux/netfilter/` number them.
const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;
const CONNTRACK: u16 = 1 << 8;
const NEW: u16 = CONNTRACK;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// Both headers of a message: `nlmsghdr`, and `nfgenmsg` behind it.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;

/// Attributes of a connection.
const TUPLE: u16 = 1;
const PROTOCOL: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// Attributes within that of the protocol.
const TCP: u16 = 1;
const TCP_FLAGS: [u16; 2] = [4, 5];
/// What conntrack notes of both directions when it takes a connection up without its beginning: it can't know the
/// windows (`IP_CT_TCP_FLAG_BE_LIBERAL`).
const LIBERAL: u8 = 8;

/// Makes conntrack forget them; returns how many there were.
pub fn forget_taken_up() -> io::Result<usize> {
    let mut socket = Netlink::open()?;
    let found = socket.taken_up()?;
    for connection in &found {
        socket.forget(connection)?;
    }
    Ok(found.len())
}

/// What names a connection to conntrack.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Connection {
    family: u8,
    /// Attributes as conntrack wrote them.
    name: Vec<u8>,
}

struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let protocol = Protocol::from(NETLINK_NETFILTER);
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(protocol))?;
        // As large as the kernel fills in one go.
        Ok(Self { socket, buffer: vec![0; 1 << 16] })
    }

    fn taken_up(&mut self) -> io::Result<Vec<Connection>> {
        self.socket.send(&message(GET, REQUEST | DUMP, 0, &[]))?;
        let mut found = Vec::new();
        loop {
            let length = self.socket.read(&mut self.buffer)?;
            for (kind, body) in messages(&self.buffer[..length]) {
                match kind {
                    NEW => found.extend(taken_up(body)),
                    DONE => return Ok(found),
                    ERROR => failure(body)?,
                    _ => {}
                }
            }
        }
    }

    /// One that has ended by itself meanwhile is forgotten too.
    fn forget(&mut self, connection: &Connection) -> io::Result<()> {
        let request = message(DELETE, REQUEST | ACKNOWLEDGE, connection.family, &connection.name);
        self.socket.send(&request)?;
        let length = self.socket.read(&mut self.buffer)?;
        for (kind, body) in messages(&self.buffer[..length]) {
            match failure(body) {
                Err(error) if kind == ERROR && error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADERS + attributes.len()).unwrap_or(u32::MAX);
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    [&header[..], &[family, 0, 0, 0], attributes].concat()
}

/// Kinds and bodies of messages.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(bytes.first_chunk().copied()?)).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The number of an error, negated; zero acknowledges.
fn failure(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|number| i32::from_ne_bytes(*number)) {
        Some(0) | None => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
    }
}

/// Kinds, bodies and the whole of attributes. Two bits of a kind say how the body is written.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.first_chunk().copied()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let (body, whole) = (bytes.get(4..length)?, bytes.get(..length.next_multiple_of(4))?);
        bytes = bytes.get(whole.len()..).unwrap_or_default();
        Some((kind, body, whole))
    })
}

/// The connection of a message, if it is one that was taken up.
fn taken_up(body: &[u8]) -> Option<Connection> {
    let (family, rest) = (*body.first()?, body.get(HEADERS - HEADER..)?);
    let inside =
        |bytes, wanted| attributes(bytes).find(|(kind, ..)| *kind == wanted).map(|(_, body, _)| body);
    let tcp = inside(inside(rest, PROTOCOL)?, TCP)?;
    let is_liberal =
        |kind| inside(tcp, kind).and_then(<[u8]>::first).is_some_and(|flags| flags & LIBERAL != 0);
    if !TCP_FLAGS.into_iter().all(is_liberal) {
        return None;
    }
    let names = attributes(rest).filter(|(kind, ..)| [TUPLE, ID, ZONE].contains(kind));
    Some(Connection { family, name: names.flat_map(|(_, _, whole)| whole).copied().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn connection(flags: [u8; 2]) -> Vec<u8> {
        let tcp = [attribute(1, &[3]), attribute(4, &[flags[0], 0]), attribute(5, &[flags[1], 0])].concat();
        let nested = |kind: u16, body: &[u8]| attribute(kind | 0x8000, body);
        let tuple = nested(1, &[7; 12]);
        let protocol = nested(4, &nested(1, &tcp));
        [&[2, 0, 0, 0][..], &tuple, &attribute(3, &[0; 4]), &protocol, &attribute(12, &[9; 4])].concat()
    }

    #[test]
    fn connections_that_were_taken_up_are_known_by_both_of_their_flags() {
        let named = [attribute(1 | 0x8000, &[7; 12]), attribute(12, &[9; 4])].concat();
        let found = taken_up(&connection([LIBERAL | 2, LIBERAL]));
        assert_eq!(found, Some(Connection { family: 2, name: named }));
        for flags in [[0, 0], [LIBERAL, 0], [0, LIBERAL], [2, 2]] {
            assert_eq!(taken_up(&connection(flags)), None);
        }
    }

    #[test]
    fn messages_are_found_one_behind_the_other_and_a_part_of_one_is_none() {
        let two = [message(NEW, 0, 2, &[1, 2, 3, 4]), message(DONE, 0, 0, &[])].concat();
        let kinds = |bytes: &[u8]| messages(bytes).map(|(kind, _)| kind).collect::<Vec<_>>();
        assert_eq!(kinds(&two), [NEW, DONE]);
        for cut in 0..two.len() {
            let expected = if cut < HEADERS + 4 { 0 } else { 1 };
            assert_eq!(kinds(&two[..cut]).len(), expected, "{cut}");
        }
        let whole = connection([LIBERAL, LIBERAL]);
        for cut in 0..whole.len() {
            // What comes last is what names it; nothing panics before.
            let found = taken_up(&whole[..cut]);
            drop(found);
        }
    }

    #[test]
    fn an_acknowledgement_is_no_failure() {
        assert!(failure(&0_i32.to_ne_bytes()).is_ok());
        let error = failure(&(-2_i32).to_ne_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
