//! Moves bytes both ways between two connections until both sides are done.
//!
//! Short reads are copied through one buffer that the thread owns; a direction that turns out to be
//! bulk is spliced through a pipe that it borrows for as long as bytes are in it. A tunnel in which
//! nothing moves holds neither.

mod copy;
mod direction;
mod fault;
mod pipes;
mod splice;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use self::direction::Direction;
use self::fault::Fault;
use self::pipes::Pipes;
use crate::alarm::Alarm;
use crate::counters::Counters;
use crate::error::Error;
use crate::silence::Silence;
use crate::spares::Spares;
use crate::stream::{Stream, YOUTH};

/// What all tunnels share.
#[derive(Debug)]
pub struct Relay {
    silence: Silence,
    pipes: Pipes,
    spares: Arc<Spares>,
}

/// The two connections of a tunnel, and how long they are waited for.
#[derive(Debug)]
pub struct Ends {
    pub client: Stream,
    pub upstream: Stream,
    /// Where the upstream's socket may be connected again once it is over.
    pub again: Option<SocketAddr>,
    /// The timer of the steps before.
    pub alarm: Alarm,
}

impl Ends {
    /// Two connections that were not waited for yet.
    pub fn new(client: Stream, upstream: Stream) -> Self {
        Self { client, upstream, again: None, alarm: Alarm::default() }
    }
}

impl Relay {
    /// As many pipes of 256 KiB as the kernel grants a user without privileges (16,384 pages); two
    /// file descriptors each.
    pub const PIPES: usize = 256;
    /// Beyond what a settings file can mean, and still a time that can be added to now.
    const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

    /// A relay that opens at most `pipes` pipes; tunnels that find none copy.
    pub fn new(silence: Silence, pipes: usize) -> Self {
        let silence = Silence {
            idle: silence.idle.min(Self::LONGEST),
            half_closed: silence.half_closed.min(Self::LONGEST),
        };
        Self { silence, pipes: Pipes::new(pipes), spares: Arc::default() }
    }

    /// The same, which keeps sockets that may be connected again.
    pub fn with_spares(self, spares: Arc<Spares>) -> Self {
        Self { spares, ..self }
    }

    /// Moves bytes, the heads first, until both sides have ended and all has been delivered, and
    /// says why if it ended earlier. The end of one side is passed on and leaves the other
    /// direction open. A reset by one side resets the other; silence or `stop` reset both, since an
    /// orderly end would tell the peers that they have everything. An upstream that is older than [`YOUTH`] is kept alive.
    /// The ends stay where they are, in their box.
    pub async fn carry(
        &self,
        ends: Box<Ends>,
        counters: &Counters,
        stop: impl Future<Output = Error>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let mut tunnel = Tunnel {
            ends,
            sent: Direction::new(&counters.sent, &self.pipes),
            received: Direction::new(&counters.received, &self.pipes),
            silence: self.silence,
            last: now,
            half_closed: false,
            young_until: Some(now + YOUTH),
        };
        let end = {
            let mut stop = pin!(stop);
            poll_fn(|cx| {
                if let Poll::Ready(error) = stop.as_mut().poll(cx) {
                    return Poll::Ready(Err(error));
                }
                if let Poll::Ready(end) = tunnel.poll(cx) {
                    return Poll::Ready(end);
                }
                tunnel.poll_silence(cx).map(|()| Err(Error::IdleTimeout))
            })
            .await
        };
        match &end {
            Ok(()) => tunnel.retire(&self.spares),
            Err(error) => {
                if let Some(peer) = tunnel.close(error) {
                    // Boxed, as it is rare and would make every tunnel's future larger.
                    Box::pin(peer.close_lingering(&[])).await;
                }
            }
        }
        end
    }
}

/// One flow's two connections and the two directions between them.
struct Tunnel<'a> {
    ends: Box<Ends>,
    sent: Direction<'a>,
    received: Direction<'a>,
    silence: Silence,
    /// When a byte moved last, or a side ended.
    last: Instant,
    half_closed: bool,
    /// Until then the upstream need not be kept alive; `None`: it is.
    young_until: Option<Instant>,
}

