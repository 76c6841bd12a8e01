//! Idle connections to upstreams, each for the client and the policy that opened it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use tokio::task::yield_now;

use crate::client::{Certificate, User};
use crate::destination::Destination;
use crate::dial::{Course, Reached, Through, Upstream};
use crate::gate::http::driven::Driven;
use crate::gate::http::forwarded;
use crate::gate::http::sent::Sent;
use crate::lock::lock;
use crate::policy::{Passage, Question};
use crate::proxy::Standing;

/// Idle connections kept for one key: no client has all of the room.
const KEPT_A_KEY: usize = 64;

/// How often a request that finds all connections of its key lent looks again before it opens another one, each time after
/// the loop has seen to what has arrived: under load that gives one back, and a connection costs more than an exchange.
const TURNS: usize = 2;

/// Who may use a connection again: connection-bound authentication (NTLM, Negotiate) makes it the
/// client's own, and another policy might not have opened it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub client: IpAddr,
    pub user: Option<Arc<User>>,
    pub certificate: Option<Arc<Certificate>>,
    pub to: Destination,
    pub policy: u64,
    /// With another source address it would be another tenant's.
    pub course: Course,
}

impl Key {
    pub(super) fn new(standing: &Standing, question: &Question<'_>, course: Course) -> Self {
        let client = &standing.client;
        Self {
            client: client.ip(),
            user: client.user.clone(),
            certificate: client.certificate.clone(),
            to: question.to.clone(),
            policy: standing.policy.revision(),
            course,
        }
    }
}

/// A connection to an upstream, in use by one exchange.
pub(super) struct Lease {
    key: Arc<Key>,
    reached: Arc<Reached>,
    connection: Driven,
    /// Whether it has served an exchange already: then its upstream may have closed it meanwhile.
    reused: bool,
    /// Whose loop has its socket: an exchange from there wakes no other.
    thread: ThreadId,
}

/// The connections that wait for the next request of their client.
#[derive(Debug)]
pub struct Pool {
    shelf: Mutex<Shelf>,
    keep: Duration,
    room: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Those of a key that are all in use have left an empty place.
    idle: HashMap<Arc<Key>, Vec<(Instant, Lease)>, RandomState>,
    count: usize,
}

/// What is found on the shelf.
enum Found {
    Idle(Instant, Lease),
    /// There were some, and perhaps there soon are again.
    Lent,
    Nothing,
}

impl Pool {
    /// An empty pool with room for so many connections, which are closed after being idle for `keep`.
    pub fn new(keep: Duration, room: usize) -> Self {
        Self { shelf: Mutex::default(), keep, room }
    }

    /// Takes the connection that was idle for the shortest time, if one is still alive: one of this thread,
    /// if it has any.
    pub(super) async fn take(&self, key: &Key) -> Option<Lease> {
        let mut turns = 0;
        loop {
            let found = self.shelf().take(key);
            match found {
                Found::Idle(since, mut lease) => {
                    if since.elapsed() <= self.keep && lease.is_alive() {
                        return Some(lease);
                    }
                }
                Found::Lent if turns < TURNS => {
                    turns += 1;
                    yield_now().await;
                }
                Found::Lent | Found::Nothing => return None,
            }
        }
    }

    /// Puts a connection back; beyond the bounds it is closed instead.
    pub(super) fn put(&self, lease: Lease) {
        let closed = self.shelf().put(lease, self.room);
        // Outside the lock, which all workers share, since it costs a system call.
        drop(closed);
    }

    /// Closes what has been idle for too long, and what an older policy opened.
    pub fn sweep(&self, policy: u64) {
        let keep = self.keep;
        self.close(|key, since, lease| {
            key.policy != policy || since.elapsed() > keep || lease.connection.is_stirred()
        });
    }

    /// Closes what was opened for users who are no more: their upstreams may still take it for theirs.
    pub fn sweep_users(&self, is_still: impl Fn(&Arc<User>) -> bool) {
        self.close(|key, _, _| key.user.as_ref().is_some_and(|user| !is_still(user)));
    }

    fn close(&self, is_stale: impl Fn(&Key, Instant, &Lease) -> bool) {
        let stale = self.shelf().remove(is_stale);
        // Outside the lock as well.
        drop(stale);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }
}

impl Shelf {
    fn take(&mut self, key: &Key) -> Found {
        let Some(leases) = self.idle.get_mut(key) else { return Found::Nothing };
        let here = thread::current().id();
        let own = leases.iter().rposition(|(_, lease)| lease.thread == here);
        let Some(last) = own.or(leases.len().checked_sub(1)) else { return Found::Lent };
        let (since, lease) = leases.remove(last);
        self.count -= 1;
        Found::Idle(since, lease)
    }

    /// Gives back what there is no place for.
    fn put(&mut self, lease: Lease, room: usize) -> Option<Lease> {
        if self.count >= room {
            return Some(lease);
        }
        if self.idle.len() > self.count + room {
            self.idle.retain(|_, leases| !leases.is_empty());
        }
        let leases = self.idle.entry(Arc::clone(&lease.key)).or_default();
        if leases.len() >= KEPT_A_KEY {
            return Some(lease);
        }
        leases.push((Instant::now(), lease));
        self.count += 1;
        None
    }

