//! The only way to an upstream socket: look the name up, screen every address, connect to one that passed.
//!
//! A name is looked up once and the connection goes to the very address that was screened, so an
//! answer that changes in between (DNS rebinding) has nothing to change.

mod race;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::families::Families;
use crate::host::Host;
use crate::policy::outgoing::Outgoing;
use crate::policy::{Admission, Passage, Rule, Verdict};
use crate::reason::Reason;
use crate::resolve::{Answers, Resolver};
use crate::sys;
use race::{Race, Won};

pub use socket::try_out;

/// Dials what was admitted.
#[derive(Debug)]
pub struct Dialer {
    resolver: Arc<Resolver>,
    own_ports: Vec<u16>,
    timeout: Duration,
    /// For profiles that say nothing of it.
    outgoing: Option<Arc<Outgoing>>,
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
/// so nothing moves before what is inside was judged.
#[derive(Debug)]
pub struct Upstream {
    stream: TcpStream,
    address: SocketAddr,
    outgoing: Option<Arc<Outgoing>>,
    dns: Duration,
    connect: Duration,
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
        Self { resolver, own_ports, timeout, outgoing: None }
    }

    /// The same, with how connections leave this host where the policy does not say it.
    pub fn leaving(self, outgoing: Option<Arc<Outgoing>>) -> Self {
        Self { outgoing, ..self }
    }

    /// How a connection that this verdict allows leaves this host; `None`: as the kernel likes.
    pub fn outgoing<'a>(&'a self, verdict: &Verdict<'a>) -> Option<&'a Arc<Outgoing>> {
        verdict.outgoing().or(self.outgoing.as_ref())
    }

    /// How one leaves this host where the policy says nothing of it.
    pub fn default_outgoing(&self) -> Option<&Arc<Outgoing>> {
        self.outgoing.as_ref()
    }

    /// Connects to the destination, whose addresses come from `source`. An address that may not be dialled
    /// is passed over and never spoils another. Dropping the future ends every attempt.
    pub async fn dial<'a>(&self, admission: &Admission<'a>, source: Source) -> Result<Upstream, Failed<'a>> {
        let start = Instant::now();
        let to = admission.to();
        let default = self.outgoing.as_ref().map_or(Families::default(), |outgoing| outgoing.families());
        let families = admission.families(default);
        let answers = match (&to.host, source) {
            (Host::Ip(address), _) => Answers::known(vec![*address]),
            (Host::Name(_), Source::Known(address)) => Answers::known(vec![address]),
            (Host::Name(name), _) => self.resolver.resolve(name, families),
        };
        let mut race = Race::new(answers, (to.port, families), |address| self.screen(admission, address));
        if let Source::Prefer(address) = source {
            race.prefer(address);
        }
        let result = match timeout_at(start + self.timeout, race.run()).await {
            Ok(result) => result,
            Err(_) => Err(race.timed_out()),
        };
        let looked_up = race.first_address().unwrap_or(start);
        let Won { stream, address, outgoing } = result?;
        let (dns, connect) = (looked_up - start, looked_up.elapsed());
        Ok(Upstream { stream, address, outgoing, dns, connect })
    }

    /// Whether one address may be dialled, and how the connection leaves this host: by the policy, and lest exeat
    /// proxies to itself.
    fn screen<'a>(
        &self,
        admission: &Admission<'a>,
        address: SocketAddr,
    ) -> Result<Option<Arc<Outgoing>>, Failed<'a>> {
        let verdict = admission.accepts(address.ip());
        if !verdict.is_allow() {
            let error = match verdict.special {
                Some(special) if verdict.reason == Reason::AddressProhibited => {
                    Error::AddressProhibited { address: address.ip(), what: special.what() }
                }
                _ => Error::Denied(verdict.reason),
            };
            return Err(Failed { error, rule: verdict.rule });
        }
        if self.is_own(address) {
            return Err(Error::SelfConnect(address).into());
        }
        let outgoing = self.outgoing(&verdict);
        if let Some(why) = outgoing.and_then(|outgoing| outgoing.excludes(address.ip())) {
            return Err(Error::DialFailed(address, io::Error::other(why)).into());
        }
        Ok(outgoing.cloned())
    }

    /// Whether a connection to this address would come out at exeat itself. A listener's port on another
    /// address of this host counts too: redirection and listeners on every address make one of the other.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        // The port comes first, as the rest costs system calls.
        self.own_ports.binary_search(&address.port()).is_ok() && sys::is_local(address.ip())
    }
}

impl Upstream {
    /// The stream, ready for the bytes that the passage is for.
    pub fn open(self, _: &Passage) -> TcpStream {
        self.stream
    }

    /// Resolves once it has something to say, or has ended. Nothing of it is taken.
    pub async fn speaks(&self) {
        // A reset is an end; whoever reads from it will learn which.
        let _ = self.stream.peek(&mut [0]).await;
    }

    /// The screened address that it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it leaves this host, where that was not left to the kernel.
    pub fn outgoing(&self) -> Option<&Arc<Outgoing>> {
        self.outgoing.as_ref()
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

impl From<Error> for Failed<'_> {
    fn from(error: Error) -> Self {
        Self { error, rule: None }
    }
}
