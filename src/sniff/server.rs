//! Tells a HelloRetryRequest from any other answer of a TLS server.

use std::cmp::Ordering;

use tls_parser::{TlsHandshakeType, TlsRecordType};

use crate::sniff::outcome::{Sniff, Stop};
use crate::sniff::records::{MESSAGE_HEADER, Prefix, Record, message_length};

/// What a server answers to a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHello {
    /// It goes on: no other ClientHello is taken on this connection.
    Final,
    /// It asks for another ClientHello (RFC 8446 §4.1.4), which may carry another server name. So many of the bytes are
    /// the request's own.
    Retry { length: usize },
}

/// The `random` that makes a ServerHello a HelloRetryRequest: SHA-256 of that word (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Type and length of the message, and the legacy version.
const BEFORE_RANDOM: usize = MESSAGE_HEADER + 2;
const PREFIX: usize = BEFORE_RANDOM + RETRY_RANDOM.len();
/// Bytes before the last record of what is read, at most: the prefix spreads over 38 records.
const ANSWER_MAX: usize = 1024;
/// Length of an alert, which has a record of its own (RFC 8446 §5.1).
const ALERT: usize = 2;
/// The level of an alert after which a handshake may go on (RFC 5246 §7.2).
const WARNING: u8 = 1;
/// The level of one that ends it.
const FATAL: u8 = 2;

/// Reads the server's first handshake message up to its `random`, and to its end if it asks for another ClientHello.
/// [`Sniff::NotThis`] is a fatal alert or something other than TLS; the text of [`Sniff::Bad`] completes
/// "the ServerHello …".
pub fn server_hello(bytes: &[u8]) -> Sniff<ServerHello> {
    read(bytes, false).into()
}

/// Reads in the same way what comes after a HelloRetryRequest: a change_cipher_spec for middleboxes (RFC 8446 §D.4), and a
/// ServerHello that can only be final (§4.1.4).
pub fn second_server_hello(bytes: &[u8]) -> Sniff<ServerHello> {
    read(bytes, true).into()
}

fn read(bytes: &[u8], is_second: bool) -> Result<ServerHello, Stop> {
    match bytes.first() {
        None => return Err(Stop::Incomplete { need: 1 }),
        Some(0x14..=0x18) => {}
        Some(_) => return Err(Stop::NotThis),
    }
    let mut prefix = Prefix::<PREFIX>::new();
    let (mut at, mut payload) = (0, 0);
    while at <= ANSWER_MAX {
        let record = Record::read(bytes, at, 1)?;
        if record.kind == TlsRecordType::Handshake {
            prefix.extend(record.fragment);
            payload += record.length;
        } else {
            pass_over(&record, prefix.first().is_some(), is_second)?;
        }
        if prefix.first().is_some_and(|kind| TlsHandshakeType(kind) != TlsHandshakeType::ServerHello) {
            return Err(Stop::Bad("does not come first"));
        }
        if let Some(prefix) = prefix.whole() {
            if prefix[BEFORE_RANDOM..] != RETRY_RANDOM {
                return Ok(ServerHello::Final);
            }
            if is_second {
                return Err(Stop::Bad("asks for a third ClientHello"));
            }
            let [first, second, third, fourth, ..] = prefix;
            match payload.cmp(&message_length([first, second, third, fourth])) {
                Ordering::Less => {}
                Ordering::Equal if record.is_whole() => return Ok(ServerHello::Retry { length: record.end }),
                Ordering::Equal => {}
                Ordering::Greater => {
                    return Err(Stop::Bad("is followed by another message in its record"));
                }
            }
        }
        if !record.is_whole() {
            let need = match prefix.missing() {
                0 => record.end,
                missing => record.end.min(bytes.len() + missing),
            };
            return Err(Stop::Incomplete { need });
        }
        at = record.end;
    }
    Err(Stop::Bad("does not come soon enough"))
}

/// Passes over a record that may stand before the message: any other is an error.
fn pass_over(record: &Record<'_>, has_begun: bool, is_second: bool) -> Result<(), Stop> {
    match (record.kind, record.length, record.fragment) {
        (TlsRecordType::Alert, ALERT, [FATAL, _]) => Err(Stop::NotThis),
        // TLS 1.2 servers may warn that they don't know the name, and then go on.
        (TlsRecordType::Alert, ALERT, [WARNING, _]) if !has_begun => Ok(()),
        // What it says is still to come.
        (TlsRecordType::Alert, ALERT, [] | [_]) => Ok(()),
        (TlsRecordType::ChangeCipherSpec, 1, [] | [1]) if is_second && !has_begun => Ok(()),
        _ => Err(Stop::Bad("has a record of another type before or within it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
        [&[kind, 3, 3, 0, fragment.len() as u8], fragment].concat()
    }

    /// A handshake message that is over with its random: no more of it is looked at.
    fn hello(kind: u8, random: &[u8; 32]) -> Vec<u8> {
        record(0x16, &[&[kind, 0, 0, 34, 3, 3], &random[..]].concat())
    }

    /// What asks for another hello, after so many bytes.
    fn asks(before: usize) -> Sniff<ServerHello> {
        Sniff::Found(ServerHello::Retry { length: before + hello(2, &RETRY_RANDOM).len() })
    }

    #[test]
    fn the_random_tells() {
        assert_eq!(server_hello(&hello(2, &RETRY_RANDOM)), asks(0));
        for at in 0..32 {
            let mut random = RETRY_RANDOM;
            random[at] ^= 1;
            assert_eq!(server_hello(&hello(2, &random)), Sniff::Found(ServerHello::Final), "{at}");
        }
    }

    #[test]
    fn alerts_end_it_unless_they_warn() {
        let (warning, fatal) = (record(0x15, &[1, 112]), record(0x15, &[2, 40]));
        let retry = hello(2, &RETRY_RANDOM);
        assert_eq!(server_hello(&fatal), Sniff::NotThis);
        assert_eq!(server_hello(&[&warning[..], &fatal].concat()), Sniff::NotThis);
        assert_eq!(server_hello(&[&warning[..], &warning, &retry].concat()), asks(2 * warning.len()));
        assert!(matches!(server_hello(&warning), Sniff::Incomplete { .. }));
        for (length, need) in [(0, 1), (1, 6), (5, 7), (6, 7)] {
            assert_eq!(server_hello(&fatal[..length]), Sniff::Incomplete { need }, "{length}");
        }
        assert!(matches!(server_hello(&warning.repeat(200)), Sniff::Bad(_)), "it has to end");
    }

    #[test]
    fn other_answers_are_not_taken_for_a_final_one() {
        for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\x13", b"SSH-2.0-"] {
            assert_eq!(server_hello(bytes), Sniff::NotThis, "{bytes:?}");
        }
        let retry = hello(2, &RETRY_RANDOM);
        for bytes in [
            hello(0, &RETRY_RANDOM),
            hello(6, &RETRY_RANDOM),
            [&record(0x16, &[0, 0, 0, 0])[..], &retry].concat(),
            [&record(0x14, &[1])[..], &retry].concat(),
            [&record(0x17, &[0; 40])[..], &retry].concat(),
            [&record(0x16, &[])[..], &retry].concat(),
            [record(0x16, &[2, 0, 0, 70, 3, 3]), record(0x17, &[0; 40])].concat(),
        ] {
            let answer = server_hello(&bytes);
            assert!(!matches!(answer, Sniff::Found(ServerHello::Final) | Sniff::NotThis), "{bytes:?}");
        }
    }
}
