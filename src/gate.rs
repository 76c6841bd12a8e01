//! The gates that judge what is inside a connection, whoever brings it.

pub mod http;
pub mod tls;

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use crate::clock::today;
use crate::destination::Destination;
use crate::dial::Upstream;
use crate::drain;
use crate::error::Error;
use crate::flow::Flow;
use crate::policy::{Passage, Question, Seen};
use crate::proxy::{Ends, Proxy, Standing};
use crate::sniff::{ClientHello, First, Sniff, first_bytes};
use crate::stream::Stream;

/// A ClientHello may be this long; a request's head has the bound of the settings.
const HELLO_MAX: usize = 64 * 1024;

/// A connection that stands, between a client and an upstream, through which nothing has passed yet.
#[derive(Debug)]
pub struct Tunnel {
    pub proxy: Arc<Proxy>,
    pub standing: Arc<Standing>,
    pub flow: Flow,
    pub to: Destination,
    pub client: Stream,
    pub upstream: Upstream,
}

/// A tunnel whose inside was judged: the rest is left to the relay.
struct Passed {
    flow: Flow,
    ends: Box<Ends>,
}

/// What a client's first bytes are.
enum Bytes {
    Hello(ClientHello),
    Request,
    /// Neither, or nothing yet because the server speaks first.
    Other,
}

impl Tunnel {
    /// Judges what is inside, and relays it to its end. Until then a drain waits, and the permit to have the
    /// connection is not given back. One future without another around it: each would keep a copy of what it
    /// awaits.
    pub fn enter(self, drain: drain::Watch, permit: OwnedSemaphorePermit) -> impl Future<Output = ()> {
        let proxy = Arc::clone(&self.proxy);
        // Boxed, so that the memory it takes to judge does not live as long as the tunnel.
        let judged = Box::pin(self.judge(drain.clone()));
        async move {
            if let Some(passed) = judged.await {
                proxy.tunnel(passed.flow, passed.ends).await;
            }
            drop((drain, permit));
        }
    }

    /// Finds out what is inside and judges it. Requests are served here; the rest is left to be relayed.
    async fn judge(mut self, drain: drain::Watch) -> Option<Passed> {
        // A rule that does not look inside must not wait for a client that lets the server speak first.
        if self.may_pass_unread() {
            return self.pass_as(Seen::Unread);
        }
        match self.first_bytes().await {
            Ok(Bytes::Hello(hello)) => tls::judge(self, hello).await,
            Ok(Bytes::Request) => {
                http::enter(self, drain).await;
                None
            }
            Ok(Bytes::Other) => self.pass_as(Seen::Other),
            Err(error @ Error::BadClientHello(_)) => {
                tls::refuse(self.flow, self.client, error).await;
                None
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Whether a rule allows whatever is inside.
    fn may_pass_unread(&self) -> bool {
        let Standing { policy, subject, .. } = &*self.standing;
        policy.decide(subject, &self.question(Seen::Unread), today()).is_allow()
    }

    fn question<'a>(&'a self, seen: Seen<'a>) -> Question<'a> {
        Question { to: &self.to, seen, address: Some(self.upstream.address().ip()) }
    }

    /// Leave for what was seen to pass to the upstream.
    fn pass(&self, seen: Seen<'_>) -> Result<Passage, Error> {
        self.flow.seen(seen);
        self.proxy.judge(&self.flow, &self.standing, &self.question(seen)).pass()
    }

    /// Leaves to the relay what needs no gate of its own, if it may pass.
    fn pass_as(self, seen: Seen<'static>) -> Option<Passed> {
        match self.pass(seen) {
            Ok(leave) => {
                let upstream = Stream::new(self.upstream.open(&leave));
                Some(Passed { flow: self.flow, ends: Box::new(Ends { client: self.client, upstream }) })
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Ends a tunnel whose client speaks nothing in which a refusal could be said.
    fn refuse(self, error: Error) -> Option<Passed> {
        self.client.reset();
        self.flow.end(Err(error));
        None
    }

    /// Reads until it is clear what the client speaks. The bytes stay in its head.
    async fn first_bytes(&mut self) -> Result<Bytes, Error> {
        if self.standing.subject.reports() && self.server_speaks_first().await? {
            return Ok(Bytes::Other);
        }
        let deadline = Instant::now() + self.proxy.bounds.head;
        loop {
            let need = match first_bytes(self.client.head()) {
                Sniff::Found(First::Tls(hello)) => return Ok(Bytes::Hello(hello)),
                Sniff::Found(First::Http) => return Ok(Bytes::Request),
                Sniff::NotThis => return Ok(Bytes::Other),
                Sniff::Bad(what) => return Err(Error::BadClientHello(what)),
                Sniff::Incomplete { need } => need,
            };
            while self.client.head().len() < need {
                let read = self.client.fill(HELLO_MAX);
                arrived(within(&self.flow, deadline, Error::HeadTimeout, read).await?)?;
            }
        }
    }

    /// Report mode lets protocols pass in which the server speaks first, and nobody has said whether this is
    /// one. Who in fact speaks first tells it: a client that is merely slow is still looked at.
    async fn server_speaks_first(&mut self) -> Result<bool, Error> {
        if !self.client.head().is_empty() {
            return Ok(false);
        }
        let deadline = Instant::now() + self.proxy.bounds.idle;
        let (client, upstream) = (&mut self.client, &self.upstream);
        let first = async {
            tokio::select! {
                biased;
                read = client.fill(HELLO_MAX) => arrived(read).map(|()| false),
                () = upstream.speaks() => Ok(true),
            }
        };
        within(&self.flow, deadline, Error::IdleTimeout, first).await?
    }
}

/// Awaits a step, unless the flow has to end first, or it is `late`.
async fn within<T>(
    flow: &Flow,
    deadline: Instant,
    late: Error,
    step: impl Future<Output = T>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        stop = flow.stopped() => Err(stop.into()),
        done = step => Ok(done),
        () = sleep_until(deadline) => Err(late),
    }
}

/// The client ends before it has said what it wants.
fn arrived(read: std::io::Result<usize>) -> Result<(), Error> {
    match read {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(Error::ClientReset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_of_a_tunnel_is_small() {
        fn size<F>(_: impl FnOnce(Tunnel, drain::Watch, OwnedSemaphorePermit) -> F) -> usize {
            size_of::<F>()
        }
        let (tunnel, judging) = (size(Tunnel::enter), size(|tunnel, drain, _| tunnel.judge(drain)));
        assert!(tunnel <= 800 && judging <= 2560, "{tunnel} and, until it is judged, {judging}");
    }
}
