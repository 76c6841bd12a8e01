//! The only way to an upstream socket: look the name up, screen every address, connect to one that passed.
//!
//! A name is looked up once and the connection goes to the very address that was screened, so an
//! answer that changes in between (DNS rebinding) has nothing to change.

mod reached;
mod screen;
mod socket;
mod through;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::boxed::{boxed, in_box};
use crate::client::Client;
use crate::destination::Destination;
use crate::error::Error;
use crate::families::Families;
use crate::host::Host;
use crate::parent::Parents;
use crate::policy::outgoing::Outgoing;
use crate::policy::{Admission, Passage, Rule, Verdict};
use crate::race::{ATTEMPT_DELAY, Begun, Race, Says, Setback};
use crate::resolve::{Answers, Asker, Resolver};
use crate::spares::Spares;
use crate::stream::Stream;
use screen::Screened;

pub use reached::{Course, Reached, Through};
pub use socket::try_out;

/// Dials what was admitted.
#[derive(Debug)]
pub struct Dialer {
    resolver: Arc<Resolver>,
    own_ports: Vec<u16>,
    timeout: Duration,
    /// For profiles that say nothing of it.
    outgoing: Option<Arc<Outgoing>>,
    parents: Arc<Parents>,
    spares: Arc<Spares>,
}

/// Where the addresses of a name come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a look-up.
    LookUp,
    /// From a look-up, and of what it finds this address first: a redirected client chose it.
    Prefer(IpAddr),
    /// It is this one, which the name was remembered to have.
    Known(IpAddr),
}

/// A connection that stands and has carried nothing. It gives up its stream for a passage alone,
/// so nothing moves before what is inside was judged. It comes in a box, as many hands pass it on.
#[derive(Debug)]
pub struct Upstream {
    stream: Stream,
    reached: Reached,
    dns: Duration,
    connect: Duration,
    /// That of the dial, for what follows it.
    alarm: Alarm,
}

/// A connection, and the verdict on where it leads.
struct Won<'a> {
    upstream: Box<Upstream>,
    verdict: Verdict<'a>,
}

/// Why there is no connection.
#[derive(Debug)]
pub struct Failed<'a> {
    pub error: Error,
    /// The rule that decided, where the policy refused the addresses.
    pub rule: Option<Rule<'a>>,
}

impl Dialer {
    /// A dialer that has `timeout` for look-up and connection together. It never dials the ports of
    /// `listeners`, exeat's own, on any address of this host.
    pub fn new(resolver: Arc<Resolver>, listeners: &[SocketAddr], timeout: Duration) -> Self {
        let mut own_ports: Vec<u16> = listeners.iter().map(SocketAddr::port).collect();
        own_ports.sort_unstable();
        own_ports.dedup();
        Self { resolver, own_ports, timeout, outgoing: None, parents: Arc::default(), spares: Arc::default() }
    }

    /// The same, with how connections leave this host where the policy does not say it.
    pub fn leaving(self, outgoing: Option<Arc<Outgoing>>) -> Self {
        Self { outgoing, ..self }
    }

    /// The same, with parents to go through.
    pub fn with_parents(self, parents: Arc<Parents>) -> Self {
        Self { parents, ..self }
    }

    /// The same, with sockets that may be connected again.
    pub fn with_spares(self, spares: Arc<Spares>) -> Self {
        Self { spares, ..self }
    }

    /// How a connection that this verdict allows leaves this host; `None`: as the kernel likes.
    pub fn outgoing<'a>(&'a self, verdict: &Verdict<'a>) -> Option<&'a Arc<Outgoing>> {
        verdict.outgoing().or(self.outgoing.as_ref())
    }

    /// How one leaves this host where the policy says nothing of it.
    pub fn default_outgoing(&self) -> Option<&Arc<Outgoing>> {
        self.outgoing.as_ref()
    }

