//! Audit files: records of flows, one JSON line each, read back line by line.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::net::IpAddr;

use serde::Deserialize;

use crate::destination::Destination;
use crate::host::{Host, Name};
use crate::ingress::Ingress;
use crate::learn::observation::{Observation, Sight};
use crate::reason::Reason;
use crate::record::{ENDED, OPENED, clip};

/// The longest line that is read; a record has some 4 KiB at most.
const LINE_MAX: usize = 64 * 1024;

/// How much is shown of what is wrong with a line.
const SHOWN_MAX: usize = 200;

/// What one line is.
#[derive(Debug)]
pub enum Line {
    Flow(Observation),
    /// The record of a flow's start: its end has one too.
    Opened,
    Blank,
    /// No record, and why.
    Bad(String),
}

/// Reads lines to the end, whatever their number and length.
pub fn each(mut input: impl BufRead, mut take: impl FnMut(u64, Line)) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match next(&mut input, &mut line)? {
            None => break,
            Some(true) => take(number, read(&line)),
            Some(false) => {
                take(
                    number,
                    Line::Bad(format!("it is longer than {} KiB, and no record is", LINE_MAX >> 10)),
                );
            }
        }
    }
    Ok(())
}

/// Whether a file begins as compressed ones do, and with what it is to be read.
pub fn decompressor(start: &[u8]) -> Option<&'static str> {
    // RFC 1952 §2.3.1; RFC 8878 §3.1.1; the xz file format §2.1.1.1; bzip2.
    let kinds: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "zcat"),
        (b"\x28\xb5\x2f\xfd", "zstdcat"),
        (b"\xfd7zXZ\0", "xzcat"),
        (b"BZh", "bzcat"),
    ];
    kinds.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, program)| *program)
}

/// Reads one line without its end; false if it is too long, nothing at the end.
fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let (mut any, mut fits) = (false, true);
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok(any.then_some(fits));
        }
        any = true;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        fits &= line.len() + piece.len() <= LINE_MAX;
        if fits {
            line.extend_from_slice(piece);
        }
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(fits));
        }
    }
}

/// The keys of a record that matter here.
#[derive(Deserialize)]
struct Keys<'l> {
    #[serde(borrow)]
    schema: Cow<'l, str>,
    #[serde(borrow)]
    time: Cow<'l, str>,
    #[serde(borrow)]
    ingress: Cow<'l, str>,
    client: IpAddr,
    user: Option<Box<str>>,
    profiles: Vec<Box<str>>,
    host: Option<Cow<'l, str>>,
    port: Option<u16>,
    server_name: Option<Cow<'l, str>>,
    /// Records of before had no such key.
    ech: Option<bool>,
    method: Option<Box<str>>,
    path: Option<Box<str>>,
    address: Option<IpAddr>,
    #[serde(borrow)]
    reason: Cow<'l, str>,
    sent: u64,
    received: u64,
}

fn read(line: &[u8]) -> Line {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Line::Blank;
    }
    match serde_json::from_slice::<Keys<'_>>(line) {
        Ok(keys) if keys.schema == OPENED => Line::Opened,
        Ok(keys) if keys.schema == ENDED => match keys.observation() {
            Ok(observation) => Line::Flow(observation),
            Err(what) => Line::Bad(what),
        },
        Ok(keys) => Line::Bad(format!("its schema {:?} is not {ENDED}", keys.schema)),
        Err(error) => Line::Bad(clip(&format!("it is no record of exeat: {error}"), SHOWN_MAX).to_owned()),
    }
}

impl Keys<'_> {
    fn observation(self) -> Result<Observation, String> {
        let ingress = Ingress::ALL.iter().find(|ingress| ingress.as_str() == self.ingress);
        let ingress = *ingress.ok_or_else(|| format!("there is no ingress {:?}", self.ingress))?;
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == self.reason);
        let reason = *reason.ok_or_else(|| format!("there is no reason {:?}", self.reason))?;
        let to = match (&self.host, self.port) {
            (Some(host), Some(port)) => Some(Destination::new(parse(host)?, port)),
            (None, None) => None,
            _ => return Err("it has only one of host and port".to_owned()),
        };
        let moved = self.sent > 0 || self.received > 0;
        let sight = match (&self.server_name, self.method, self.path) {
            (Some(name), ..) => {
                let server_name =
                    Name::parse(name).map_err(|error| format!("the server name {name:?}: {error}"))?;
                Sight::Tls { server_name, ech: self.ech.unwrap_or(false) }
            }
            (None, Some(method), Some(path)) => Sight::Http { method, path },
            // A question's type stands in `method`, and nobody looked inside anything.
            _ if moved && ingress != Ingress::Dns => Sight::Other,
            _ => Sight::Unknown,
        };
        let time = self.time.parse().map_err(|_| format!("the time {:?} is none", self.time))?;
        let client = self.client.to_canonical();
        Ok(Observation {
            time,
            ingress,
            client,
            name: self.user,
            profiles: self.profiles,
            to,
            sight,
            address: self.address,
            reason,
        })
    }
}

/// A host as records have it: without the brackets of an authority.
fn parse(host: &str) -> Result<Host, String> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(Host::from(address)),
        Err(_) => Host::parse(host).map_err(|error| format!("the host {host:?}: {error}")),
    }
}
