//! Idle connections to upstreams, each for the client and the policy that opened it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use crate::client::{Certificate, User};
use crate::destination::Destination;
use crate::dial::{Course, Reached, Through, Upstream};
use crate::gate::http::forwarded;
use crate::gate::http::listened::{Heard, Listened};
use crate::gate::http::sent::Sent;
use crate::lock::lock;
use crate::policy::{Passage, Question};
use crate::proxy::Standing;

/// Idle connections kept for one key: no client has all of the room.
const KEPT_A_KEY: usize = 64;

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
    key: Key,
    reached: Arc<Reached>,
    sender: SendRequest<Sent>,
    heard: Heard,
    /// Whether it has served an exchange already: then its upstream may have closed it meanwhile.
    reused: bool,
    /// On which its connection is driven: an exchange from there wakes no other.
    thread: ThreadId,
    connection: AbortHandle,
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
    idle: HashMap<Key, Vec<(Instant, Lease)>>,
    count: usize,
}

impl Pool {
    /// An empty pool with room for so many connections, which are closed after being idle for `keep`.
    pub fn new(keep: Duration, room: usize) -> Self {
        Self { shelf: Mutex::default(), keep, room }
    }

    /// Takes the connection that was idle for the shortest time, if one is still alive: one of this thread,
    /// if it has any.
    pub(super) async fn take(&self, key: &Key) -> Option<Lease> {
        loop {
            let (since, mut lease) = self.shelf().take(key)?;
            if since.elapsed() <= self.keep && lease.is_alive().await {
                return Some(lease);
            }
        }
    }

    /// Puts a connection back; beyond the bounds it is closed instead.
    pub(super) fn put(&self, lease: Lease) {
        if !lease.sender.is_closed() {
            self.shelf().put(lease, self.room);
        }
    }

    /// Closes what has been idle for too long, and what an older policy opened.
    pub fn sweep(&self, policy: u64) {
        let keep = self.keep;
        self.close(|key, since, lease| {
            key.policy != policy || since.elapsed() > keep || lease.sender.is_closed()
        });
    }

    /// Closes what was opened for users who are no more: their upstreams may still take it for theirs.
    pub fn sweep_users(&self, is_still: impl Fn(&Arc<User>) -> bool) {
        self.close(|key, _, _| key.user.as_ref().is_some_and(|user| !is_still(user)));
    }

    fn close(&self, is_stale: impl Fn(&Key, Instant, &Lease) -> bool) {
        let stale = self.shelf().remove(is_stale);
        // Outside the lock: to drop a connection wakes its task.
        drop(stale);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }
}

impl Shelf {
    fn take(&mut self, key: &Key) -> Option<(Instant, Lease)> {
        let leases = self.idle.get_mut(key)?;
        let here = thread::current().id();
        let own = leases.iter().rposition(|(_, lease)| lease.thread == here);
        let lease = leases.remove(own.or(leases.len().checked_sub(1))?);
        if leases.is_empty() {
            self.idle.remove(key);
        }
        self.count -= 1;
        Some(lease)
    }

    fn put(&mut self, lease: Lease, room: usize) {
        if self.count >= room {
            return;
        }
        let leases = self.idle.entry(lease.key.clone()).or_default();
        if leases.len() < KEPT_A_KEY {
            leases.push((Instant::now(), lease));
            self.count += 1;
        }
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
        upstream: Upstream,
        passage: &Passage,
        head_bytes: usize,
    ) -> Result<Self, hyper::Error> {
        let reached = Arc::clone(upstream.reached());
        let (io, heard) = Listened::new(upstream.open(passage));
        let mut builder = http1::Builder::new();
        let (sender, connection) = builder.max_header_size(head_bytes).handshake(TokioIo::new(io)).await?;
        let task = tokio::spawn(async move {
            // What goes wrong on it reaches whoever waits for an answer.
            let _ = connection.with_upgrades().await;
        });
        let thread = thread::current().id();
        Ok(Self { key, reached, sender, heard, reused: false, thread, connection: task.abort_handle() })
    }

    pub(super) fn reached(&self) -> &Reached {
        &self.reached
    }

    /// Whether it can take another request. It becomes ready only after the connection has looked for
    /// surplus bytes that the upstream sent behind its last answer: an answer to nobody is never ours.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.reused = true;
        self.sender.ready().await.is_ok()
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the upstream has said anything to the last request.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.anything()
    }

    /// The parent that reads the requests, and sends them on.
    pub(super) fn forwarder(&self) -> Option<&Through> {
        self.reached.through.as_ref().filter(|through| through.forwards())
    }

    /// Sends a request that has leave to pass; a parent without a tunnel is told where to.
    pub(super) async fn send(
        &mut self,
        _leave: Passage,
        mut request: Request<Sent>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        if let Some(parent) = self.forwarder() {
            forwarded::address(&mut request, &self.key.to, parent.authorization());
        }
        self.heard.clear();
        self.sender.send_request(request).await
    }
}

impl Drop for Lease {
    /// Closes the connection at once. hyper alone would go on with the body of a request whose answer
    /// is complete: bytes of a flow that has ended.
    fn drop(&mut self) {
        self.connection.abort();
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
