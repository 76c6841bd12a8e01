//! Finds the ClientHello in what a TLS client sends.

use tls_parser::{TlsHandshakeType, TlsRecordType};

use crate::sniff::hello::{self, ClientHello};
use crate::sniff::outcome::{Sniff, Stop};
use crate::sniff::records::{self, MESSAGE_HEADER, Prefix, Record, framed};

/// Bytes of the records that hold a ClientHello, at most.
const HELLO_MAX: usize = 64 * 1024;
/// Bytes of early data before a second ClientHello, at most; servers accept 16 KiB or so.
const EARLY_MAX: usize = 64 * 1024;
/// Records of them, at most, so that tiny ones don't make every further attempt a long walk.
const EARLY_RECORDS_MAX: usize = 256;
/// A handshake message with the shortest possible ClientHello: one cipher suite, no extensions.
const SHORTEST: usize = MESSAGE_HEADER + 2 + 32 + 1 + 4 + 2;

/// Reads the ClientHello that begins a TLS connection. Nothing may come before it, neither an alert nor a
/// change_cipher_spec: what one server skips, another takes for the beginning.
pub fn client_hello(bytes: &[u8]) -> Sniff<ClientHello> {
    first(bytes).into()
}

/// Reads the ClientHello with which a client answers a HelloRetryRequest; its `length` counts what may
/// stand before it: a change_cipher_spec for middleboxes (RFC 8446 §D.4), and early data, which the server
/// skips (RFC 8446 §4.2.10). [`Sniff::NotThis`]: the client gives up with an alert, or leaves TLS.
pub fn second_hello(bytes: &[u8]) -> Sniff<ClientHello> {
    second(bytes).into()
}

fn first(bytes: &[u8]) -> Result<ClientHello, Stop> {
    match bytes {
        [] => Err(Stop::Incomplete { need: 1 }),
        // Any type of record, so that nobody takes TLS with something in front of it for another protocol.
        [0x14..=0x18, ..] => hello_at(bytes, 0),
        // Two bytes of length with the high bit set, then the type CLIENT-HELLO: servers that know SSLv2's
        // form take it for a hello of any version (RFC 5246 §E.2), and it has no server name.
        [0x80..=0xff, _, 1, ..] => Err(Stop::Bad("is in the form of SSLv2")),
        [0x80..=0xff] | [0x80..=0xff, _] => Err(Stop::Incomplete { need: 3 }),
        _ => Err(Stop::NotThis),
    }
}

fn second(bytes: &[u8]) -> Result<ClientHello, Stop> {
    let mut at = 0;
    for _ in 0..=EARLY_RECORDS_MAX {
        match bytes.get(at) {
            Some(0x16) => return hello_at(bytes, at),
            Some(0x14 | 0x17) => {}
            // An alert, shorter than any hello, may be all that follows: its type is worth a look of its own.
            None => return Err(Stop::Incomplete { need: at + 1 }),
            Some(_) => return Err(Stop::NotThis),
        }
        let record = Record::read(bytes, at, 1)?;
        if !record.is_whole() {
            return Err(Stop::Incomplete { need: record.end + 1 });
        }
        if record.kind == TlsRecordType::ChangeCipherSpec && record.fragment != [1] {
            return Err(Stop::Bad("comes after a change_cipher_spec of an unknown kind"));
        }
        at = record.end;
        if at > EARLY_MAX {
            break;
        }
    }
    Err(Stop::Bad("comes after too much early data"))
}

/// Joins the records from `start` on until they hold a ClientHello, and reads it.
fn hello_at(bytes: &[u8], start: usize) -> Result<ClientHello, Stop> {
    let mut header = Prefix::new();
    let (mut at, mut payload) = (start, 0);
    loop {
        let missing = message_length(&header)?.unwrap_or(SHORTEST).saturating_sub(payload);
        let record = Record::read(bytes, at, missing)?;
        if record.kind != TlsRecordType::Handshake {
            return Err(Stop::Bad("has a record of another type before or within it"));
        }
        header.extend(record.fragment);
        payload += record.length;
        at = record.end;

        let message = message_length(&header)?;
        let need = at + framed(message.unwrap_or(SHORTEST).saturating_sub(payload));
        if need - start > HELLO_MAX {
            return Err(Stop::Bad("is longer than 64 KiB"));
        }
        // No client has anything to add in plaintext before it has the server's answer.
        if message.is_some_and(|length| payload > length) {
            return Err(Stop::Bad("is followed by another message in its record"));
        }
        if !record.is_whole() {
            return Err(Stop::Incomplete { need });
        }
        if message == Some(payload) {
            let message = records::payload(bytes, start..at)?;
            return hello::read(message.get(MESSAGE_HEADER..).unwrap_or_default(), at);
        }
    }
}

/// Length of the handshake message, its header included, once that is known.
fn message_length(header: &Prefix<MESSAGE_HEADER>) -> Result<Option<usize>, Stop> {
    if header.first().is_some_and(|kind| TlsHandshakeType(kind) != TlsHandshakeType::ClientHello) {
        return Err(Stop::Bad("does not come first"));
    }
    Ok(header.whole().map(records::message_length))
}