    fn remove(&mut self, is_stale: impl Fn(&Key, Instant, &Lease) -> bool) -> Vec<Lease> {
        let mut stale = Vec::new();
        self.idle.retain(|key, leases| {
            stale.extend(
                leases.extract_if(.., |(since, lease)| is_stale(key, *since, lease)).map(|(_, lease)| lease),
            );
            !leases.is_empty()
        });
        self.count -= stale.len();
        stale
    }
}

impl Lease {
    /// Makes an HTTP connection of a dialled one. The passage is that of its first request; the heads of
    /// its answers may have so many bytes.
    pub(super) async fn open(
        key: Key,
        upstream: Box<Upstream>,
        passage: &Passage,
        head_bytes: usize,
    ) -> Result<Self, hyper::Error> {
        let (stream, reached) = upstream.open(passage);
        let (key, reached) = (Arc::new(key), Arc::new(reached));
        let connection = Driven::open(stream, head_bytes).await?;
        Ok(Self { key, reached, connection, reused: false, thread: thread::current().id() })
    }

    pub(super) fn reached(&self) -> &Reached {
        &self.reached
    }

    /// Whether it can take another request.
    pub(super) fn is_alive(&mut self) -> bool {
        self.reused = true;
        self.connection.is_ready()
    }

    /// Leaves the connection alone until another request comes; false if there can't be one.
    pub(super) fn rest(&mut self) -> bool {
        self.connection.rest()
    }

    /// Ready once it can't take another request. Whoever looks is told of its end.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.poll_ended(cx)
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the upstream has said anything to the last request.
    pub(super) fn has_heard(&self) -> bool {
        self.connection.has_heard()
    }

    /// The parent that reads the requests, and sends them on.
    pub(super) fn forwarder(&self) -> Option<&Through> {
        self.reached.through.as_ref().filter(|through| through.forwards())
    }

    /// Whether a request on it has credentials that are exeat's own.
    pub(super) fn shows_credentials(&self) -> bool {
        self.forwarder().is_some_and(|parent| parent.authorization().is_some())
    }

    /// Sends a request that has leave to pass; a parent without a tunnel is told where to.
    pub(super) fn send(
        &mut self,
        _leave: Passage,
        mut request: Request<Sent>,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> {
        if let Some(parent) = self.forwarder() {
            forwarded::address(&mut request, &self.key.to, parent.authorization());
        }
        self.connection.send(request)
    }

    /// Waits for what comes of the connection.
    pub(super) async fn until<F: Future>(&mut self, future: F) -> F::Output {
        self.connection.until(future).await
    }

    /// Lets what is left of the request go on by itself, however slowly the client takes the answer.
    pub(super) fn let_go(&mut self) {
        self.connection.let_go();
    }

    /// Takes the next frame of the answer.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.connection.poll_frame(body, cx)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.key)
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;
    use std::pin::Pin;
    use std::sync::mpsc::{Sender, channel};

    use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

    use super::*;
    use crate::host::{Host, Name};
    use crate::stream::{Layer, Stream};

    /// A connection that tells, when it is closed, whether others can use the pool at that moment.
    #[derive(Debug)]
    struct Watched {
        io: DuplexStream,
        pool: Arc<Pool>,
        is_free: Sender<bool>,
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.is_free.send(self.pool.shelf.try_lock().is_ok()).unwrap();
        }
    }

    impl Layer for Watched {
        fn reset(self: Box<Self>) {}
    }

    impl AsyncRead for Watched {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Watched {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }

    async fn lease(pool: &Arc<Pool>, is_free: &Sender<bool>) -> Lease {
        let key = Key {
            client: Ipv4Addr::LOCALHOST.into(),
            user: None,
            certificate: None,
            to: Destination::new(Host::Name(Name::parse("a.example").unwrap()), 80),
            policy: 1,
            course: Course { parent: None, outgoing: None },
        };
        let watched = Watched { io: duplex(64).0, pool: Arc::clone(pool), is_free: is_free.clone() };
        let connection = Driven::open(Stream::layered(Box::new(watched)), 8192).await.unwrap();
        let reached = Arc::new(Reached { address: None, through: None, outgoing: None });
        Lease { key: Arc::new(key), reached, connection, reused: false, thread: thread::current().id() }
    }

    #[tokio::test]
    async fn a_connection_is_closed_while_others_use_the_pool() {
        for (room, kept) in [(2, 2), (KEPT_A_KEY + 1, KEPT_A_KEY)] {
            let pool = Arc::new(Pool::new(Duration::from_secs(3600), room));
            let (is_free, told) = channel();
            for _ in 0..=kept {
                pool.put(lease(&pool, &is_free).await);
            }
            assert_eq!(pool.shelf().count, kept);
            assert_eq!(told.try_iter().collect::<Vec<_>>(), [true], "the one without a place");
            pool.sweep(2);
            assert_eq!(told.try_iter().collect::<Vec<_>>(), vec![true; kept], "those of an older policy");
        }
    }
}
