//! A PROXY header: a load balancer says in it, before anything else, whose connection it brings
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, versions 1 and 2).

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

use crate::sniff::outcome::Sniff;

/// Addresses have 52 bytes at most; the rest are details that a sender may add (TLV), which are skipped.
const HEADER_MAX: usize = 4096;
/// The same for version 1, which is a line of text (§2.1); the shortest one.
const LINE_MAX: usize = 107;
const LINE_MIN: usize = b"PROXY UNKNOWN\r\n".len();
/// What every header of version 1 begins with (§2.1), and of version 2 (§2.2).
const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of what follows.
const FIXED: usize = 16;
/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;

const MALFORMED: &str = "is malformed";

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client; `None`: the sender speaks for itself, as it does to see whether somebody listens, or can't name one.
    pub client: Option<SocketAddr>,
    /// The bytes of the header.
    pub length: usize,
}

/// Reads the header that a connection begins with.
pub fn proxy_header(bytes: &[u8]) -> Sniff<Proxied> {
    let begins = |word: &[u8]| bytes.iter().zip(word).all(|(byte, letter)| byte == letter);
    if bytes.is_empty() {
        Sniff::Incomplete { need: 1 }
    } else if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(WORD) {
        line(bytes)
    } else {
        Sniff::NotThis
    }
}

fn binary(bytes: &[u8]) -> Sniff<Proxied> {
    let Some(&[command, _, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Sniff::Incomplete { need: FIXED };
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_MAX {
        return Sniff::Bad("is too long");
    }
    let Some(header) = bytes.get(..length) else { return Sniff::Incomplete { need: length } };
    if command == LOCAL {
        // Whatever stands for family and addresses then is to be ignored (§2.2).
        return Sniff::Found(Proxied { client: None, length });
    }
    match ProxyHeader::parse(header, ParseConfig::default()) {
        Ok((header, read)) if read == length => named(&header, length),
        _ => Sniff::Bad(MALFORMED),
    }
}

fn line(bytes: &[u8]) -> Sniff<Proxied> {
    match ProxyHeader::parse(&bytes[..bytes.len().min(LINE_MAX)], ParseConfig::default()) {
        Ok((header, length)) => named(&header, length),
        Err(Error::BufferTooShort) => Sniff::Incomplete { need: LINE_MIN.max(bytes.len() + 1) },
        Err(_) => Sniff::Bad(MALFORMED),
    }
}

fn named(header: &ProxyHeader<'_>, length: usize) -> Sniff<Proxied> {
    match header.proxied_address() {
        Some(address) if address.protocol != Protocol::Stream => Sniff::Bad("is not about TCP"),
        address => Sniff::Found(Proxied { client: address.map(|address| address.source), length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x0f, 0xa0, 0x0c, 0x38];

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn a_header_is_found_however_much_of_it_has_come() {
        let seven = Some("192.0.2.7:4000".parse().unwrap());
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 3128\r\n".to_vec(), seven),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(0x21, 0x11, &ADDRESSES), seven),
            (v2(0x21, 0x11, &[&ADDRESSES[..], &[4, 0, 1, 0]].concat()), seven),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x20, 0x00, &[]), None),
        ] {
            for cut in 0..header.len() {
                let Sniff::Incomplete { need } = proxy_header(&header[..cut]) else {
                    panic!("{cut} bytes of {header:?}");
                };
                assert!(need > cut && need <= header.len(), "{cut}: {need}");
            }
            let more = [&header[..], b"GET /"].concat();
            assert_eq!(proxy_header(&more), Sniff::Found(Proxied { client, length: header.len() }));
        }
    }

    #[test]
    fn whatever_family_local_has_is_ignored_and_so_are_its_addresses() {
        for family in 0..=u8::MAX {
            for rest in [&[][..], &ADDRESSES, &ADDRESSES[..3], &[0xff; 300]] {
                let header = v2(0x20, family, rest);
                let found = Proxied { client: None, length: header.len() };
                assert_eq!(proxy_header(&header), Sniff::Found(found), "{family:#x} {}", rest.len());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [&ADDRESSES[..], &[0; 5000]].concat();
        for (bytes, why) in [
            (b"PROXY TCP4 192.0.2.700 10.0.0.1 4000 3128\r\n".to_vec(), MALFORMED),
            ([&b"PROXY UNKNOWN "[..], &[b'x'; 100], b"\r\n"].concat(), MALFORMED),
            (v2(0x22, 0x11, &ADDRESSES), MALFORMED),
            (v2(0x11, 0x11, &ADDRESSES), MALFORMED),
            (v2(0x21, 0x11, &ADDRESSES[..11]), MALFORMED),
            (v2(0x21, 0x41, &ADDRESSES), MALFORMED),
            (v2(0x21, 0x12, &ADDRESSES), "is not about TCP"),
            (v2(0x21, 0x11, &long)[..FIXED].to_vec(), "is too long"),
            (v2(0x20, 0x00, &long), "is too long"),
        ] {
            assert_eq!(proxy_header(&bytes), Sniff::Bad(why), "{bytes:?}");
        }
        for bytes in
            [&b"CONNECT x.example:443"[..], b"\x16\x03\x01", b"PROXY\tTCP4 192", b"\r\n\r\n\0\r\nQUIT\r"]
        {
            assert_eq!(proxy_header(bytes), Sniff::NotThis, "{bytes:?}");
        }
    }
}
