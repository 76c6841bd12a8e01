//! Whether a question to the DNS servers would come back to exeat's own DNS door, and go round for ever.

use std::net::SocketAddr;
use std::path::Path;

use crate::resolve::files::{self, FileError};
use crate::resolve::server::Server;
use crate::sys;

/// A way back to exeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Circle {
    #[error(
        "{0}, the server that names are looked up at, is exeat itself: set dns.servers to the ones behind it"
    )]
    Direct(SocketAddr),
    #[error(
        "{stub}, the server that names are looked up at, asks {door}, which is exeat itself: set dns.servers to the \
         ones that it should ask"
    )]
    Behind { stub: SocketAddr, door: SocketAddr },
}

/// Looks for one among the servers, and behind those that are stubs of this host: `behind_stub` lists whom
/// systemd-resolved asks, if it runs here. What another stub asks can't be known.
pub(super) fn find(
    servers: &[Server],
    doors: &[SocketAddr],
    behind_stub: &Path,
) -> Result<Option<Circle>, FileError> {
    if doors.is_empty() {
        return Ok(None);
    }
    let addresses = || servers.iter().map(|server| server.address);
    if let Some(server) = addresses().find(|server| is_door(*server, doors)) {
        return Ok(Some(Circle::Direct(server)));
    }
    let Some(stub) = addresses().find(|server| server.ip().to_canonical().is_loopback()) else {
        return Ok(None);
    };
    let behind = files::read_servers_if_any(behind_stub)?;
    let door = behind.into_iter().find(|server| is_door(*server, doors));
    Ok(door.map(|door| Circle::Behind { stub, door }))
}

fn is_door(server: SocketAddr, doors: &[SocketAddr]) -> bool {
    let ip = server.ip().to_canonical();
    doors.iter().any(|door| {
        let own = door.ip().to_canonical();
        // To connect to the unspecified address is to connect to loopback.
        let is_at = own == ip || ((own.is_unspecified() || ip.is_unspecified()) && sys::is_local(ip));
        door.port() == server.port() && is_at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(servers: &[&str], doors: &[&str], behind: &str) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, behind).unwrap();
        let servers: Vec<Server> = servers.iter().map(|text| text.parse().unwrap()).collect();
        let doors: Vec<SocketAddr> = doors.iter().map(|text| text.parse().unwrap()).collect();
        find(&servers, &doors, &path).unwrap().map(|circle| circle.to_string())
    }

    #[test]
    fn the_door_is_found_wherever_it_listens() {
        for (server, door) in [
            ("127.0.0.1:3153", "127.0.0.1:3153"),
            ("127.0.0.7:3153", "0.0.0.0:3153"),
            ("127.0.0.1:3153", "[::]:3153"),
            ("0.0.0.0:3153", "127.0.0.1:3153"),
            ("[::ffff:127.0.0.1]:3153", "127.0.0.1:3153"),
            ("tls://127.0.0.1:3153", "127.0.0.1:3153"),
        ] {
            let circle = found(&["192.0.2.1", server], &["192.0.2.7:53", door], "");
            assert!(circle.is_some_and(|text| text.contains(":3153, the server")), "{server} {door}");
        }
        // Another server of this host on the same port is somebody else.
        for (server, door) in [
            ("127.0.0.1:53", "127.0.0.2:53"),
            ("127.0.0.1:53", "127.0.0.1:3153"),
            ("192.0.2.1:53", "0.0.0.0:53"),
        ] {
            assert_eq!(found(&[server], &[door], ""), None, "{server} {door}");
        }
    }

    #[test]
    fn a_stub_that_asks_the_door_is_a_way_back_too() {
        let behind = "nameserver 192.0.2.1\nnameserver 127.0.0.1\n";
        let circle = found(&["127.0.0.53"], &["127.0.0.1:53"], behind).unwrap();
        assert!(circle.contains("127.0.0.53:53") && circle.contains("asks 127.0.0.1:53"), "{circle}");
        assert_eq!(found(&["192.0.2.9"], &["127.0.0.1:53"], behind), None, "it is not asked");
        assert_eq!(found(&["127.0.0.53"], &["127.0.0.1:3153"], behind), None);
        assert_eq!(found(&["127.0.0.53"], &["127.0.0.1:53"], "nameserver 192.0.2.1\n"), None);
        assert_eq!(found(&["127.0.0.53"], &[], behind), None);
    }
}
