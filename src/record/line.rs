//! The JSON line of a record: keys, their order, and bounds on what a client may make long.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::host::{Host, Name};
use crate::reason::Reason;
use crate::record::Record;

/// The schema of a flow that ended.
pub const ENDED: &str = "exeat.flow/v1";
/// That of a flow that began: the same keys under a schema of its own, so that nothing that counts flows by
/// their schema counts one twice.
pub const OPENED: &str = "exeat.flow.opened/v1";
/// Names of profiles in a record; a client that more profiles take than this is a rarity.
const PROFILES_MAX: usize = 32;

/// A JSON object as it is written. serde_json would look at each byte of the keys too, every time, for what has to be
/// escaped: of a line that is more than a half, and there is one for each flow.
struct Object<'a> {
    line: &'a mut Vec<u8>,
}

/// Every key is always there, `null` where nothing is known: readers get a fixed table.
pub(super) fn write(record: &Record, line: &mut Vec<u8>) {
    let profiles = record.profiles.as_deref().unwrap_or_default();
    let reason = record.reason.unwrap_or(Reason::Internal);
    let to = record.to.as_ref();
    let schema = if record.duration.is_some() { ENDED } else { OPENED };
    let mut object = Object { line };
    object.line.extend_from_slice(b"{\"schema\":");
    object.string(schema);
    object.key("time").plain(format_args!("{:.3}", record.time));
    object.key("flow").plain(record.flow);
    object.key("ingress").string(record.ingress.as_str());
    object.key("client").value(record.client.ip());
    object.key("client_port").value(record.client.address.port());
    object.key("user").text(record.client.name());
    object.key("profiles").value(&profiles[..profiles.len().min(PROFILES_MAX)]);
    object.key("host").host(to.map(|to| &to.host));
    object.key("port").value(to.map(|to| to.port));
    object.key("server_name").text(record.inside.server_name().map(Name::as_str));
    object.key("ech").value(record.inside.ech());
    object.key("method").text(record.inside.method());
    object.key("path").text(record.inside.path());
    object.key("address").value(record.address);
    object.key("parent").text(record.parent.as_deref());
    object.key("verdict").string(if reason.allows() { "allow" } else { "deny" });
    object.key("would_deny").value(record.would_deny);
    object.key("reason").string(reason.as_str());
    object.key("rule").text(record.rule.as_deref());
    object.key("sent").value(record.sent);
    object.key("received").value(record.received);
    object.key("dial_ms").value(record.dial.map(milliseconds));
    object.key("duration_ms").value(record.duration.map(milliseconds));
    object.key("status").value(record.status);
    object.key("error").text(record.error.as_deref());
    object.line.extend_from_slice(b"}\n");
}

impl Object<'_> {
    /// Begins the next value.
    fn key(&mut self, key: &'static str) -> &mut Self {
        self.line.extend_from_slice(b",\"");
        self.line.extend_from_slice(key.as_bytes());
        self.line.extend_from_slice(b"\":");
        self
    }

    fn value(&mut self, value: impl Serialize) {
        // Writing to a Vec can't fail, nor can any of these values.
        let _ = serde_json::to_writer(&mut *self.line, &value);
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    fn string(&mut self, text: &str) {
        // What JSON has to escape (RFC 8259 §7); looked for without an end in between, which compilers make vectors of.
        let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        if text.bytes().fold(false, |found, byte| found | is_special(byte)) {
            return self.value(text);
        }
        self.line.push(b'"');
        self.line.extend_from_slice(text.as_bytes());
        self.line.push(b'"');
    }

    /// A host without the brackets of an authority.
    fn host(&mut self, host: Option<&Host>) {
        match host {
            Some(Host::Ip(address)) => self.value(address),
            Some(Host::Name(name)) => self.string(name.as_str()),
            None => self.null(),
        }
    }

    /// A string in which nothing has to be escaped.
    fn plain(&mut self, text: impl Display) {
        self.line.push(b'"');
        // As above.
        let _ = write!(self.line, "{text}");
        self.line.push(b'"');
    }

    fn null(&mut self) {
        self.line.extend_from_slice(b"null");
    }
}

/// Milliseconds to three decimals: a dial within a region takes less than one.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
