//! The files of the local machine that say where names lead: `hosts` and `resolv.conf`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;

use crate::file::{self, ReadError};
use crate::host::Name;
use crate::resolve::server::{PORT, answering};

/// The server of a machine whose `resolv.conf` names none (resolv.conf(5)).
pub(super) const LOCAL_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
/// As many as libc heeds (`MAXNS`): whoever is listed behind them has never been asked.
const SERVERS_MAX: usize = 3;

/// Lists of names to block have several MiB. Part of a longer file would send names elsewhere than it says, so none of it
/// counts.
const HOSTS_MAX: u64 = 64 << 20;
/// What libc heeds of it, and a command in the jail, is a few lines.
pub const RESOLV_CONF_MAX: u64 = 1 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    path: PathBuf,
    #[source]
    error: Unusable,
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it names no DNS server")]
    NoServer,
    /// What its first `nameserver` line has instead of an address.
    #[error(
        "it names no usable DNS server: line {line} has {word:?}, where an IP address without a zone has to be"
    )]
    NoUsableServer { line: usize, word: String },
    #[error("it names no DNS server and is not text")]
    NotText,
    #[error(transparent)]
    Other(#[from] io::Error),
}

impl FileError {
    pub(super) fn new(path: &Path, error: io::Error) -> Self {
        Self { path: path.to_owned(), error: error.into() }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(&self.error, Unusable::Read(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether nothing is wrong with a `resolv.conf` but that it is not there or names nobody.
    pub(super) fn names_nobody(&self) -> bool {
        self.is_not_found() || matches!(self.error, Unusable::NoServer)
    }
}

/// The text of a file of at most `limit` bytes. It belongs to the whole machine, so what is not UTF-8 in it is no mistake.
fn read(path: &Path, limit: u64) -> Result<String, FileError> {
    let bytes = file::read_bytes(path, limit);
    let bytes = bytes.map_err(|error| FileError { path: path.to_owned(), error: error.into() })?;
    // Most are UTF-8, and are not copied.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The names of a hosts file with their addresses, in the order of the file. Every dial looks here first, and the file is
/// this host's own: nobody fills it with names that collide.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<Name, Vec<IpAddr>, RandomState>);

impl Hosts {
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        Ok(Self::parse(&read(path, HOSTS_MAX)?))
    }

    /// The addresses of a name, or `None` for a name that the file does not have.
    pub(super) fn find(&self, name: &Name) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Lines that libc would pass over are passed over here: the file belongs to the whole machine.
    fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        for line in text.lines() {
            let mut words = words(line, "#");
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words.filter_map(|word| Name::parse(word).ok()) {
                hosts.0.entry(name).or_default().push(address);
            }
        }
        for addresses in hosts.0.values_mut().filter(|addresses| addresses.len() > 1) {
            // Not by a look at all of them for each: a file has room for millions of one name.
            let mut known = HashSet::with_capacity_and_hasher(addresses.len(), RandomState::default());
            addresses.retain(|address| known.insert(*address));
        }
        hosts
    }
}

/// The servers of a `resolv.conf`; one that names no usable server is an error.
pub(super) fn read_resolv_conf(path: &Path) -> Result<Vec<SocketAddr>, FileError> {
    let text = read(path, RESOLV_CONF_MAX)?;
    parse_servers(&text).map_err(|error| FileError { path: path.to_owned(), error })
}

/// The servers of a file that may name nobody: then, and where there is no such file, there are none.
pub fn read_servers_if_any(path: &Path) -> Result<Vec<SocketAddr>, FileError> {
    match read_resolv_conf(path) {
        Err(error) if error.names_nobody() => Ok(Vec::new()),
        result => result,
    }
}

/// Takes the `nameserver` lines alone: search domains have no place here, and time-outs are ours.
/// Like libc it passes over what it can't read, as long as there is one that it can.
fn parse_servers(text: &str) -> Result<Vec<SocketAddr>, Unusable> {
    let mut servers = Vec::new();
    let mut unusable = None;
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = words(line, "#;");
        if words.next() != Some("nameserver") {
            continue;
        }
        let word = words.next().unwrap_or_default();
        match parse_server(word) {
            Some(server) if servers.contains(&server) => {}
            Some(server) => servers.push(server),
            None => unusable = unusable.or(Some((number, word))),
        }
    }
    servers.truncate(SERVERS_MAX);
    match unusable {
        _ if !servers.is_empty() => Ok(servers),
        Some((line, word)) => Err(Unusable::NoUsableServer { line, word: word.to_owned() }),
        // Who wrote it may have named servers, in UTF-16 say, or a crash left a hole where they stood.
        None if text.contains(['\0', char::REPLACEMENT_CHARACTER]) => Err(Unusable::NotText),
        None => Err(Unusable::NoServer),
    }
}

/// An address, or one with a port as OpenBSD writes it. A link-local one with its zone can't be asked.
fn parse_server(word: &str) -> Option<SocketAddr> {
    let address = word.parse().map(|ip| SocketAddr::new(ip, PORT)).ok();
    address.or_else(|| word.parse().ok().filter(|server| !has_zone(server))).map(answering)
}

fn has_zone(server: &SocketAddr) -> bool {
    matches!(server, SocketAddr::V6(v6) if v6.scope_id() != 0)
}

/// The words of a line before its comment.
fn words<'a>(line: &'a str, comment: &'static str) -> impl Iterator<Item = &'a str> {
    let text = line.split(|c| comment.contains(c)).next().unwrap_or_default();
    text.split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn found(hosts: &Hosts, name: &str) -> Option<Vec<String>> {
        let addresses = hosts.find(&Name::parse(name).unwrap())?;
        Some(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_hosts_file_gives_both_families() {
        let hosts = Hosts::parse(
            "# 192.0.2.9 comment.example\n\
             127.0.0.1\tlocalhost loopback.example # 192.0.2.9 tail.example\r\n\
             ::1 localhost\n\
             \n\
             192.0.2.1 A.example. b.example\n\
             192.0.2.2 a.example\n\
             192.0.2.1 a.example\n",
        );
        for (name, addresses) in [
            ("localhost", Some(vec!["127.0.0.1", "::1"])),
            ("loopback.example", Some(vec!["127.0.0.1"])),
            ("a.example", Some(vec!["192.0.2.1", "192.0.2.2"])),
            ("b.example", Some(vec!["192.0.2.1"])),
            ("comment.example", None),
            ("tail.example", None),
            ("example", None),
        ] {
            let addresses = addresses.map(|list| list.into_iter().map(str::to_owned).collect());
            assert_eq!(found(&hosts, name), addresses, "{name}");
        }
    }

    #[test]
    fn a_name_may_have_a_great_many_addresses() {
        let lines =
            (0..200_000_u32).map(|number| format!("{} a.example\n", Ipv4Addr::from(0x0b00_0000 + number)));
        let text: String = lines.collect();
        let began = Instant::now();
        let hosts = Hosts::parse(&(text.clone() + &text));
        assert_eq!(found(&hosts, "a.example").map(|addresses| addresses.len()), Some(200_000));
        // One look at all of them for each takes minutes.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn odd_lines_of_a_hosts_file_are_passed_over() {
        let hosts = Hosts::parse(
            "192.0.2.1\n0x7f.1 a.example\nfe80::1%lo0 a.example\n192.0.2.1:80 a.example\n\
             192.0.2.3 bad..name *.example 192.0.2.4 good.example\n",
        );
        assert_eq!(hosts.0.len(), 1);
        assert_eq!(found(&hosts, "good.example"), Some(vec!["192.0.2.3".to_owned()]));
    }

    #[test]
    fn servers_are_read_and_search_domains_are_not() {
        for (text, servers) in [
            (
                "domain corp.example\nsearch a.example b.example\noptions ndots:5 timeout:1\nnameserver 192.0.2.1\n",
                vec!["192.0.2.1:53"],
            ),
            (
                "; generated\nnameserver\t2001:db8::1 # first\nnameserver 192.0.2.1\nnameserver 192.0.2.1",
                vec!["[2001:db8::1]:53", "192.0.2.1:53"],
            ),
            ("nameserver [::1]:5353\nnameserver 127.0.0.1:54", vec!["[::1]:5353", "127.0.0.1:54"]),
            (
                "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4",
                vec!["1.1.1.1:53", "1.1.1.2:53", "1.1.1.3:53"],
            ),
        ] {
            let parsed: Vec<String> = parse_servers(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(parsed, servers, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_is_passed_over() {
        let instead = |word| {
            format!(
                "it names no usable DNS server: line 2 has {word:?}, where an IP address without a zone has to be"
            )
        };
        let nobody = || "it names no DNS server".to_owned();
        let not_text = || "it names no DNS server and is not text".to_owned();
        for (text, wrong) in [
            ("", nobody()),
            ("search example", nobody()),
            ("#nameserver 192.0.2.1", nobody()),
            ("\nnameserver", instead("")),
            ("\nnameserver dns.example\nnameserver ::g", instead("dns.example")),
            ("\nnameserver fe80::1%eth0", instead("fe80::1%eth0")),
            ("\nnameserver [fe80::1%2]:53", instead("[fe80::1%2]:53")),
            ("n\0a\0m\0e\0", not_text()),
            ("\u{fffd}", not_text()),
        ] {
            assert_eq!(parse_servers(text).unwrap_err().to_string(), wrong, "{text:?}");
            let with = format!("{text}\nnameserver 192.0.2.1");
            assert_eq!(parse_servers(&with).unwrap().len(), 1, "{text:?}");
        }
    }
}
