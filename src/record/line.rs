//! The JSON line of a record: keys, their order, and bounds on what a client may make long.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::host::{Host, Name};
use crate::reason::Reason;
use crate::record::Record;

/// A flow that ended.
const ENDED: &str = "exeat.flow/v1";
/// A flow that began: the same keys under a schema of its own, so that nothing that counts flows by
/// their schema counts one twice.
const OPENED: &str = "exeat.flow.opened/v1";
/// Names of profiles in a record; a client that more profiles take than this is a rarity.
const PROFILES_MAX: usize = 32;

/// Every key is always there, `null` where nothing is known: readers get a fixed table.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    #[serde(serialize_with = "text")]
    time: Milliseconds,
    #[serde(serialize_with = "text")]
    flow: crate::record::FlowId,
    ingress: &'static str,
    client: IpAddr,
    client_port: u16,
    user: Option<&'a str>,
    profiles: &'a [Box<str>],
    host: Option<HostText<'a>>,
    port: Option<u16>,
    server_name: Option<&'a str>,
    ech: Option<bool>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    address: Option<IpAddr>,
    parent: Option<&'a str>,
    verdict: &'static str,
    would_deny: bool,
    reason: &'static str,
    rule: Option<&'a str>,
    sent: u64,
    received: u64,
    dial_ms: Option<f64>,
    duration_ms: Option<f64>,
    status: Option<u16>,
    error: Option<&'a str>,
}

/// A host without the brackets of an authority.
#[derive(Serialize)]
#[serde(untagged)]
enum HostText<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

/// RFC 3339 in UTC with milliseconds.
struct Milliseconds(jiff::Timestamp);

impl Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

pub(super) fn write(record: &Record, line: &mut Vec<u8>) {
    let start = line.len();
    // Writing to a Vec can't fail, nor can any of these values.
    if serde_json::to_writer(&mut *line, &Line::from(record)).is_err() {
        line.truncate(start);
        return;
    }
    line.push(b'\n');
}

impl<'a> From<&'a Record> for Line<'a> {
    fn from(record: &'a Record) -> Self {
        let profiles = record.profiles.as_deref().unwrap_or_default();
        let reason = record.reason.unwrap_or(Reason::Internal);
        Self {
            schema: if record.duration.is_some() { ENDED } else { OPENED },
            time: Milliseconds(record.time),
            flow: record.flow,
            ingress: record.ingress.as_str(),
            client: record.client.ip(),
            client_port: record.client.address.port(),
            user: record.client.name(),
            profiles: &profiles[..profiles.len().min(PROFILES_MAX)],
            host: record.to.as_ref().map(|to| HostText::from(&to.host)),
            port: record.to.as_ref().map(|to| to.port),
            server_name: record.inside.server_name().map(Name::as_str),
            ech: record.inside.ech(),
            method: record.inside.method(),
            path: record.inside.path(),
            address: record.address,
            parent: record.parent.as_deref(),
            verdict: if reason.allows() { "allow" } else { "deny" },
            would_deny: record.would_deny,
            reason: reason.as_str(),
            rule: record.rule.as_deref(),
            sent: record.sent,
            received: record.received,
            dial_ms: record.dial.map(milliseconds),
            duration_ms: record.duration.map(milliseconds),
            status: record.status,
            error: record.error.as_deref(),
        }
    }
}

impl<'a> From<&'a Host> for HostText<'a> {
    fn from(host: &'a Host) -> Self {
        match host {
            Host::Ip(address) => Self::Ip(*address),
            Host::Name(name) => Self::Name(name.as_str()),
        }
    }
}

/// Milliseconds to three decimals: a dial within a region takes less than one.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
