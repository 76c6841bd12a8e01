//! Whether asking the servers of `/etc/resolv.conf` would come back to exeat.
//!
//! A stub resolver (systemd-resolved at 127.0.0.53) asks the network itself, and the lockdown sends its
//! questions to exeat: if exeat asked the stub, each question would go round for ever.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::resolve::read_resolv_conf;

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

/// As exeat will read them; none where there is no such file, or no usable server in it.
fn servers_of(path: &Path) -> Vec<IpAddr> {
    read_resolv_conf(path).unwrap_or_default().iter().map(SocketAddr::ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_settings_are_looked_at_instead_of_the_system() {
        assert_eq!(find(&["192.0.2.1:53".parse().unwrap()]), None);
        for loopback in ["127.0.0.53:53", "[::1]:53", "[::ffff:127.0.0.1]:53"] {
            let address: SocketAddr = loopback.parse().unwrap();
            assert_eq!(find(&[address]).map(|stub| stub.address), Some(address.ip()));
        }
    }
}
