//! The transparent door: connections that a firewall redirected here, whose clients know of no proxy.
//!
//! The client chose an address; what is judged is the name that its first bytes say, and what is dialled
//! is our own resolution of that name, so a server name that lies about the address reaches the server of
//! the name or nothing. Where no name is ever said, the address is looked up among those that names had.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Alarm;
use crate::boxed::{boxed, in_box};
use crate::client::Client;
use crate::destination::Destination;
use crate::dial::{Source, Upstream};
use crate::drain;
use crate::error::Error;
use crate::flow::{Flow, Permit};
use crate::gate::http::{Pool, enter_redirected};
use crate::gate::{
    self, First, Known, Passed, Tunnel, carry, first_bytes, is_silent, redirected, reset, tls,
};
use crate::host::{Host, Name};
use crate::ingress::Ingress;
use crate::names::Names;
use crate::policy::{Passage, Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::sniff::ClientHello;
use crate::stream::Stream;
use crate::sys;

/// Ports on which the client speaks first.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// In report mode, and where a person may be asked, a client that is silent for this long waits for the server to speak first.
const SILENCE: Duration = Duration::from_millis(300);

/// What all connections through this door share.
#[derive(Debug)]
pub struct Door {
    pub proxy: Arc<Proxy>,
    pub pool: Arc<Pool>,
    /// Asked for the names that an address had where nothing else tells one: two locks that all workers share.
    pub names: Arc<Names>,
}

/// A connection of which nothing has passed.
struct Arrival<'a> {
    door: &'a Door,
    standing: Arc<Standing>,
    flow: Flow,
    client: Stream,
    /// Where the client wanted to go.
    original: SocketAddr,
}

impl Door {
    /// Serves one connection to its end; the permit to have it is given back then.
    pub fn enter(
        self: Arc<Self>,
        client: Client,
        stream: Stream,
        local: SocketAddr,
        drain: drain::Watch,
        permit: Permit,
    ) -> impl Future<Output = ()> {
        carry(boxed(|| self.gated(client, stream, local, drain, permit)))
    }

    /// Serves a connection until it ends, or is a tunnel whose bytes may pass.
    async fn gated(
        self: Arc<Self>,
        client: Client,
        stream: Stream,
        local: SocketAddr,
        drain: drain::Watch,
        permit: Permit,
    ) -> Option<(Passed, (drain::Watch, Permit))> {
        let (tunnel, known) = pin!(self.tunnel(client, stream, local, &drain)).await?;
        let passed = pin!(tunnel.judge(known, &drain)).await?;
        Some((passed, (drain, permit)))
    }

