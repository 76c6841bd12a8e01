//! Whether asking the servers of `/etc/resolv.conf` would come back to exeat.
//!
//! A stub resolver (systemd-resolved at 127.0.0.53) asks the network itself, and the lockdown sends its
//! questions to exeat: if exeat asked the stub, each question would go round for ever.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::resolve::{BEHIND_STUB, FileError, RESOLV_CONF, read_servers_if_any};

/// A stub that exeat would ask.
#[derive(Debug)]
pub struct Stub {
    pub address: IpAddr,
    /// The servers behind it, where they are known, or why they can't be told.
    pub upstream: Result<Vec<IpAddr>, FileError>,
}

/// Looks for a stub among the servers that exeat will ask: those of its settings, or the system's.
pub fn find(settings: &[SocketAddr]) -> Result<Option<Stub>, FileError> {
    find_in(settings, Path::new(RESOLV_CONF), Path::new(BEHIND_STUB))
}

fn find_in(settings: &[SocketAddr], system: &Path, behind: &Path) -> Result<Option<Stub>, FileError> {
    let servers = match settings {
        [] => servers_of(system)?,
        _ => settings.iter().map(SocketAddr::ip).collect(),
    };
    // A system without servers asks 127.0.0.1 (resolv.conf(5)).
    let first = servers.iter().find(|server| server.to_canonical().is_loopback()).copied();
    let address = match first {
        None if servers.is_empty() => IpAddr::from([127, 0, 0, 1]),
        Some(first) => first,
        None => return Ok(None),
    };
    let upstream = servers_of(behind).map(|mut servers| {
        servers.retain(|server| !server.is_loopback());
        servers
    });
    Ok(Some(Stub { address, upstream }))
}

/// As exeat will read them; none where there is no such file, or no server is named in it.
fn servers_of(path: &Path) -> Result<Vec<IpAddr>, FileError> {
    Ok(read_servers_if_any(path)?.iter().map(SocketAddr::ip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_settings_are_looked_at_instead_of_the_system() {
        assert!(find(&["192.0.2.1:53".parse().unwrap()]).unwrap().is_none());
        for loopback in ["127.0.0.53:53", "[::1]:53", "[::ffff:127.0.0.1]:53"] {
            let address: SocketAddr = loopback.parse().unwrap();
            assert_eq!(find(&[address]).unwrap().map(|stub| stub.address), Some(address.ip()));
        }
    }

    #[test]
    fn a_file_that_can_not_be_used_is_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let [system, behind, none] = ["system", "behind", "none"].map(|name| directory.path().join(name));
        std::fs::write(&system, "nameserver 127.0.0.53\n").unwrap();
        let upstream = || find_in(&[], &system, &behind).unwrap().unwrap().upstream;
        assert_eq!(upstream().unwrap(), [] as [IpAddr; 0]);
        std::fs::write(&behind, "nameserver 127.0.0.1\nnameserver 192.0.2.1\n").unwrap();
        assert_eq!(upstream().unwrap(), [IpAddr::from([192, 0, 2, 1])]);

        let long = "nameserver 192.0.2.1\n".to_owned() + &" ".repeat(1 << 20);
        for bad in [long.as_bytes(), b"nameserver dns.example\n", b"\xff\xfen\0"] {
            std::fs::write(&behind, bad).unwrap();
            let error = upstream().unwrap_err().to_string();
            assert!(error.starts_with(&behind.display().to_string()), "{error}");
            // The same as the system's: whom exeat would ask is not known then.
            let error = find_in(&[], &behind, &none).unwrap_err().to_string();
            assert!(error.starts_with(&behind.display().to_string()), "{error}");
        }
        // Nobody is named: the server on this host is asked (resolv.conf(5)).
        std::fs::write(&behind, "search example\n").unwrap();
        for nobody in [&behind, &none] {
            let stub = find_in(&[], nobody, &none).unwrap().unwrap();
            assert_eq!(stub.address, IpAddr::from([127, 0, 0, 1]));
        }
    }
}