impl Tunnel<'_> {
    /// Moves what can be moved now; ready when both directions have ended or one has broken.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Replies first: an upstream that answers and resets, as one does that refuses an upload, is
        // heard out before a write to it fails. The kernel tells of a reset once and then shows an
        // orderly end, so after a fault nothing is read any more.
        let Ends { client, upstream, .. } = &mut *self.ends;
        let received = self.received.poll(cx, upstream, client, self.sent.ended());
        if let Poll::Ready(Err(fault)) = received {
            return Poll::Ready(Err(match fault {
                Fault::Source => Error::UpstreamReset,
                Fault::Sink => Error::ClientReset,
            }));
        }
        let sent = self.sent.poll(cx, client, upstream, self.received.ended());
        if let Poll::Ready(Err(fault)) = sent {
            return Poll::Ready(Err(match fault {
                Fault::Source => Error::ClientReset,
                Fault::Sink => Error::UpstreamReset,
            }));
        }
        if sent.is_ready() && received.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Ready when nothing has moved for as long as it may. While bytes move only a stamp is written.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let moved = self.sent.take_moved() | self.received.take_moved();
        let half_closed = self.sent.ended() || self.received.ended();
        if moved || half_closed != self.half_closed {
            self.last = Instant::now();
        }
        self.half_closed = half_closed;
        let due = self.last + self.silence.limit(half_closed);
        if let Some(young) = self.young_until {
            ready!(self.ends.alarm.poll(young.min(due), cx));
            self.young_until = None;
            self.ends.upstream.keep_alive();
        }
        self.ends.alarm.poll(due, cx)
    }

    /// Closes both sides, which have ended. What may be connected again is kept.
    fn retire(self, spares: &Spares) {
        let Ends { client, upstream, again, .. } = *self.ends;
        drop(client);
        if let (Some(address), Some(socket)) = (again, upstream.into_bare()) {
            spares.keep(socket, address);
        }
    }

    /// Closes both sides as the error demands. A peer that is to be told of a reset, but has been
    /// sent all that the other side had to say, is returned: resetting it at once could take back
    /// bytes that are still on their way to it.
    fn close(self, error: &Error) -> Option<Stream> {
        let Self { ends, sent, received, .. } = self;
        let (peer, has_everything) = match error {
            Error::ClientReset => (ends.upstream, sent.ended()),
            Error::UpstreamReset => (ends.client, received.ended()),
            _ => {
                ends.client.reset();
                ends.upstream.reset();
                return None;
            }
        };
        if has_everything {
            return Some(peer);
        }
        peer.reset();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::os::fd::AsFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::sleep;

    use super::*;

    const SILENCE: Silence =
        Silence { idle: Duration::from_secs(3600), half_closed: Duration::from_secs(300) };

    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (far, Stream::new(listener.accept().await.unwrap().0))
    }

    /// A client, an upstream, and our ends of their connections.
    async fn peers() -> (TcpStream, TcpStream, Box<Ends>) {
        let ((client_peer, client), (upstream_peer, upstream)) = (pair().await, pair().await);
        (client_peer, upstream_peer, Box::new(Ends::new(client, upstream)))
    }

    #[tokio::test]
    async fn the_future_of_a_tunnel_is_small() {
        let relay = Relay::new(SILENCE, 1);
        let counters = Counters::default();
        let (_client, _upstream, ends) = peers().await;
        let future = relay.carry(ends, &counters, pending());
        let size = size_of_val(&future);
        assert!(size <= 384, "{size} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn the_upstream_of_a_tunnel_that_lives_is_kept_alive() {
        let relay = Relay::new(SILENCE, 1);
        let counters = Counters::default();
        let (_client, mut upstream, ends) = peers().await;
        let socket = ends.upstream.bare().unwrap().as_fd().try_clone_to_owned().unwrap();
        let is_kept = || socket2::SockRef::from(&socket).keepalive().unwrap();
        let looks = async {
            sleep(YOUTH - Duration::from_secs(1)).await;
            // As if half of it ended: that does not put it off.
            upstream.shutdown().await.unwrap();
            assert!(!is_kept());
            sleep(Duration::from_secs(2)).await;
            assert!(is_kept());
        };
        tokio::select! {
            () = looks => {}
            end = relay.carry(ends, &counters, pending()) => panic!("{end:?}"),
        }
    }

    #[tokio::test]
    async fn bulk_borrows_a_pipe_and_gives_it_back_and_small_messages_borrow_none() {
        for (size, pipes) in [(1000, 0), (8 << 20, 1)] {
            let relay = Relay::new(SILENCE, 4);
            let counters = Counters::default();
            let (mut client, mut upstream, ends) = peers().await;
            let tunnel = relay.carry(ends, &counters, pending());
            let sides = async {
                let mut received = vec![0; size];
                let sent = vec![7; size];
                let (sending, receiving) =
                    tokio::join!(client.write_all(&sent), upstream.read_exact(&mut received));
                assert!(sending.is_ok() && receiving.is_ok() && sent == received);
                // Nothing moves and both sides are still open.
                assert_eq!(relay.pipes.open_and_idle(), (pipes, pipes));
            };
            tokio::select! {
                () = sides => {}
                end = tunnel => panic!("{end:?}"),
            }
        }
    }
}