    /// Connects to the destination for a client. The addresses come from `source`; the time for that began at `start`,
    /// just now. An address that may not be dialled is passed over and never spoils another. Dropping the future ends
    /// every attempt. With the connection comes the verdict on its address, or, where a parent looks that up, the
    /// admission's own.
    pub async fn dial<'a>(
        &self,
        admission: &Admission<'a>,
        client: &Client,
        source: Source,
        start: Instant,
    ) -> Result<(Box<Upstream>, Verdict<'a>), Failed<'a>> {
        let asker = Asker::Client(client.ip());
        if let Some(parent) = admission.parent() {
            // Boxed, so that a flow which goes straight does not take that much memory.
            return Box::pin(self.dial_through(parent, admission, (asker, source), start)).await;
        }
        let attempt = |screened: Screened<'a>| -> Begun<'_, Won<'a>, Failed<'a>> {
            fits(screened.outgoing(), screened.address())?;
            Ok(boxed(|| async move {
                let stream = self.connect(screened.address(), screened.outgoing()).await?;
                Ok(screened.won(stream, None))
            }))
        };
        pin!(self.race((admission, asker, source), (start, ATTEMPT_DELAY), attempt)).await
    }

    /// Tries those addresses of the destination that pass the screen, each so much later than the one before it, until
    /// one of them does or the time since `start` is over.
    fn race<'a: 'f, 'f>(
        &self,
        (admission, asker, source): (&Admission<'a>, Asker, Source),
        (start, delay): (Instant, Duration),
        attempt: impl Fn(Screened<'a>) -> Begun<'f, Won<'a>, Failed<'a>>,
    ) -> impl Future<Output = Result<(Box<Upstream>, Verdict<'a>), Failed<'a>>> {
        let (to, families) = (admission.to(), self.families(admission));
        let answers = self.answers(to, (asker, source), families);
        let attempt = move |address| attempt(self.screen(admission, address)?);
        // Built here and moved into the future as it is: an async fn would keep what it is built of beside it.
        let mut race = Race::new(answers, (to.port, families), (start, delay), attempt);
        if let Source::Prefer(address) = source {
            race.prefer(address);
        }
        let deadline = start + self.timeout;
        async move {
            let mut alarm = Alarm::default();
            let result = alarm.before(deadline, pin!(race.run())).await;
            let Won { mut upstream, verdict } = result.unwrap_or_else(|| Err(race.timed_out()))?;
            let looked_up = race.first_address().unwrap_or(start);
            (upstream.dns, upstream.connect) = (looked_up - start, race.now() - looked_up);
            upstream.alarm = alarm;
            Ok((upstream, verdict))
        }
    }

    async fn connect<E: From<Error>>(
        &self,
        address: SocketAddr,
        outgoing: Option<&Arc<Outgoing>>,
    ) -> Result<Stream, Setback<E>> {
        match socket::connect(address, outgoing.map(Arc::as_ref), &self.spares).await {
            Ok(stream) => Ok(Stream::new(stream)),
            Err(error) => Err(Setback::connecting(address, error)),
        }
    }

    /// The families of addresses that may do.
    fn families(&self, admission: &Admission<'_>) -> Families {
        let default = self.outgoing.as_ref().map_or(Families::default(), |outgoing| outgoing.families());
        admission.families(default)
    }

    /// The addresses of a destination, as they are found.
    fn answers(&self, to: &Destination, (asker, source): (Asker, Source), families: Families) -> Answers {
        match (&to.host, source) {
            (Host::Ip(address), _) => Answers::known(vec![*address]),
            (Host::Name(_), Source::Known(address)) => Answers::known(vec![address]),
            (Host::Name(name), _) => self.resolver.resolve(asker, name, families),
        }
    }
}

impl Upstream {
    /// A connection that has come to stand. How long that took is for the whole dial to say.
    fn new(stream: Stream, reached: Reached) -> Box<Self> {
        let (dns, connect, alarm) = (Duration::ZERO, Duration::ZERO, Alarm::default());
        in_box(|| Self { stream, reached, dns, connect, alarm })
    }

    /// The stream, ready for the bytes that the passage is for, and kept alive; and where it leads.
    pub fn open(self, passage: &Passage) -> (Stream, Reached) {
        let (stream, reached, _) = self.open_young(passage);
        stream.keep_alive();
        (stream, reached)
    }

    /// The same for one who keeps it alive once it has lived for [`YOUTH`](crate::stream::YOUTH): the relay does.
    /// With it comes the timer of the dial.
    pub fn open_young(self, _: &Passage) -> (Stream, Reached, Alarm) {
        (self.stream, self.reached, self.alarm)
    }

    /// Resolves once it has something to say, or has ended. Nothing of it is lost.
    pub async fn speaks(&mut self) {
        self.stream.keep_alive();
        // A reset is an end; whoever reads from it will learn which.
        let _ = poll_fn(|cx| self.stream.poll_ended(cx)).await;
    }

    /// The timer of the dial, for whoever waits next: on the upstream or before it is opened.
    pub fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    /// Where it leads.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// How long the look-up took until the first address.
    pub fn dns(&self) -> Duration {
        self.dns
    }

    /// How long it took from there until the connection stood.
    pub fn connect(&self) -> Duration {
        self.connect
    }
}

/// Whether a connection that leaves this host like that can reach an address.
fn fits<E: From<Error>>(outgoing: Option<&Arc<Outgoing>>, address: SocketAddr) -> Result<(), Setback<E>> {
    match outgoing.and_then(|outgoing| outgoing.excludes(address.ip())) {
        Some(why) => {
            let error = Error::DialFailed(address, io::Error::other(why));
            Err(Setback::new(Says::NotThisWay, error.into()))
        }
        None => Ok(()),
    }
}

impl From<Error> for Failed<'_> {
    fn from(error: Error) -> Self {
        Self { error, rule: None }
    }
}
