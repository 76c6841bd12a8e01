//! The transparent door: connections that a firewall redirected here, whose clients know of no proxy.
//!
//! The client chose an address; what is judged is the name that its first bytes say, and what is dialled
//! is our own resolution of that name, so a server name that lies about the address reaches the server of
//! the name or nothing. Where no name is ever said, the address is looked up among those that names had.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::clock::today;
use crate::destination::Destination;
use crate::dial::{Source, Upstream};
use crate::drain;
use crate::error::Error;
use crate::flow::{Flow, Permit};
use crate::gate::http::{Pool, enter_redirected};
use crate::gate::{self, First, Tunnel, first_bytes, is_silent, redirected, reset, tls};
use crate::host::{Host, Name};
use crate::ingress::Ingress;
use crate::names::Names;
use crate::policy::{Question, Seen};
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
#[derive(Clone, Debug)]
pub struct Door {
    pub proxy: Arc<Proxy>,
    pub pool: Arc<Pool>,
    pub names: Arc<Names>,
}

/// A connection of which nothing has passed.
struct Arrival {
    proxy: Arc<Proxy>,
    standing: Arc<Standing>,
    flow: Flow,
    client: Stream,
    /// Where the client wanted to go.
    original: SocketAddr,
    /// The names that the address had.
    names: Vec<Name>,
}

impl Door {
    /// Serves one connection to its end; the permit to have it is given back then.
    pub async fn enter(self, client: Client, stream: Stream, drain: drain::Watch, permit: Permit) {
        let Self { proxy, pool, names } = self;
        let flow = proxy.ledger.begin(Ingress::Transparent, client.clone());
        let standing = proxy.standing(client);
        let original = match stream.bare().map(sys::original_destination) {
            Some(Ok(original)) => original,
            // Only a socket whose peer has left already does not know.
            _ => return reset(flow, stream, Error::ClientReset),
        };
        flow.to(&redirected::original(original));
        // As where a connection was not redirected: what it asks for is this door.
        if proxy.dialer.is_own(original) {
            return reset(flow, stream, Error::SelfConnect(original));
        }
        let names = names.of(original.ip());
        let mut arrival = Arrival { proxy, standing, flow, client: stream, original, names };
        let listed = arrival.standing.policy.listed(&arrival.standing.subject, original.port());
        if listed.unread
            && let Some(to) = arrival.unread()
        {
            return arrival.enter_unread(to, drain, permit).await;
        }
        let asks = arrival.proxy.consent.is_some();
        if !listed.inside && !arrival.standing.subject.reports() && !asks {
            // Whatever the client would say, no rule is there to hear it.
            return arrival.refuse_unread();
        }
        let may_be_silent = asks && !listed.inside && !matches!(original.port(), HTTP | HTTPS);
        match arrival.first_bytes(may_be_silent).await {
            Ok(Some(First::Hello(hello))) => arrival.enter_tls(hello, drain, permit).await,
            Ok(Some(First::Request)) => {
                let Arrival { proxy, standing, flow, client, original, .. } = arrival;
                // Boxed, so that a connection which has yet to say what it is does not take that much memory.
                Box::pin(enter_redirected(proxy, pool, standing, flow, original, client, drain)).await;
            }
            Ok(None) if !arrival.standing.subject.reports() => {
                let to = arrival.unsaid();
                arrival.enter_unread(to, drain, permit).await;
            }
            Ok(first) => arrival.enter_nameless(first, drain, permit).await,
            Err(error) => gate::refuse(arrival.flow, arrival.client, error).await,
        }
    }
}

impl Arrival {
    /// The destination that a rule which does not look inside allows: the address itself, or a name that had it. Of
    /// several names any will do, as nobody can tell which one the client meant.
    fn unread(&self) -> Option<Destination> {
        let Standing { policy, subject, .. } = &*self.standing;
        let named = self.names.iter().map(|name| self.named(name));
        std::iter::once(redirected::original(self.original)).chain(named).find(|to| {
            let question = Question { to, seen: Seen::Unread, address: Some(self.original.ip()) };
            policy.decide(subject, &question, today()).is_allow()
        })
    }