    /// Begins the flow of a connection, and then asks the policy about its client.
    fn arrive(&self, client: Client, stream: Stream, local: SocketAddr) -> Arrival<'_> {
        let original = stream.bare().map_or(local, |socket| sys::original_destination(socket, local));
        let to = redirected::original(original);
        let flow = self.proxy.ledger.begin_to(Ingress::Transparent, client.clone(), Some(to));
        let standing = self.proxy.standing(client);
        Arrival { door: self, standing, flow, client: stream, original }
    }

    /// Serves a connection until it ends, or leads to an upstream.
    async fn tunnel(
        &self,
        client: Client,
        stream: Stream,
        local: SocketAddr,
        drain: &drain::Watch,
    ) -> Option<(Box<Tunnel>, Option<Known>)> {
        let mut arrival = self.arrive(client, stream, local);
        let (proxy, original) = (&self.proxy, arrival.original);
        // As where a connection was not redirected: what it asks for is this door.
        if proxy.dialer.is_own(original) {
            arrival.refuse_own();
            return None;
        }
        let listed = arrival.standing.policy.listed(&arrival.standing.subject, original.port());
        if listed.unread
            && let Some(to) = arrival.unread()
        {
            return arrival.enter_unread(to).await;
        }
        let asks = proxy.consent.is_some();
        if !listed.inside && !arrival.standing.subject.reports() && !asks {
            // Whatever the client would say, no rule is there to hear it.
            arrival.refuse_unread();
            return None;
        }
        let may_be_silent = asks && !listed.inside && !matches!(original.port(), HTTP | HTTPS);
        match arrival.first_bytes(may_be_silent).await {
            Ok(Some(First::Hello(hello))) => {
                let opened = pin!(arrival.open_tls(&hello)).await;
                match opened {
                    Ok((to, upstream, leave)) => {
                        Some((arrival.tunnel(to, upstream), Some((First::Hello(hello), leave))))
                    }
                    Err(error) => {
                        tls::refuse(arrival.flow, arrival.client, error).await;
                        None
                    }
                }
            }
            Ok(Some(First::Request)) => {
                let Arrival { standing, flow, client, original, .. } = arrival;
                let (proxy, pool) = (Arc::clone(proxy), Arc::clone(&self.pool));
                // Boxed, so that a connection which has yet to say what it is does not take that much memory.
                Box::pin(enter_redirected(proxy, pool, standing, flow, original, client, drain.clone()))
                    .await;
                None
            }
            Ok(None) if !arrival.standing.subject.reports() => {
                let to = arrival.unsaid();
                arrival.enter_unread(to).await
            }
            Ok(first) => arrival.enter_nameless(first).await,
            Err(error) => {
                gate::refuse(arrival.flow, arrival.client, error).await;
                None
            }
        }
    }
}

