//! Takes connections in: what is behind a listener, and the way there.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::yield_now;

use crate::boxed::boxed;
use crate::client::{Client, Origin};
use crate::dns;
use crate::drain;
use crate::error::Error;
use crate::explicit;
use crate::flow::{Connections, Permit};
use crate::gate::http::Pool;
use crate::gate::{redirected, reset};
use crate::ingress::Ingress;
use crate::proxy::Proxy;
use crate::server::listeners::{only_address, pause};
use crate::server::preamble::{Arrived, Preamble};
use crate::stream::Stream;
use crate::sys;
use crate::transparent;

/// So many connections are accepted from a listener before all else that is ready has its turn: a worker that can't
/// keep up finishes what it has begun, and leaves new clients in the kernel's queue, where they cost nothing.
const ACCEPTS_A_TURN: usize = 16;

/// What is behind a listener.
#[derive(Clone)]
pub(super) enum Door {
    Explicit(Arc<Proxy>, Arc<Pool>),
    Transparent(Arc<transparent::Door>),
    Dns(Arc<dns::Door>),
}

/// A listener, and what it takes connections with.
pub(super) struct Entrance {
    pub(super) listener: TcpListener,
    pub(super) origin: Origin,
    /// What comes before the door's own.
    pub(super) preamble: Option<Arc<Preamble>>,
    pub(super) connections: Arc<Connections>,
}

/// A connection that was let in, and what it holds until it ends.
struct Connection {
    client: Client,
    stream: Stream,
    /// Our end.
    local: SocketAddr,
    drain: drain::Watch,
    permit: Permit,
}

impl Door {
    pub(super) async fn accept(self, entrance: Entrance, drain: drain::Watch) {
        let Entrance { listener, origin, preamble, connections } = entrance;
        let only = only_address(&listener);
        // Waits once: to begin and to give up the wait for each connection would cost more than to look.
        let mut watch = drain.clone();
        let mut started = pin!(watch.started());
        for count in 1_usize.. {
            if count.is_multiple_of(ACCEPTS_A_TURN) {
                yield_now().await;
            }
            // Beyond the limit clients wait in the kernel's queue, where they cost nothing.
            let accepted = async {
                let room = connections.room().await?;
                // One task takes all connections of a listener, and needs no list of who waits for them.
                Some((room, poll_fn(|context| listener.poll_accept(context)).await))
            };
            let accepted = tokio::select! {
                // Whoever waits in the queue when the drain starts is not let in any more.
                biased;
                () = &mut started => return,
                accepted = accepted => accepted,
            };
            let Some((room, accepted)) = accepted else { return };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(error).await;
                    continue;
                }
            };
            let Some(local) = only.or_else(|| socket.local_addr().ok()) else { continue };
            let client = origin.client(peer, local.ip());
            let (stream, permit) = (Stream::new(socket), connections.open(room));
            let connection = Connection { client, stream, local, drain: drain.clone(), permit };
            match &preamble {
                None => self.clone().admit(connection),
                Some(preamble) => drop(tokio::spawn(self.clone().arrive(Arc::clone(preamble), connection))),
            }
        }
    }

    /// Lets a connection in on which nothing comes before the door's own.
    fn admit(self, mut connection: Connection) {
        match self.count(&connection.client, &mut connection.permit, true) {
            Ok(()) => self.enter(connection),
            Err(error) => self.turn_away(connection.client, connection.stream, connection.local, error),
        }
    }

    /// Takes what comes before the door's own off a connection, and lets it in.
    async fn arrive(self, preamble: Arc<Preamble>, connection: Connection) {
        let Connection { client, stream, local, mut drain, mut permit } = connection;
        let arrived = async {
            let (client, stream) = preamble.name(client, stream).await?;
            // Before a handshake, which costs more than all else, but in which a refusal could not be said either.
            if let Err(error) = self.count(&client, &mut permit, preamble.tls.is_none()) {
                self.turn_away(client, stream, local, error);
                return None;
            }
            preamble.shake(client, stream).await
        };
        let arrived = tokio::select! {
            arrived = arrived => arrived,
            () = drain.started() => return,
        };
        match (arrived, self) {
            (None, _) => {}
            (Some(Arrived { client, stream, is_http2: true }), Self::Explicit(proxy, pool)) => {
                tokio::spawn(explicit::enter_http2(proxy, pool, client, stream, drain, permit));
            }
            (Some(Arrived { client, stream, .. }), door) => {
                door.enter(Connection { client, stream, local, drain, permit });
            }
        }
    }

    /// Counts a connection as its client's. One too many is let in all the same if the door can tell its client so.
    fn count(&self, client: &Client, permit: &mut Permit, in_the_clear: bool) -> Result<(), Error> {
        match self {
            Self::Explicit(..) => permit.belongs_to(client.ip(), in_the_clear),
            Self::Transparent(_) => permit.belongs_to(client.ip(), false),
            // It has a bound of its own, so that names are found whatever else a client has open.
            Self::Dns(_) => Ok(()),
        }
    }

    /// Resets a connection whose client can't be told why.
    fn turn_away(&self, client: Client, stream: Stream, local: SocketAddr, error: Error) {
        let flow = match self {
            // Which of the door's two kinds it would have been is not known.
            Self::Explicit(proxy, _) => proxy.ledger.begin(Ingress::Forward, client),
            Self::Transparent(door) => {
                let original = stream.bare().map(|socket| sys::original_destination(socket, local));
                let to = original.map(redirected::original);
                door.proxy.ledger.begin_to(Ingress::Transparent, client, to)
            }
            // It counts none, and has none too many.
            Self::Dns(_) => return,
        };
        reset(flow, stream, error);
    }

    /// Serves a connection in a task of its own, which gets it in a box: what is spawned is copied five times until it
    /// stands in its task, and three times when it ends.
    fn enter(self, connection: Connection) {
        let Connection { client, stream, local, drain, permit } = connection;
        match self {
            Self::Explicit(proxy, pool) => {
                tokio::spawn(boxed(|| explicit::enter(proxy, pool, client, stream, drain, permit)));
            }
            Self::Transparent(door) => {
                tokio::spawn(boxed(|| door.enter(client, stream, local, drain, permit)));
            }
            Self::Dns(door) => drop(tokio::spawn(dns::serve_tcp(door, client, stream, drain, permit))),
        }
    }
}
