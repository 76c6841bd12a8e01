//! The gates that judge what is inside a connection, whoever brings it.

pub mod http;
pub mod redirected;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

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

/// A ClientHello may be this long; a request's head has the bound of the settings.
const HELLO_MAX: usize = 64 * 1024;
/// In report mode, a client that is silent for this long waits for the server to speak first.
const SILENCE: Duration = Duration::from_millis(300);

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
    /// Neither, or nothing at all from a client that waits for the server to speak.
    Other,
}

impl Tunnel {
    /// Judges what is inside, and relays it to its end.
    pub async fn enter(mut self, drain: drain::Watch) {
        // A rule that does not look inside must not wait for a client that lets the server speak first.
        if self.may_pass_unread() {
            return self.enter_unread().await;
        }
        match first_bytes(&mut self.client, &self.flow, &self.standing, self.proxy.bounds.head).await {
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

    /// Judges a ClientHello that is in the client's head, and relays it with all that follows.
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
}

/// Reads until it is clear what the client speaks. The bytes stay in its head.
pub async fn first_bytes(
    client: &mut Stream,
    flow: &Flow,
    standing: &Standing,
    time: Duration,
) -> Result<First, Error> {
    let deadline = Instant::now() + time;
    if standing.subject.reports() && client.head().is_empty() {
        let silence = tokio::time::timeout(SILENCE, client.fill(HELLO_MAX));
        match silence.await {
            Err(_) => return Ok(First::Other),
            Ok(read) => arrived(read)?,
        }
    }
    loop {
        let need = match sniff::first_bytes(client.head()) {
            Sniff::Found(sniff::First::Tls(hello)) => return Ok(First::Hello(hello)),
            Sniff::Found(sniff::First::Http) => return Ok(First::Request),
            Sniff::NotThis => return Ok(First::Other),
            Sniff::Bad(what) => return Err(Error::BadClientHello(what)),
            Sniff::Incomplete { need } => need,
        };
        while client.head().len() < need {
            let read = tokio::select! {
                read = timeout_at(deadline, client.fill(HELLO_MAX)) => read,
                stop = flow.stopped() => return Err(stop.into()),
            };
            arrived(read.map_err(|_| Error::HeadTimeout)?)?;
        }
    }
}

/// Ends a flow whose first bytes are refused: with an alert if they are TLS.
pub async fn refuse_first(flow: Flow, client: Stream, error: Error) {
    match error {
        Error::BadClientHello(_) => tls::refuse(flow, client, error).await,
        error => reset(flow, client, error),
    }
}

/// Ends a flow that is TLS: with an alert where it was denied, with a reset where only its upstream failed.
pub async fn refuse_tls(flow: Flow, client: Stream, error: Error) {
    match error.reason().allows() {
        true => reset(flow, client, error),
        false => tls::refuse(flow, client, error).await,
    }
}

/// Ends a flow whose client speaks nothing in which a refusal could be said.
pub fn reset(flow: Flow, client: Stream, error: Error) {
    client.reset();
    flow.end(Err(error));
}

/// The client ends before it has said what it wants.
fn arrived(read: std::io::Result<usize>) -> Result<(), Error> {
    match read {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(Error::ClientReset),
    }
}
