//! Ports of the jail that this host may reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::jail::Running;

/// `PORT` or `PORT:INSIDE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    outside: u16,
    inside: u16,
}

/// One that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    listener: TcpListener,
    inside: u16,
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            let port = text.parse::<NonZeroU16>();
            port.map(NonZeroU16::get).map_err(|_| format!("{text:?} is no port: write 8080, or 8080:80"))
        };
        match text.split_once(':') {
            Some((outside, inside)) => Ok(Self { outside: port(outside)?, inside: port(inside)? }),
            None => port(text).map(|both| Self { outside: both, inside: both }),
        }
    }
}

/// Binds them on this host's loopback; the error is for people.
pub(super) async fn bind(ports: &[Published]) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    for port in ports {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.outside));
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("can't publish at {address}: {error}"))?;
        bound.push(Bound { listener, inside: port.inside });
    }
    Ok(bound)
}

impl Bound {
    /// Carries what connects into the jail, as long as that is there.
    pub(super) async fn serve(self, running: Running) {
        while let Ok((client, _)) = self.listener.accept().await {
            tokio::spawn(carry(client, running.clone(), self.inside));
        }
    }
}

/// A connection that nobody inside takes is closed.
async fn carry(mut client: TcpStream, running: Running, inside: u16) {
    let Ok(server) = running.connect(inside).await else { return };
    let Ok(mut server) = server.set_nonblocking(true).and_then(|()| TcpStream::from_std(server)) else {
        return;
    };
    // Either end may break off at any time, and the other hears of it by the close.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_same_on_both_sides_unless_two_are_given() {
        assert_eq!("8080".parse(), Ok(Published { outside: 8080, inside: 8080 }));
        assert_eq!("8080:80".parse(), Ok(Published { outside: 8080, inside: 80 }));
        for text in ["0", "80:", ":80", "65536", "http"] {
            assert!(text.parse::<Published>().is_err(), "{text}");
        }
    }
}
