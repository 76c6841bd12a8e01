//! By way of a parent: which of its proxies, and what it is asked for.
//!
//! Where exeat looks names up, the parent is asked for a screened address, so that the guard holds all the way. Where
//! the parent does, it is asked for the name, and what that leads to is the parent's to judge.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::boxed::boxed;
use crate::destination::Destination;
use crate::dial::screen::Screened;
use crate::dial::{Dialer, Failed, Reached, Source, Through, Upstream, Won, fits};
use crate::error::{Error, ParentFailure, ParentFault};
use crate::families::Families;
use crate::host::Host;
use crate::parent::{Ask, Member, Parent, Resolve};
use crate::policy::outgoing::Outgoing;
use crate::policy::{Admission, Verdict};
use crate::race::{ATTEMPT_DELAY, Begun, Race, Says, Setback};
use crate::resolve::Asker;
use crate::stream::Stream;

/// How long a parent has to open a tunnel to one address before it is asked for the next one too: its answer takes
/// as long as the upstream's (RFC 8305 §8 has 2 s as the longest).
const TUNNEL_DELAY: Duration = Duration::from_secs(2);

/// A proxy that takes no connection in less than this part of all the time may yet be alive.
const FAIR_PART: u32 = 8;

impl Dialer {
    /// Connects to the destination through the parent of that name.
    pub(super) async fn dial_through<'a>(
        &self,
        name: &str,
        admission: &Admission<'a>,
        (asker, source): (Asker, Source),
        start: Instant,
    ) -> Result<(Box<Upstream>, Verdict<'a>), Failed<'a>> {
        let deadline = start + self.timeout;
        let Some(parent) = self.parents.get(name) else {
            return Err(Error::Internal(format!("the settings have no parent {name}").into()).into());
        };
        let to = admission.to();
        let knows_address = matches!((&to.host, source), (Host::Ip(_), _) | (_, Source::Known(_)));
        if parent.resolve() == Resolve::Parent && !knows_address {
            let forwards = admission.is_for_request();
            let ask = if forwards { Ask::Requests } else { Ask::Tunnel(to) };
            let outgoing = admission.outgoing().or(self.outgoing.as_ref()).cloned();
            let (stream, url) = self.ask(parent, ask, outgoing.as_ref(), deadline).await?;
            let through = Through::new(Arc::clone(parent), url, forwards);
            let reached = Reached { address: None, through: Some(through), outgoing };
            let mut upstream = Upstream::new(stream, reached);
            upstream.connect = start.elapsed();
            return Ok((upstream, admission.verdict()));
        }
        let attempt = |screened: Screened<'a>| -> Begun<'_, Won<'a>, Failed<'a>> {
            Ok(boxed(|| async move {
                let address = screened.address();
                let to = Destination::new(Host::Ip(address.ip()), address.port());
                let asked = self.ask(parent, Ask::Tunnel(&to), screened.outgoing(), deadline).await;
                let (stream, url) = asked.map_err(not_led)?;
                let through = Through::new(Arc::clone(parent), url, false);
                Ok(screened.won(stream, Some(through)))
            }))
        };
        pin!(self.race((admission, asker, source), (start, TUNNEL_DELAY), attempt)).await
    }

    /// Asks the proxies of a parent one after the other, until one does what is asked for or refuses to. Those that
    /// failed a short while ago come last, after all others.
    async fn ask(
        &self,
        parent: &Parent,
        ask: Ask<'_>,
        outgoing: Option<&Arc<Outgoing>>,
        deadline: Instant,
    ) -> Result<(Stream, Arc<str>), Error> {
        let mut waiting: Vec<&Member> = parent.members().iter().collect();
        let mut left = parent.members().len() as u32;
        let mut breakdown: Option<Box<ParentFailure>> = None;
        let told = |breakdown: Option<_>| breakdown.map_or(Error::DialTimeout, Error::Parent);
        for is_last_resort in [false, true] {
            for member in std::mem::take(&mut waiting) {
                if !is_last_resort && !member.takes_a_turn() {
                    waiting.push(member);
                    continue;
                }
                let time = deadline.saturating_duration_since(Instant::now());
                if time.is_zero() {
                    return Err(told(breakdown));
                }
                // Each has an equal part of the time, lest one that is silent takes it all.
                let connecting = self.connect_to(parent, member, outgoing, time / left);
                let asked = match connecting.await {
                    Ok(stream) => parent.open(member, stream, ask, deadline).await.map_err(Error::from),
                    Err(error) => Err(error),
                };
                match asked {
                    Ok(stream) => return Ok((stream, Arc::clone(member.url()))),
                    Err(Error::Parent(failure)) if failure.fault.is_breakdown() => {
                        tracing::debug!("{failure}");
                        // What an answer says of the destination is more than that another one gives none.
                        let says_more = |last: &ParentFailure| !last.fault.is_about_destination();
                        if failure.fault.is_about_destination() || breakdown.as_deref().is_none_or(says_more)
                        {
                            breakdown = Some(failure);
                        }
                    }
                    Err(error) => return Err(error),
                }
                left -= 1;
            }
        }
        Err(told(breakdown))
    }

    /// A connection to one proxy of a parent within `share`.
    async fn connect_to(
        &self,
        parent: &Parent,
        member: &Member,
        outgoing: Option<&Arc<Outgoing>>,
        share: Duration,
    ) -> Result<Stream, Error> {
        let fault = match timeout(share, self.connect_at_leisure(parent, member, outgoing)).await {
            Ok(Ok(stream)) => {
                member.works();
                return Ok(stream);
            }
            Ok(Err(Error::Parent(failure))) => failure.fault,
            Ok(Err(error @ Error::SelfConnect(_))) => return Err(error),
            Ok(Err(error)) => ParentFault::Connect(error.to_string()),
            Err(_) => ParentFault::ConnectLate,
        };
        // Too short a time, because others had the rest of it, says nothing.
        if !matches!(fault, ParentFault::ConnectLate) || share >= self.timeout / FAIR_PART {
            member.fails();
        }
        Err(parent.failure(member, fault).into())
    }

    /// The same without a limit; over TLS if its URL says so. It is the operator's choice, so no rule and no guard is
    /// asked about it; but it may not be exeat itself.
    async fn connect_at_leisure(
        &self,
        parent: &Parent,
        member: &Member,
        outgoing: Option<&Arc<Outgoing>>,
    ) -> Result<Stream, Error> {
        let to = member.to();
        let families = outgoing.map_or(Families::default(), |outgoing| outgoing.families());
        let attempt = |address| -> Begun<'_, Stream, Error> {
            self.screen_own(address)?;
            fits(outgoing, address)?;
            Ok(boxed(|| self.connect(address, outgoing)))
        };
        let answers = self.answers(to, (Asker::Exeat, Source::LookUp), families);
        let times = (Instant::now(), ATTEMPT_DELAY);
        let mut race = Race::new(answers, (to.port, families), times, attempt);
        let stream = race.run().await?;
        stream.keep_alive();
        Ok(parent.secure(member, stream).await?)
    }
}

/// A parent did not lead to the address.
fn not_led<'a>(error: Error) -> Setback<Failed<'a>> {
    // Neither a parent that refuses nor one that is not there is tried with every address of a name.
    let says = match &error {
        Error::Parent(failure) if failure.fault.is_about_destination() => Says::Failed,
        _ => Says::All,
    };
    Setback::new(says, error.into())
}
