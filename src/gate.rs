//! The gates that judge what is inside a connection, whoever brings it.

pub mod http;
pub mod redirected;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::clock::today;
use crate::destination::Destination;
use crate::dial::Upstream;
use crate::drain;
use crate::error::Error;
use crate::flow::Flow;
use crate::policy::{Passage, Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::sniff::{self, ClientHello, Sniff};
use crate::stream::Stream;

pub use tls::refuse as refuse_tls;

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

/// What a client's first bytes are.
#[derive(Debug)]
pub enum First {
    Hello(ClientHello),
    Request,
    /// Neither, or nothing yet because the server speaks first.
    Other,
}

impl Tunnel {
    /// Judges what is inside, and relays it to its end.
    pub async fn enter(mut self, drain: drain::Watch) {
        // A rule that does not look inside must not wait for a client that lets the server speak first.
        if self.may_pass_unread() {
            return self.enter_unread().await;
        }
        match self.first_bytes().await {
            Ok(First::Hello(hello)) => self.enter_tls(hello).await,
            Ok(First::Request) => http::enter(self, drain).await,
            Ok(First::Other) => self.enter_other().await,
            Err(error) => refuse_first(self.flow, self.client, error).await,
        }
    }

    /// Relays what nobody looks into, if a rule allows that.
    pub async fn enter_unread(self) {
        self.pass_as(Seen::Unread).await;
    }

    /// Judges the ClientHello in the client's head, and relays it with all that follows.
    pub async fn enter_tls(self, hello: ClientHello) {
        tls::enter(self, hello).await;
    }

    /// Relays what is neither TLS nor HTTP, if that is allowed.
    pub async fn enter_other(self) {
        self.pass_as(Seen::Other).await;
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

    /// Relays what needs no gate of its own, if it may pass.
    async fn pass_as(self, seen: Seen<'static>) {
        match self.pass(seen) {
            Ok(leave) => {
                let upstream = Stream::new(self.upstream.open(&leave));
                self.proxy.tunnel(self.flow, self.client, upstream).await;
            }
            Err(error) => reset(self.flow, self.client, error),
        }
    }

    async fn first_bytes(&mut self) -> Result<First, Error> {
        if self.standing.subject.reports() && self.server_speaks_first().await? {
            return Ok(First::Other);
        }
        first_bytes(&mut self.client, &self.flow, self.proxy.bounds.head).await
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

/// Reads until it is clear what the client speaks. The bytes stay in its head.
pub async fn first_bytes(client: &mut Stream, flow: &Flow, time: Duration) -> Result<First, Error> {
    let deadline = Instant::now() + time;
    loop {
        let need = match sniff::first_bytes(client.head()) {
            Sniff::Found(sniff::First::Tls(hello)) => return Ok(First::Hello(hello)),
            Sniff::Found(sniff::First::Http) => return Ok(First::Request),
            Sniff::NotThis => return Ok(First::Other),
            Sniff::Bad(what) => return Err(Error::BadClientHello(what)),
            Sniff::Incomplete { need } => need,
        };
        while client.head().len() < need {
            let read = client.fill(HELLO_MAX);
            arrived(within(flow, deadline, Error::HeadTimeout, read).await?)?;
        }
    }
}

/// Whether a client says nothing at all for this long, as where it waits for the server to speak.
pub async fn is_silent(client: &mut Stream, flow: &Flow, time: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + time;
    match within(flow, deadline, Error::HeadTimeout, client.fill(HELLO_MAX)).await {
        Ok(read) => arrived(read).map(|()| false),
        Err(Error::HeadTimeout) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Ends a flow whose first bytes are refused: with an alert if they are TLS.
pub async fn refuse_first(flow: Flow, client: Stream, error: Error) {
    match error {
        Error::BadClientHello(_) => tls::refuse(flow, client, error).await,
        error => reset(flow, client, error),
    }
}

/// Ends a flow whose client speaks nothing in which a refusal could be said.
pub fn reset(flow: Flow, client: Stream, error: Error) {
    client.reset();
    flow.end(Err(error));
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
