//! What a ClientHello says.

use tls_parser::{
    SNIType, TlsExtension, TlsExtensionType, parse_tls_extension_sni_hostname, parse_tls_extension_unknown,
};

use crate::host::{HostError, Name};
use crate::sniff::outcome::Stop;

/// Extensions of a ClientHello, at most. Browsers send under 20, IANA lists under 80; the bound keeps the
/// search for duplicates short.
const EXTENSIONS_MAX: usize = 128;
/// Longest legacy_session_id (RFC 8446 §4.1.2).
const SESSION_ID_MAX: usize = 32;

/// The first message of a TLS client, as far as an egress gate cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name in its server_name extension; `None` without one.
    pub server_name: Option<Name>,
    /// Whether it has an Encrypted Client Hello, real or GREASE: from outside they look the same.
    pub ech: bool,
    /// How many of the bytes are its own; early data may follow.
    pub length: usize,
}

/// Reads the body of the handshake message (RFC 8446 §4.1.2), which must be used up exactly. tls-parser has
/// a function for it that copies the cipher suites and takes a broken block of extensions for a missing one.
pub(super) fn read(body: &[u8], length: usize) -> Result<ClientHello, Stop> {
    let (version, rest) = body.split_first_chunk::<2>().ok_or(ENDS_EARLY)?;
    // Never more than TLS 1.2; later versions are in an extension (RFC 8446 §4.2.1).
    if version[0] != 3 {
        return Err(Stop::Bad("is of an unknown version"));
    }
    let (_random, rest) = rest.split_first_chunk::<32>().ok_or(ENDS_EARLY)?;
    let (session_id, rest) = vector8(rest)?;
    let (cipher_suites, rest) = vector16(rest)?;
    let (compression_methods, rest) = vector8(rest)?;
    if session_id.len() > SESSION_ID_MAX {
        return Err(Stop::Bad("has a session id longer than 32 bytes"));
    }
    if cipher_suites.is_empty() || cipher_suites.len() % 2 != 0 {
        return Err(Stop::Bad("has a broken list of cipher suites"));
    }
    if !compression_methods.contains(&0) {
        return Err(Stop::Bad("does without the null compression method"));
    }
    let mut hello = ClientHello { server_name: None, ech: false, length };
    if rest.is_empty() {
        // TLS 1.2 and older clients may leave the whole block out (RFC 5246 §7.4.1.2).
        return Ok(hello);
    }
    let (extensions, rest) = vector16(rest)?;
    if !rest.is_empty() {
        return Err(Stop::Bad("has bytes after its extensions"));
    }
    hello.read_extensions(extensions)?;
    Ok(hello)
}

const ENDS_EARLY: Stop = Stop::Bad("ends too early");

impl ClientHello {
    /// Splits every extension off by its length alone, so that none can hide what follows it.
    fn read_extensions(&mut self, mut rest: &[u8]) -> Result<(), Stop> {
        let mut seen = [0; EXTENSIONS_MAX];
        let mut count = 0;
        while !rest.is_empty() {
            let Ok((next, TlsExtension::Unknown(kind, content))) = parse_tls_extension_unknown(rest) else {
                return Err(Stop::Bad("has a broken extension"));
            };
            rest = next;
            if seen[..count].contains(&kind.0) {
                return Err(Stop::Bad("has the same extension twice"));
            }
            *seen.get_mut(count).ok_or(Stop::Bad("has too many extensions"))? = kind.0;
            count += 1;
            if kind == TlsExtensionType::ServerName {
                self.server_name = Some(server_name(content)?);
            }
            self.ech |= is_ech(kind);
        }
        Ok(())
    }
}

/// Reads the content of a server_name extension (RFC 6066 §3): exactly one name, of type host_name, which
/// is the only one there is.
fn server_name(content: &[u8]) -> Result<Name, Stop> {
    let broken = Stop::Bad("has a broken server_name extension");
    let Ok((list, [])) = vector16(content) else {
        return Err(broken);
    };
    let Ok((rest, (kind, name))) = parse_tls_extension_sni_hostname(list) else {
        return Err(broken);
    };
    if kind != SNIType::HostName || !rest.is_empty() {
        return Err(Stop::Bad("has other than one server name"));
    }
    let text = str::from_utf8(name).map_err(|_| NOT_A_NAME)?;
    Name::parse(text).map_err(|error| match error {
        HostError::NotAName => Stop::Bad("has an IP address as its server name"),
        HostError::Empty => Stop::Bad("has an empty server name"),
        _ => NOT_A_NAME,
    })
}

const NOT_A_NAME: Stop = Stop::Bad("has a server name that is not a domain name");

/// Encrypted Client Hello (RFC 9849), the drafts of it that were deployed, and their forerunner ESNI.
fn is_ech(kind: TlsExtensionType) -> bool {
    matches!(kind.0, 0xfe08..=0xfe0d | 0xff02 | 0xff03 | 0xff08 | 0xffce)
}

/// Splits a vector off that has one byte of length (RFC 8446 §3.4).
fn vector8(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let (&length, rest) = bytes.split_first().ok_or(ENDS_EARLY)?;
    rest.split_at_checked(length.into()).ok_or(ENDS_EARLY)
}

/// Splits a vector off that has two bytes of length.
fn vector16(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let (&length, rest) = bytes.split_first_chunk().ok_or(ENDS_EARLY)?;
    rest.split_at_checked(u16::from_be_bytes(length).into()).ok_or(ENDS_EARLY)
}