impl Arrival<'_> {
    /// The destination that a rule which does not look inside allows: the address itself, or a name that had it. Of
    /// several names any will do, as nobody can tell which one the client meant.
    fn unread(&self) -> Option<Destination> {
        let is_allowed = |to: &Destination| {
            let question = Question { to, seen: Seen::Unread, address: Some(self.original.ip()) };
            self.standing.decide(&question).is_allow()
        };
        let original = redirected::original(self.original);
        if is_allowed(&original) {
            return Some(original);
        }
        self.door.names.of(self.original.ip()).iter().map(|name| self.named(name)).find(is_allowed)
    }

    /// The destination of a client that says no name: the one name that its address had, or the address.
    fn unsaid(&self) -> Destination {
        match &self.door.names.of(self.original.ip())[..] {
            [name] => self.named(name),
            _ => redirected::original(self.original),
        }
    }

    fn named(&self, name: &Name) -> Destination {
        Destination::new(Host::Name(name.clone()), self.original.port())
    }

    /// Relays to the original address without a look inside.
    async fn enter_unread(mut self, to: Destination) -> Option<(Box<Tunnel>, Option<Known>)> {
        match self.open(&to, Seen::Unread, Source::Known(self.original.ip())).await {
            Ok((upstream, leave)) => Some((self.tunnel(to, upstream), Some((First::Unread, leave)))),
            Err(error) => {
                reset(self.flow, self.client, error);
                None
            }
        }
    }

    /// Resets a connection that exeat would make to itself.
    fn refuse_own(self) {
        // The firewall may have forgotten a client that has left already.
        let has_left = self.client.bare().is_some_and(|socket| !sys::is_connected(socket));
        let error = if has_left { Error::ClientReset } else { Error::SelfConnect(self.original) };
        reset(self.flow, self.client, error);
    }

    /// Resets a connection that no rule could allow; the verdict on it says why.
    fn refuse_unread(self) {
        let to = self.unsaid();
        self.flow.to(&to);
        let question = Question { to: &to, seen: Seen::Unread, address: Some(self.original.ip()) };
        let verdict = self.door.proxy.judge(&self.flow, &self.standing, &question);
        let error = Error::Denied(verdict.reason);
        reset(self.flow, self.client, error);
    }

    /// Connects to where a ClientHello says.
    async fn open_tls(
        &mut self,
        hello: &ClientHello,
    ) -> Result<(Destination, Box<Upstream>, Passage), Error> {
        let seen = tls::seen(hello);
        let named = match &hello.server_name {
            Some(name) => self.named(name),
            None => redirected::original(self.original),
        };
        let to = redirected::destination(&self.standing, named, self.original, seen);
        let (upstream, leave) = pin!(self.open(&to, seen, Source::Prefer(self.original.ip()))).await?;
        Ok((to, upstream, leave))
    }

    /// Neither TLS nor HTTP, or silence: only report mode lets that through. After silence the server has the chance to
    /// speak, and whoever then speaks is looked at.
    async fn enter_nameless(mut self, first: Option<First>) -> Option<(Box<Tunnel>, Option<Known>)> {
        let to = self.unsaid();
        let source = Source::Known(self.original.ip());
        let opened = match first {
            Some(first) => self
                .open(&to, Seen::Other, source)
                .await
                .map(|(upstream, leave)| (upstream, Some((first, leave)))),
            None => self.connect(&to, source).await.map(|upstream| (upstream, None)),
        };
        match opened {
            Ok((upstream, known)) => Some((self.tunnel(to, upstream), known)),
            Err(error) => {
                reset(self.flow, self.client, error);
                None
            }
        }
    }

    /// What the client says first; nothing if it is given the time to be silent, and is.
    async fn first_bytes(&mut self, may_be_silent: bool) -> Result<Option<First>, Error> {
        let Self { client, flow, standing, .. } = self;
        if (may_be_silent || standing.subject.reports()) && is_silent(client, flow, SILENCE).await? {
            return Ok(None);
        }
        let deadline = flow.begun() + self.door.proxy.bounds.head;
        first_bytes(client, flow, &mut Alarm::default(), deadline).await.map(Some)
    }

    /// Judges what is said to be inside, and connects.
    async fn open(
        &mut self,
        to: &Destination,
        seen: Seen<'_>,
        source: Source,
    ) -> Result<(Box<Upstream>, Passage), Error> {
        let question = self.ask(to, seen).await?;
        pin!(self.door.proxy.open(&self.flow, &self.standing, &question, source)).await
    }

    /// Connects before anybody knows what is inside.
    async fn connect(&mut self, to: &Destination, source: Source) -> Result<Box<Upstream>, Error> {
        let question = self.ask(to, Seen::Unknown).await?;
        pin!(self.door.proxy.connect(&self.flow, &self.standing, &question, source)).await
    }

    /// The question to judge by, once there is a place for the flow and whoever may have to be asked was.
    async fn ask<'a>(&mut self, to: &'a Destination, seen: Seen<'a>) -> Result<Question<'a>, Error> {
        self.flow.take_permit_for(to, seen)?;
        let question = Question { to, seen, address: None };
        self.door.proxy.settle(&self.flow, &mut self.standing, &question).await;
        Ok(question)
    }

    /// The tunnel that this has become.
    fn tunnel(self, to: Destination, upstream: Box<Upstream>) -> Box<Tunnel> {
        let Self { door, standing, flow, client, .. } = self;
        let proxy = Arc::clone(&door.proxy);
        in_box(|| Tunnel { proxy, standing, flow, to, client, upstream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_of_a_connection_that_has_said_nothing_is_small() {
        fn unsaid<'a, A, F>(_: impl FnOnce(&'a Door, Client, Stream, SocketAddr, A) -> F) -> usize {
            size_of::<F>()
        }
        fn whole<A, B, C, D, E, F, G>(_: impl FnOnce(A, B, C, D, E, F) -> G) -> usize {
            size_of::<G>()
        }

        // The rest, once it has said what it is, is in the same box, which lives for `timeouts.head` at most until then.
        let (unsaid, whole) = (unsaid(Door::tunnel), whole(Door::gated));
        assert!(unsaid <= 2432 && whole <= 2688, "{unsaid}, and {whole} until it is judged");
    }
}