    /// The destination of a client that says no name: the one name that its address had, or the address.
    fn unsaid(&self) -> Destination {
        match &self.names[..] {
            [name] => self.named(name),
            _ => redirected::original(self.original),
        }
    }

    fn named(&self, name: &Name) -> Destination {
        Destination::new(Host::Name(name.clone()), self.original.port())
    }

    /// Relays to the original address without a look inside.
    async fn enter_unread(mut self, to: Destination, drain: drain::Watch, permit: Permit) {
        match self.open(&to, Seen::Unread, Source::Known(self.original.ip())).await {
            Ok(upstream) => self.spawn(to, upstream, Some(First::Unread), drain, permit),
            Err(error) => reset(self.flow, self.client, error),
        }
    }

    /// Resets a connection that no rule could allow; the verdict on it says why.
    fn refuse_unread(self) {
        let to = self.unsaid();
        self.flow.to(&to);
        let question = Question { to: &to, seen: Seen::Unread, address: Some(self.original.ip()) };
        let verdict = self.proxy.judge(&self.flow, &self.standing, &question);
        let error = Error::Denied(verdict.reason);
        reset(self.flow, self.client, error);
    }

    async fn enter_tls(mut self, hello: ClientHello, drain: drain::Watch, permit: Permit) {
        let seen = tls::seen(&hello);
        let named = match &hello.server_name {
            Some(name) => self.named(name),
            None => redirected::original(self.original),
        };
        let to = redirected::destination(&self.standing, named, self.original, seen);
        match self.open(&to, seen, Source::Prefer(self.original.ip())).await {
            Ok(upstream) => self.spawn(to, upstream, Some(First::Hello(hello)), drain, permit),
            Err(error) => tls::refuse(self.flow, self.client, error).await,
        }
    }

    /// Neither TLS nor HTTP, or silence: only report mode lets that through. After silence the server has the chance to
    /// speak, and whoever then speaks is looked at.
    async fn enter_nameless(mut self, first: Option<First>, drain: drain::Watch, permit: Permit) {
        let to = self.unsaid();
        let seen = if first.is_some() { Seen::Other } else { Seen::Unknown };
        match self.open(&to, seen, Source::Known(self.original.ip())).await {
            Ok(upstream) => self.spawn(to, upstream, first, drain, permit),
            Err(error) => reset(self.flow, self.client, error),
        }
    }

    /// What the client says first; nothing if it is given the time to be silent, and is.
    async fn first_bytes(&mut self, may_be_silent: bool) -> Result<Option<First>, Error> {
        let Self { client, flow, standing, .. } = self;
        if (may_be_silent || standing.subject.reports()) && is_silent(client, flow, SILENCE).await? {
            return Ok(None);
        }
        first_bytes(client, flow, self.proxy.bounds.head).await.map(Some)
    }

    /// Judges, and connects.
    async fn open(&mut self, to: &Destination, seen: Seen<'_>, source: Source) -> Result<Upstream, Error> {
        self.flow.to(to);
        self.flow.seen(seen);
        self.flow.take_permit()?;
        let question = Question { to, seen, address: None };
        self.standing = self.proxy.settle(&self.flow, &self.standing, &question).await;
        self.proxy.open(&self.flow, &self.standing, &question, source).await
    }

    /// Lets a tunnel go its way, in a task of its own so that the memory of what led here does not live as long.
    fn spawn(
        self,
        to: Destination,
        upstream: Upstream,
        first: Option<First>,
        drain: drain::Watch,
        permit: Permit,
    ) {
        let Self { proxy, standing, flow, client, .. } = self;
        let tunnel = Tunnel { proxy, standing, flow, to, client, upstream };
        tokio::spawn(tunnel.enter(first, drain, permit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_of_a_connection_that_has_said_nothing_is_small() {
        fn size<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(Door::enter);
        assert!(bytes <= 2560, "{bytes}");
    }
}
