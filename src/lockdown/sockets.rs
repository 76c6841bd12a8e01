//! The connections that programs of this host opened before the lockdown, and their end.
//!
//! The rules stop them where conntrack knows who opened them. It may have been told wrongly, long before
//! (see [`tracking`](super::tracking)): so the sockets themselves are closed too.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::lockdown::commands::{self, CommandError};

const TABLE_V4: &str = "/proc/net/tcp";
const TABLE_V6: &str = "/proc/net/tcp6";
/// States of tcp(7) as the kernel numbers them.
const LISTEN: &str = "0A";
/// These have no program any more, and send nothing by themselves.
const GONE: [&str; 2] = ["06", "07"];
/// How many sockets one call of `ss` is told of: the filter is an argument.
const AT_ONCE: usize = 200;

/// Why it is not known whether they are closed.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("the sockets can't be listed: {0}")]
    List(#[from] io::Error),
}

/// A TCP socket of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// The connections to elsewhere that a program other than exeat opened: those whose port nobody
/// listens on here.
pub fn opened_here(exeat: Option<u32>) -> io::Result<Vec<Connection>> {
    let read = |path: &str| match fs::read_to_string(path) {
        // A kernel without IPv6 has no such table.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path == TABLE_V6 => Ok(String::new()),
        table => table,
    };
    Ok(select(&(read(TABLE_V4)? + &read(TABLE_V6)?), exeat))
}

fn select(tables: &str, exeat: Option<u32>) -> Vec<Connection> {
    let sockets: Vec<Row<'_>> = tables.lines().filter_map(Row::parse).collect();
    let served: HashSet<u16> =
        sockets.iter().filter(|row| row.state == LISTEN).map(|row| row.ends.local.port()).collect();
    let own: HashSet<IpAddr> = sockets.iter().map(|row| row.ends.local.ip()).collect();
    let opened = |row: &&Row<'_>| {
        let remote = row.ends.remote.ip();
        row.state != LISTEN
            && !GONE.contains(&row.state)
            && !remote.is_loopback()
            && !own.contains(&remote)
            && !served.contains(&row.ends.local.port())
            && exeat.is_none_or(|exeat| row.user != exeat)
    };
    sockets.iter().filter(opened).map(|row| row.ends).collect()
}

/// Closes them (`ss -K`), and returns those that are still there: the kernel may have been built without
/// `INET_DIAG_DESTROY`.
pub fn end(connections: &[Connection]) -> Result<Vec<Connection>, SocketsError> {
    for some in connections.chunks(AT_ONCE) {
        let filter: Vec<String> = some.iter().map(filter).collect();
        commands::run("ss", &["-K", "-H", "-t", "-n", "-a", &filter.join(" or ")], "")?;
    }
    let left: HashSet<Connection> = opened_here(None)?.into_iter().collect();
    Ok(connections.iter().filter(|connection| left.contains(connection)).copied().collect())
}

fn filter(connection: &Connection) -> String {
    format!("( src {} and dst {} )", connection.local, connection.remote)
}

/// A line of `/proc/net/tcp`.
struct Row<'t> {
    ends: Connection,
    state: &'t str,
    user: u32,
}

impl<'t> Row<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
        let state = words.next()?;
        let user = words.nth(3)?.parse().ok()?;
        Some(Self { ends: Connection { local, remote }, state, user })
    }
}

/// The kernel prints an address as 32-bit words of the machine's own byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let ip = match words[..] {
        [word] => IpAddr::V4(Ipv4Addr::from(word)),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [a, b, c, d].concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0
   1: 0500000A:0016 630200C0:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0
   2: 0500000A:9C40 07006CC6:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 100 0
   3: 0500000A:9C41 07006CC6:01BB 01 00000000:00000000 00:00000000 00000000   992        0 4 1 0 100 0
   4: 0500000A:9C42 07006CC6:01BB 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0
   5: 0100007F:9C43 0100007F:0C38 01 00000000:00000000 00:00000000 00000000  1000        0 5 1 0 100 0
   6: 0500000A:9C44 0500000A:0C38 01 00000000:00000000 00:00000000 00000000  1000        0 6 1 0 100 0
   7: B80D0120000000000000000005000000:9C45 B80D0120000000000000000063000000:0016 02 0:0 00:0 0 1000 0 7 1
   8: 0000000000000000FFFF00000500000A:9C46 0000000000000000FFFF000007006CC6:01BB 01 0:0 00:0 0 1000 0 8 1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn connections_to_elsewhere_that_others_than_exeat_opened_are_found() {
        let found: Vec<String> = select(SAMPLE, Some(992)).iter().map(filter).collect();
        assert_eq!(
            found,
            [
                "( src 10.0.0.5:40000 and dst 198.108.0.7:443 )",
                "( src [2001:db8::5]:40005 and dst [2001:db8::63]:22 )",
                "( src 10.0.0.5:40006 and dst 198.108.0.7:443 )",
            ]
        );
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        assert_eq!(select("\nsl local\n0: x:y z 01\n 1: 00:00 00:00 01 a b c d\n", None), []);
    }
}
