//! TLS records in plaintext, and the handshake messages in them.

use std::borrow::Cow;
use std::ops::Range;

use tls_parser::{TlsRecordType, parse_tls_record_header};

use crate::sniff::outcome::Stop;

/// Longest fragment of a plaintext record (RFC 8446 §5.1).
const FRAGMENT_MAX: usize = 1 << 14;
/// What encryption may add to it (RFC 8446 §5.2).
const EXPANSION_MAX: usize = 256;
/// Type, version and length.
const HEADER: usize = 5;
/// Type and length of a handshake message (RFC 8446 §4).
pub(super) const MESSAGE_HEADER: usize = 4;

/// A record whose header has arrived, its fragment perhaps in part.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: TlsRecordType,
    /// Length of the whole fragment, at least 1.
    pub(super) length: usize,
    /// As much of the fragment as is here.
    pub(super) fragment: &'a [u8],
    /// Where the next record begins.
    pub(super) end: usize,
}

impl<'a> Record<'a> {
    /// Reads the record at `start`, from which on at least `missing` bytes of payload are wanted.
    pub(super) fn read(bytes: &'a [u8], start: usize, missing: usize) -> Result<Self, Stop> {
        let rest = bytes.get(start..).unwrap_or_default();
        let Ok((rest, header)) = parse_tls_record_header(rest) else {
            return Err(Stop::Incomplete { need: start + framed(missing) });
        };
        // The minor version says nothing (RFC 8446 §5.1); GnuTLS lets even a lower major version pass.
        if header.version.0 >> 8 != 3 {
            return Err(Stop::Bad("has a record of an unknown version"));
        }
        let length = usize::from(header.len);
        if length == 0 {
            return Err(Stop::Bad("has an empty record"));
        }
        let encrypted = header.record_type == TlsRecordType::ApplicationData;
        if length > FRAGMENT_MAX + if encrypted { EXPANSION_MAX } else { 0 } {
            return Err(Stop::Bad("has a record that is too long"));
        }
        let fragment = rest.get(..length).unwrap_or(rest);
        Ok(Self { kind: header.record_type, length, fragment, end: start + HEADER + length })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.fragment.len() == self.length
    }
}

/// Bytes that so much payload takes in the fewest records.
pub(super) fn framed(payload: usize) -> usize {
    payload + payload.div_ceil(FRAGMENT_MAX) * HEADER
}

/// Length of a handshake message, its header included.
pub(super) fn message_length([_, high, middle, low]: [u8; MESSAGE_HEADER]) -> usize {
    MESSAGE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize
}

/// The payload of the whole records in `range`, without a copy when there is but one.
pub(super) fn payload(bytes: &[u8], range: Range<usize>) -> Result<Cow<'_, [u8]>, Stop> {
    let first = Record::read(bytes, range.start, 0)?;
    if first.end >= range.end {
        return Ok(Cow::Borrowed(first.fragment));
    }
    let mut joined = Vec::with_capacity(range.len());
    let mut at = range.start;
    while at < range.end {
        let record = Record::read(bytes, at, 0)?;
        joined.extend_from_slice(record.fragment);
        at = record.end;
    }
    Ok(Cow::Owned(joined))
}

/// The first bytes of a message, which may be spread over records.
#[derive(Debug)]
pub(super) struct Prefix<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Prefix<N> {
    pub(super) fn new() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }

    /// Takes as much of a fragment as is missing.
    pub(super) fn extend(&mut self, fragment: &[u8]) {
        let taken = fragment.len().min(self.missing());
        self.bytes[self.filled..][..taken].copy_from_slice(&fragment[..taken]);
        self.filled += taken;
    }

    pub(super) fn missing(&self) -> usize {
        N - self.filled
    }

    pub(super) fn first(&self) -> Option<u8> {
        self.bytes[..self.filled].first().copied()
    }

    pub(super) fn whole(&self) -> Option<[u8; N]> {
        (self.missing() == 0).then_some(self.bytes)
    }
}
