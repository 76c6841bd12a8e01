//! Sockets of connections that are over, for the next ones to the same address. To make a socket and to close it costs the
//! kernel more than to connect one again, which takes a connect(2) to an address of AF_UNSPEC in between.
//!
//! The address has to be the same: the kernel goes on counting where the last connection ended, so whoever was at its
//! other end can tell the next one's first sequence number, which must be a secret to anybody else (RFC 6528).

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use rustix::net::connect_unspec;
use socket2::Socket;
use tokio::net::TcpStream;

use crate::lock::lock;

/// The sockets, the newest last, and a bound on them. Their options are those of every connection to an upstream: they send
/// at once, and may be kept alive from the start. None leaves this host by a way of its own.
#[derive(Debug, Default)]
pub struct Spares {
    most: usize,
    sockets: Mutex<VecDeque<(SocketAddr, Socket)>>,
}

impl Spares {
    /// As one comes in for each that goes out, these do for any number of tunnels a second, to about as many addresses.
    pub const MOST: usize = 256;

    /// Room for at most so many.
    pub fn new(most: usize) -> Self {
        Self { most, sockets: Mutex::default() }
    }

    /// Keeps the socket of a connection to this address, if it is over; else closes it.
    pub fn keep(&self, socket: TcpStream, address: SocketAddr) {
        if self.most == 0 || !is_over(&socket) {
            return;
        }
        let Ok(socket) = socket.into_std() else { return };
        // Not every kernel that looks like Linux has this.
        if connect_unspec(&socket).is_err() {
            return;
        }
        let mut sockets = self.sockets();
        let oldest = if sockets.len() < self.most { None } else { sockets.pop_front() };
        sockets.push_back((address, socket.into()));
        drop(sockets);
        // Closed while nobody waits.
        drop(oldest);
    }

    /// A socket that was connected to this address and now is to none.
    pub fn take(&self, address: SocketAddr) -> Option<Socket> {
        let mut sockets = self.sockets();
        let newest = sockets.iter().rposition(|(to, _)| *to == address)?;
        sockets.remove(newest).map(|(_, socket)| socket)
    }

    fn sockets(&self) -> MutexGuard<'_, VecDeque<(SocketAddr, Socket)>> {
        lock(&self.sockets)
    }
}

/// Whether both sides have ended a connection and have heard all of each other: what the kernel still has to send would be
/// lost. Then, and not before, it has no peer (ENOTCONN). One that was broken off has none either, but an error, which the
/// next connection would be told.
fn is_over(socket: &TcpStream) -> bool {
    let has_no_peer = matches!(socket.peer_addr(), Err(error) if error.kind() == ErrorKind::NotConnected);
    has_no_peer && matches!(socket.take_error(), Ok(None))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::sleep;

    use super::*;

    /// How a connection ends.
    #[derive(Clone, Copy)]
    enum End {
        OursFirst,
        TheirsFirst,
        OnlyOurs,
        OnlyTheirs,
        Reset,
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Our side of a connection that carried a word each way and ended like that, once the kernel knows; its peer, where
    /// that has not ended.
    async fn ended(listener: &TcpListener, mut ours: TcpStream, end: End) -> (TcpStream, Option<TcpStream>) {
        let (mut theirs, _) = listener.accept().await.unwrap();
        let mut word = [0; 4];
        ours.write_all(b"ping").await.unwrap();
        theirs.read_exact(&mut word).await.unwrap();
        theirs.write_all(b"pong").await.unwrap();
        ours.read_exact(&mut word).await.unwrap();
        match end {
            End::OursFirst => {
                ours.shutdown().await.unwrap();
                assert_eq!(theirs.read(&mut word).await.unwrap(), 0);
                drop(theirs);
                assert_eq!(ours.read(&mut word).await.unwrap(), 0);
            }
            End::TheirsFirst => {
                drop(theirs);
                assert_eq!(ours.read(&mut word).await.unwrap(), 0);
                ours.shutdown().await.unwrap();
            }
            End::OnlyOurs => {
                ours.shutdown().await.unwrap();
                return (ours, Some(theirs));
            }
            End::OnlyTheirs => {
                theirs.shutdown().await.unwrap();
                assert_eq!(ours.read(&mut word).await.unwrap(), 0);
                return (ours, Some(theirs));
            }
            End::Reset => {
                theirs.shutdown().await.unwrap();
                assert_eq!(ours.read(&mut word).await.unwrap(), 0);
                theirs.set_zero_linger().unwrap();
                drop(theirs);
            }
        }
        while ours.peer_addr().is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        (ours, None)
    }

    /// The same by a socket that is asked of the spares, and kept by them if they will.
    async fn again(spares: &Spares, (listener, address): &(TcpListener, SocketAddr), end: End) -> bool {
        let spare = spares.take(*address);
        let was_there = spare.is_some();
        let socket = match spare {
            Some(socket) => TcpSocket::from_std_stream(socket.into()),
            None => TcpSocket::new_v4().unwrap(),
        };
        let (ours, _theirs) = ended(listener, socket.connect(*address).await.unwrap(), end).await;
        spares.keep(ours, *address);
        was_there
    }

    #[tokio::test]
    async fn what_is_over_is_connected_again_and_carries_bytes() {
        let (spares, to) = (Spares::new(2), listener().await);
        for (turn, end) in [End::OursFirst, End::TheirsFirst, End::OursFirst].into_iter().enumerate() {
            assert_eq!(again(&spares, &to, end).await, turn > 0, "turn {turn}");
        }
        assert!(spares.take(to.1).is_some());
    }

    #[tokio::test]
    async fn one_that_has_not_ended_or_was_broken_off_is_not_kept() {
        for end in [End::OnlyOurs, End::OnlyTheirs, End::Reset] {
            let (spares, to) = (Spares::new(2), listener().await);
            again(&spares, &to, end).await;
            assert!(spares.take(to.1).is_none());
        }
    }

    #[tokio::test]
    async fn one_for_another_address_is_not_given() {
        let (spares, to, other) = (Spares::new(2), listener().await, listener().await);
        again(&spares, &to, End::OursFirst).await;
        assert!(spares.take(other.1).is_none());
        assert!(spares.take(to.1).is_some());
    }

    #[tokio::test]
    async fn the_oldest_goes_where_there_are_too_many() {
        let (spares, to) = (Spares::new(2), [listener().await, listener().await, listener().await]);
        for to in &to {
            again(&spares, to, End::OursFirst).await;
        }
        let there = to.map(|(_, address)| spares.take(address).is_some());
        assert_eq!(there, [false, true, true]);
        let (none, to) = (Spares::default(), listener().await);
        again(&none, &to, End::OursFirst).await;
        assert!(none.take(to.1).is_none());
    }

    #[tokio::test]
    async fn it_still_sends_at_once() {
        let (spares, to) = (Spares::new(1), listener().await);
        let stream = TcpStream::connect(to.1).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (ours, _) = ended(&to.0, stream, End::OursFirst).await;
        spares.keep(ours, to.1);
        assert!(spares.take(to.1).unwrap().tcp_nodelay().unwrap());
    }
}
