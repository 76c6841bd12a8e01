//! The gates that judge what is inside a connection, whoever brings it.

mod first;
pub mod http;
pub mod redirected;
pub mod tls;

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::boxed::in_box;
use crate::destination::Destination;
use crate::dial::{Reached, Upstream};
use crate::drain;
use crate::error::Error;
use crate::flow::Flow;
use crate::policy::{Passage, Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::relay::Ends;
use crate::stream::Stream;

pub use first::{First, first_bytes, is_silent};

/// A ClientHello may be this long; a request's head has the bound of the settings.
const HELLO_MAX: usize = 64 * 1024;

/// A connection that stands, between a client and an upstream, through which nothing has passed yet. It goes from one
/// future to the next in a box, as each would copy it otherwise, some more than once.
#[derive(Debug)]
pub struct Tunnel {
    pub proxy: Arc<Proxy>,
    pub standing: Arc<Standing>,
    pub flow: Flow,
    pub to: Destination,
    pub client: Stream,
    pub upstream: Box<Upstream>,
}

/// What is inside a tunnel, and leave for that to pass, where both were found before it was dialled.
pub type Known = (First, Passage);

/// A tunnel whose inside was judged: the rest is left to the relay.
#[derive(Debug)]
pub struct Passed {
    proxy: Arc<Proxy>,
    flow: Flow,
    ends: Box<Ends>,
}

/// Carries a connection to its end: what comes before its bytes may pass, and the relay. What the first part holds until
/// the end, and hands on, is let go then. That part comes in a box, so that the memory it takes does not live as long as the
/// tunnel. One future without another around it: each would keep a copy of what it awaits.
#[allow(clippy::manual_async_fn, reason = "an async fn would keep its arguments twice")]
pub fn carry<H>(gated: Pin<Box<impl Future<Output = Option<(Passed, H)>>>>) -> impl Future<Output = ()> {
    async move {
        let Some((Passed { proxy, flow, ends }, held)) = gated.await else { return };
        pin!(proxy.tunnel(flow, ends)).await;
        drop(held);
    }
}

impl Tunnel {
    /// Finds out what is inside and judges it, unless that was done before it was dialled. Requests are served here; the
    /// rest is left to be relayed.
    pub async fn judge(mut self: Box<Self>, known: Option<Known>, drain: &drain::Watch) -> Option<Passed> {
        let (first, leave) = match known {
            Some((first, leave)) => (Ok(first), Some(leave)),
            // A rule that does not look inside must not wait for a client that lets the server speak first.
            None if self.may_pass_unread() => (Ok(First::Unread), None),
            None => (self.first_bytes().await, None),
        };
        match first {
            Ok(First::Unread) => self.pass_as(Seen::Unread, leave),
            Ok(First::Hello(hello)) => pin!(tls::judge(self, hello, leave)).await,
            Ok(First::Request) => {
                http::enter(*self, drain.clone()).await;
                None
            }
            Ok(First::Other) => self.pass_as(Seen::Other, leave),
            Err(error) => {
                refuse(self.flow, self.client, error).await;
                None
            }
        }
    }

    /// Whether a rule allows whatever is inside.
    fn may_pass_unread(&self) -> bool {
        let Standing { policy, subject, .. } = &*self.standing;
        if !policy.listed(subject, self.to.port).unread {
            return false;
        }
        let question = self.question(Seen::Unread);
        self.standing.decide(&question).pass(self.upstream.reached().parent()).is_ok()
    }

    fn question<'a>(&'a self, seen: Seen<'a>) -> Question<'a> {
        Question { to: &self.to, seen, address: self.upstream.reached().ip() }
    }

    /// Leave for what was seen to pass to the upstream, unless there is `leave` for that already.
    fn pass(&self, seen: Seen<'_>, leave: Option<Passage>) -> Result<Passage, Error> {
        if let Some(leave) = leave {
            return Ok(leave);
        }
        self.flow.seen(seen);
        let question = self.question(seen);
        let verdict = self.proxy.judge(&self.flow, &self.standing, &question);
        verdict.pass(self.upstream.reached().parent())
    }

    /// Leaves to the relay what needs no gate of its own, if it may pass.
    fn pass_as(self, seen: Seen<'static>, leave: Option<Passage>) -> Option<Passed> {
        match self.pass(seen, leave) {
            Ok(leave) => {
                let (ends, _) = open(self.client, *self.upstream, &leave);
                Some(Passed { proxy: self.proxy, flow: self.flow, ends })
            }
            Err(error) => {
                reset(self.flow, self.client, error);
                None
            }
        }
    }

    async fn first_bytes(&mut self) -> Result<First, Error> {
        if self.standing.subject.reports() && self.server_speaks_first().await? {
            return Ok(First::Other);
        }
        let deadline = Instant::now() + self.proxy.bounds.head;
        first_bytes(&mut self.client, &self.flow, self.upstream.alarm(), deadline).await
    }

    /// Report mode lets protocols pass in which the server speaks first, and nobody has said whether this is
    /// one. Who in fact speaks first tells it: a client that is merely slow is still looked at.
    async fn server_speaks_first(&mut self) -> Result<bool, Error> {
        if !self.client.head().is_empty() {
            return Ok(false);
        }
        let deadline = Instant::now() + self.proxy.bounds.silence.idle;
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let first = async {
            tokio::select! {
                biased;
                read = client.fill(HELLO_MAX) => arrived(read).map(|()| false),
                () = upstream.speaks() => Ok(true),
            }
        };
        within(&self.flow, &mut Alarm::default(), deadline, Error::IdleTimeout, pin!(first)).await?
    }
}

/// The ends of a tunnel that something may pass through now, and where it leads.
fn open(client: Stream, upstream: Upstream, leave: &Passage) -> (Box<Ends>, Reached) {
    let (upstream, reached, alarm) = upstream.open_young(leave);
    let again = reached.again();
    (in_box(|| Ends { client, upstream, again, alarm }), reached)
}

/// Ends a flow whose first bytes are refused: TLS has a word for it.
pub async fn refuse(flow: Flow, client: Stream, error: Error) {
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
    alarm: &mut Alarm,
    deadline: Instant,
    late: Error,
    step: impl Future<Output = T> + Unpin,
) -> Result<T, Error> {
    match alarm.before(deadline, pin!(flow.unless_stopped(step))).await {
        Some(done) => Ok(done?),
        None => Err(late),
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
        use std::future::Ready;

        use crate::flow::Permit;

        type Held = (drain::Watch, Permit);
        fn size<F>(_: impl FnOnce(Pin<Box<Ready<Option<(Passed, Held)>>>>) -> F) -> usize {
            size_of::<F>()
        }
        fn judging<'a, F>(_: impl FnOnce(Box<Tunnel>, Option<Known>, &'a drain::Watch) -> F) -> usize {
            size_of::<F>()
        }
        let (tunnel, judging) = (size(carry), judging(Tunnel::judge));

        assert!(tunnel <= 768 && judging <= 1920, "{tunnel} and, until it is judged, {judging}");
    }
}
