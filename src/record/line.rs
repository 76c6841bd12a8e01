//! The JSON line of a record: keys, their order, and bounds on what a client may make long.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::Offset;
use memchr::memchr2;
use serde::Serialize;

use crate::host::{Host, Name};
use crate::reason::Reason;
use crate::record::Record;
use crate::yaml::is_hidden;

/// The schema of a flow that ended.
pub const ENDED: &str = "exeat.flow/v1";
/// That of a flow that began: the same keys under a schema of its own, so that nothing that counts flows by
/// their schema counts one twice.
pub const OPENED: &str = "exeat.flow.opened/v1";
/// Names of profiles in a record; a client that more profiles take than this is a rarity.
const PROFILES_MAX: usize = 32;

/// A JSON object as it is written. serde_json would look at each byte of the keys too, every time, for what has to be
/// escaped, and the machinery of `fmt` takes longer than what it writes: there is a line for each flow.
struct Object<'a> {
    line: &'a mut Vec<u8>,
}

/// Every key is always there, `null` where nothing is known: readers get a fixed table.
pub(super) fn write(record: &Record, line: &mut Vec<u8>) {
    let profiles = record.profiles.as_deref().unwrap_or_default();
    let reason = record.reason.unwrap_or(Reason::Internal);
    let to = record.to.as_ref();
    let mut object = Object { line };
    object.key(r#"{"schema":"#).plain(if record.duration.is_some() { ENDED } else { OPENED });
    object.key(r#","time":"#).time(record.time);
    object.key(r#","flow":"#).plain(record.flow.digits());
    object.key(r#","ingress":"#).plain(record.ingress.as_str());
    object.key(r#","client":"#).address(record.client.ip());
    object.key(r#","client_port":"#).value(record.client.address.port());
    object.key(r#","user":"#).text(record.client.name());
    object.key(r#","profiles":"#).strings(&profiles[..profiles.len().min(PROFILES_MAX)]);
    object.key(r#","host":"#).host(to.map(|to| &to.host));
    object.key(r#","port":"#).value(to.map(|to| to.port));
    object.key(r#","server_name":"#).known(record.inside.server_name(), Object::name);
    object.key(r#","ech":"#).value(record.inside.ech());
    object.key(r#","method":"#).text(record.inside.method());
    object.key(r#","path":"#).text(record.inside.path());
    object.key(r#","address":"#).known(record.address, Object::address);
    object.key(r#","parent":"#).text(record.parent.as_deref());
    object.key(r#","verdict":"#).plain(if reason.allows() { "allow" } else { "deny" });
    object.key(r#","would_deny":"#).value(record.would_deny);
    object.key(r#","reason":"#).plain(reason.as_str());
    object.key(r#","rule":"#).text(record.rule.as_deref());
    object.key(r#","sent":"#).value(record.sent);
    object.key(r#","received":"#).value(record.received);
    object.key(r#","dial_ms":"#).known(record.dial, Object::milliseconds);
    object.key(r#","duration_ms":"#).known(record.duration, Object::milliseconds);
    object.key(r#","status":"#).value(record.status);
    object.key(r#","error":"#).text(record.error.as_deref());
    object.line.extend_from_slice(b"}\n");
}

impl Object<'_> {
    /// Begins the next value: its key, with what stands before and after it.
    #[inline]
    fn key(&mut self, key: &'static str) -> &mut Self {
        self.line.extend_from_slice(key.as_bytes());
        self
    }

    fn value(&mut self, value: impl Serialize) {
        // Writing to a Vec can't fail, nor can any of these values.
        let _ = serde_json::to_writer(&mut *self.line, &value);
    }

    fn known<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.line.extend_from_slice(b"null"),
        }
    }

    fn text(&mut self, text: Option<&str>) {
        self.known(text, Self::string);
    }

    fn string(&mut self, text: &str) {
        // What JSON has to escape (RFC 8259 §7): rules have quotes around their patterns, and only clients write control
        // characters, which are looked for without an end in between: compilers make vectors of that.
        if text.bytes().fold(false, |found, byte| found | !(0x20..0x7f).contains(&byte)) {
            return self.escaped(text);
        }
        self.line.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(at) = memchr2(b'"', b'\\', rest) {
            self.line.extend_from_slice(&rest[..at]);
            self.line.extend_from_slice(&[b'\\', rest[at]]);
            rest = &rest[at + 1..];
        }
        self.line.extend_from_slice(rest);
        self.line.push(b'"');
    }

    /// With more escaped than JSON asks for: whatever would not be seen for what it is. Parsers find the same text.
    fn escaped(&mut self, text: &str) {
        // A string can always be written as JSON.
        for letter in serde_json::to_string(text).unwrap_or_default().chars() {
            if is_hidden(letter) {
                self.line.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
            } else {
                self.line.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    fn strings(&mut self, texts: &[Box<str>]) {
        self.line.push(b'[');
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            self.string(text);
        }
        self.line.push(b']');
    }

    /// A host without the brackets of an authority.
    fn host(&mut self, host: Option<&Host>) {
        self.known(host, |object, host| match host {
            Host::Ip(address) => object.address(*address),
            Host::Name(name) => object.name(name),
        });
    }

    /// Nothing that has to be escaped is in a name.
    fn name(&mut self, name: &Name) {
        self.plain(name.as_str());
    }

    fn address(&mut self, address: IpAddr) {
        let IpAddr::V4(v4) = address else { return self.value(address) };
        let [first, rest @ ..] = v4.octets();
        self.line.push(b'"');
        self.value(first);
        for octet in rest {
            self.line.push(b'.');
            self.value(octet);
        }
        self.line.push(b'"');
    }

    /// In UTC, to the millisecond.
    fn time(&mut self, time: Timestamp) {
        let at = Offset::UTC.to_datetime(time);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[..4], at.year().unsigned_abs());
        digits(&mut text[5..7], at.month().unsigned_abs().into());
        digits(&mut text[8..10], at.day().unsigned_abs().into());
        digits(&mut text[11..13], at.hour().unsigned_abs().into());
        digits(&mut text[14..16], at.minute().unsigned_abs().into());
        digits(&mut text[17..19], at.second().unsigned_abs().into());
        digits(&mut text[20..23], at.millisecond().unsigned_abs());
        self.plain(text);
    }

    /// To three decimals, as a dial within a region takes less than one; those that would be zeros are left out, but
    /// for the first.
    fn milliseconds(&mut self, duration: Duration) {
        self.value(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let mut decimals = *b".000";
        let micros = duration.subsec_micros() % 1000;
        digits(&mut decimals[1..], micros as u16);
        let zeros = if micros.is_multiple_of(100) { 2 } else { usize::from(micros.is_multiple_of(10)) };
        self.line.extend_from_slice(&decimals[..decimals.len() - zeros]);
    }

    /// A string in which nothing has to be escaped.
    fn plain(&mut self, text: impl AsRef<[u8]>) {
        self.line.push(b'"');
        self.line.extend_from_slice(text.as_ref());
        self.line.push(b'"');
    }
}

/// Writes the last digits of a number, as many as there is room for.
fn digits(room: &mut [u8], mut number: u16) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests;
