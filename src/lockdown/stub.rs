//! Whether asking the servers of `/etc/resolv.conf` would come back to exeat.
//!
//! A stub resolver (systemd-resolved at 127.0.0.53) asks the network itself, and the lockdown sends its
//! questions to exeat: if exeat asked the stub, each question would go round for ever.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Where systemd-resolved writes the servers that it asks itself.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
const SYSTEM: &str = "/etc/resolv.conf";

/// A stub that exeat would ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    pub address: IpAddr,
    /// The servers behind it, where they are known.
    pub upstream: Vec<IpAddr>,
}

/// Looks for a stub among the servers that exeat will ask: those of its settings, or the system's.
pub fn find(settings: &[SocketAddr]) -> Option<Stub> {
    let servers = match settings {
        [] => servers_of(Path::new(SYSTEM)),
        _ => settings.iter().map(SocketAddr::ip).collect(),
    };
    // A system without servers asks 127.0.0.1 (resolv.conf(5)).
    let first = servers.iter().find(|server| server.to_canonical().is_loopback()).copied();
    let address = match first {
        None if servers.is_empty() => IpAddr::from([127, 0, 0, 1]),
        first => first?,
    };
    let mut upstream = servers_of(Path::new(BEHIND_RESOLVED));
    upstream.retain(|server| !server.is_loopback());
    Some(Stub { address, upstream })
}

fn servers_of(path: &Path) -> Vec<IpAddr> {
    let text = fs::read(path).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text))
}

fn parse(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        words.next()?.split('%').next()?.parse().ok()
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_resolv_conf() {
        let text = "# nameserver 192.0.2.9\nnameserver 127.0.0.53\noptions edns0\nnameserver fe80::1%eth0\n";
        let servers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.53", "fe80::1"]);
    }

    #[test]
    fn servers_of_the_settings_are_looked_at_instead_of_the_system() {
        assert_eq!(find(&["192.0.2.1:53".parse().unwrap()]), None);
        for loopback in ["127.0.0.53:53", "[::1]:53", "[::ffff:127.0.0.1]:53"] {
            let address: SocketAddr = loopback.parse().unwrap();
            assert_eq!(find(&[address]).map(|stub| stub.address), Some(address.ip()));
        }
    }
}
