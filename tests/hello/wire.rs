//! Puts TLS messages into records and takes them out again.

use std::fs;
use std::path::Path;

/// The recorded clients, with what must be read: server name and ECH. `fixtures/hello/README.md` says how they were made.
pub(crate) const RECORDED: [(&str, Option<&str>, bool); 14] = [
    ("curl", Some("gate.example"), false),
    ("curl-tls12", Some("gate.example"), false),
    ("openssl-tls13", Some("gate.example"), false),
    ("openssl-tls12", Some("gate.example"), false),
    ("openssl-tls10", Some("gate.example"), false),
    ("openssl-no-name", None, false),
    ("gnutls", Some("gate.example"), false),
    ("go", Some("gate.example"), false),
    ("python", Some("gate.example"), false),
    ("node", Some("gate.example"), false),
    ("java", Some("gate.example"), false),
    ("rustls", Some("gate.example"), false),
    ("chromium", Some("gate.example"), true),
    ("firefox", Some("gate.example"), true),
];

/// The bytes of a recorded client.
pub(crate) fn recorded(client: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hello").join(client).with_extension("bin"))
        .unwrap()
}

/// A payload in handshake records of so many bytes each.
pub(crate) fn in_records(payload: &[u8], size: usize) -> Vec<u8> {
    payload.chunks(size).flat_map(|fragment| record(0x16, fragment)).collect()
}

/// One record.
pub(crate) fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fragment.len()).unwrap().to_be_bytes();
    [&[kind, 3, 1], &length[..], fragment].concat()
}

/// The handshake message in a hello that is one record.
pub(crate) fn message(hello: &[u8]) -> &[u8] {
    &hello[5..]
}

/// The message with a padding extension (RFC 7685) of `size` bytes before its other extensions, so that
/// everything that is looked for comes late.
pub(crate) fn padded(message: &[u8], size: usize) -> Vec<u8> {
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    at += 1 + usize::from(message[at]);
    let (before, extensions) = message.split_at(at);
    let mut padding = [&[0, 21], &u16::try_from(size).unwrap().to_be_bytes()[..]].concat();
    padding.resize(4 + size, 0);
    // A client has one padding extension at most: its own goes.
    let others = without_padding(&extensions[2..]);
    let length = u16::try_from(padding.len() + others.len()).unwrap().to_be_bytes();
    let body = [&before[4..], &length, &padding, &others].concat();
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[..], &body].concat()
}

fn without_padding(mut extensions: &[u8]) -> Vec<u8> {
    let mut others = Vec::new();
    while let [high, low, length_high, length_low, ..] = *extensions {
        let (extension, rest) =
            extensions.split_at(4 + usize::from(u16::from_be_bytes([length_high, length_low])));
        if [high, low] != [0, 21] {
            others.extend_from_slice(extension);
        }
        extensions = rest;
    }
    others
}
