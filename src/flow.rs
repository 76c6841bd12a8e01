//! A flow: one tunnel, one forwarded request, one DNS question. Its record and its metrics come from here alone.

mod connections;
mod judges;
mod ledger;
mod meter;
mod open;
mod places;
mod registry;
mod stop;
mod walk;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::client::{Client, Leave, User};
use crate::counters::Counters;
use crate::destination::Destination;
use crate::error::Error;
use crate::flow::open::{Facts, Open};
use crate::flow::registry::Key;
use crate::flow::words::{Words, tell};
use crate::ingress::Ingress;
use crate::policy::{Inquiry, Rule, Seen, Verdict};
use crate::reason::Reason;
use crate::record::{FlowId, Inside, Profiles, Record};

pub use self::connections::{Connections, Permit};
pub use self::ledger::Ledger;
pub use self::meter::Meter;
pub use self::places::Limits;
pub use self::stop::{Stop, Stopped};
pub use self::walk::{Row, Walk};

/// The guard of one flow: told what is learnt, consumed by [`Flow::end`]. Dropped otherwise, as in a
/// panic or an abort, it is recorded all the same.
#[derive(Debug)]
#[must_use = "a flow that is dropped is recorded as a defect"]
pub struct Flow {
    ledger: Arc<Ledger>,
    open: Arc<Open>,
    key: Key,
    /// Whether its end was told: to learn that from its facts would take their lock once more.
    has_ended: bool,
}

impl Ledger {
    /// Begins a flow. Load the policy that will judge it only after this: see [`Ledger::rejudge`].
    pub fn begin(self: &Arc<Self>, ingress: Ingress, client: Client) -> Flow {
        self.begin_to(ingress, client, None)
    }

    /// The same for a client of which it may be known already where it wants to go.
    pub fn begin_to(self: &Arc<Self>, ingress: Ingress, client: Client, to: Option<Destination>) -> Flow {
        let (open, key) = self.enter(ingress, client, to);
        Flow { ledger: Arc::clone(self), open, key, has_ended: false }
    }

    /// Ends every flow that is still open, when exeat can wait no longer: what their connections do after this
    /// is in no record. Returns how many there were.
    pub fn end_all(&self) -> usize {
        let mut ended = 0;
        self.registry().each(|open| ended += usize::from(self.close(open, |_| Err(Error::Draining))));
        ended
    }

    /// Writes the record of a flow and counts it; false if that was done before.
    fn close(&self, open: &Open, result: impl FnOnce(&Facts) -> Result<(), Error>) -> bool {
        let Some(mut facts) = open.take() else { return false };
        let result = result(&facts);
        let (sent, received) = open.uncounted(&mut facts);
        let mut record = facts.record;
        if facts.permit {
            self.places().release(record.client.ip());
        }
        if let Some(hits) = facts.hits {
            hits.inc();
        }
        let took = open.begun.elapsed();
        let reason = match &result {
            Ok(()) => record.reason.unwrap_or(Reason::Internal),
            Err(error) => error.reason(),
        };
        let metrics = self.metrics();
        metrics.moved(sent, received);
        metrics.end(record.ingress, reason, took);
        record.reason = Some(reason);
        // What was refused in the end was not let through, whatever the first verdict said.
        record.would_deny &= reason.allows();
        tell(&mut record, result.err().as_ref());
        (record.sent, record.received) = facts.counted;
        record.duration = Some(took);
        self.sink().write(record);
        true
    }
}

impl Flow {
    pub fn id(&self) -> FlowId {
        self.open.id
    }

    /// When it began.
    pub fn begun(&self) -> tokio::time::Instant {
        self.open.begun
    }

    /// The door it came through.
    pub fn ingress(&self) -> Ingress {
        self.open.ingress
    }

    /// Whose credentials came with it.
    pub fn user(&self, user: &Arc<User>) {
        self.open.facts(|facts| facts.record.client.user = Some(Arc::clone(user)));
    }

    /// What a person let it do.
    pub fn leave(&self, leave: Leave) {
        self.open.facts(|facts| facts.record.client.leave = Some(leave));
    }

    /// Where the client wants to go.
    pub fn to(&self, to: &Destination) {
        self.open.facts(|facts| facts.record.to = Some(to.clone()));
    }

    /// What the first bytes showed.
    pub fn seen(&self, seen: Seen<'_>) {
        self.open.facts(|facts| facts.record.inside = seen.into());
    }

    /// The type of the records that a DNS question asks for.
    pub fn asked(&self, kind: &str) {
        self.open.facts(|facts| facts.record.inside = Inside::Question { kind: kind.into() });
    }

    /// What the policy said of all that was told so far, by these profiles of the client, and how long it took to say so.
    pub fn verdict(&self, verdict: &Verdict<'_>, profiles: &Profiles, took: Duration) {
        self.judged(verdict.reason, verdict.rule, profiles, took);
    }

    /// What [`Self::dialled`] is told, and the verdict with the address that was dialled: asked when that was screened,
    /// told once it is known which it was.
    pub fn decided(
        &self,
        verdict: &Verdict<'_>,
        upstream: Option<SocketAddr>,
        dns: Duration,
        connect: Duration,
    ) {
        self.ledger.metrics().dialled(dns, connect);
        self.settle(verdict.reason, verdict.rule, |record| record.dialled(upstream, dns + connect));
    }

    /// What the policy said of a flow that is a question.
    pub fn inquiry(&self, inquiry: &Inquiry<'_>, profiles: &Profiles, took: Duration) {
        self.judged(inquiry.reason, inquiry.rule, profiles, took);
    }

    fn judged(&self, reason: Reason, rule: Option<Rule<'_>>, profiles: &Profiles, took: Duration) {
        self.ledger.metrics().decided(took);
        self.settle(reason, rule, |record| record.profiles = Some(Arc::clone(profiles)));
    }

    /// Notes a verdict, and what else was learnt with it.
    fn settle(&self, reason: Reason, rule: Option<Rule<'_>>, learnt: impl FnOnce(&mut Record)) {
        let decides = matches!(reason, Reason::Allowed | Reason::DeniedByRule);
        let is_late = self.open.facts(|facts| {
            learnt(&mut facts.record);
            facts.record.reason = Some(reason);
            facts.record.would_deny = reason == Reason::ReportOnly;
            // The second verdict on a flow mostly names the rule of the first.
            let id = rule.as_ref().map(Rule::id);
            if id.is_none() || facts.rule != id || facts.hits.is_some() != decides {
                let cited = rule.filter(|_| decides).map(|rule| self.ledger.cite(rule));
                (facts.record.rule, facts.hits) = match (cited, rule) {
                    (Some(cited), _) => (Some(cited.label), cited.hits),
                    (None, rule) => (rule.map(|rule| Words::new(rule).label().into()), None),
                };
                facts.rule = id;
            }
            // Read under the lock: either the walk of a new policy finds this verdict, or it is found late here.
            self.open.epoch != self.ledger.judges().epoch()
        });
        if is_late == Some(true) {
            self.ledger.judges().judge_late(&self.open);
        }
    }

    /// The rule that decided, where it was not the verdict's: a resolved address may be denied by another.
    pub fn decider(&self, rule: Rule<'_>) {
        let words = Words::new(rule);
        self.open.facts(|facts| {
            facts.record.rule = Some(words.label().into());
            facts.rule = None;
        });
    }

    /// The rule that decided, as the record will name it.
    pub fn rule(&self) -> Option<String> {
        self.open.facts(|facts| facts.record.rule.as_deref().map(str::to_owned)).flatten()
    }

    /// The upstream that was connected to, if its address is known, and how long the look-up and the connect took.
    pub fn dialled(&self, upstream: Option<SocketAddr>, dns: Duration, connect: Duration) {
        self.ledger.metrics().dialled(dns, connect);
        self.open.facts(|facts| facts.record.dialled(upstream, dns + connect));
    }

    /// The addresses were found after this time, and no connection was asked for.
    pub fn looked_up(&self, first: Option<IpAddr>, dns: Duration) {
        self.ledger.metrics().looked_up(dns);
        self.open.facts(|facts| {
            facts.record.address = first;
            facts.record.dial = Some(dns);
        });
    }

    /// The upstream that is reached over a connection that stood before, as far as its address is known, or is yet to
    /// be reached, and the parent on the way there.
    pub fn reached(&self, upstream: Option<SocketAddr>, parent: Option<&Arc<str>>) {
        self.open.facts(|facts| {
            facts.record.address = upstream.map(|address| address.ip().to_canonical());
            facts.record.parent = parent.cloned();
        });
    }

    /// The HTTP status that the client gets.
    pub fn status(&self, status: u16) {
        self.open.facts(|facts| facts.record.status = Some(status));
    }

    /// The bytes it moved, for the relay to count.
    pub fn counters(&self) -> &Counters {
        &self.open.counters
    }

    /// Its counters, for a part of it that lives in another task.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.open))
    }

    /// Says that a drop from here on is the client's doing: hyper drops a request's future with its connection.
    pub fn ends_with_connection(&self) {
        self.open.facts(|facts| facts.ends_with_connection = true);
    }

    /// Records that the flow starts, if the settings ask for such records.
    pub fn opened(&self) {
        let sink = self.ledger.sink();
        if sink.wants_opened()
            && let Some(record) = self.open.facts(|facts| facts.record.clone())
        {
            sink.write(record);
        }
    }

    /// Ends the flow: its one record, and its metrics.
    pub fn end(mut self, result: Result<(), Error>) {
        self.has_ended = true;
        self.close(|facts| match result {
            Ok(()) if facts.record.reason.is_none() => {
                Err(Error::Internal("the flow ended without a verdict".into()))
            }
            result => result,
        });
    }

    fn close(&self, result: impl FnOnce(&Facts) -> Result<(), Error>) {
        if self.ledger.close(&self.open, result) {
            self.ledger.registry().remove(self.key);
        }
    }

    /// What a flow ended of that nobody ended.
    fn dropped(&self, facts: &Facts) -> Error {
        if thread::panicking() {
            return Error::Internal("a panic ended the flow".into());
        }
        match self.open.switch.thrown() {
            Some(stop) => stop.into(),
            None if facts.ends_with_connection => Error::ClientReset,
            None => Error::Internal("the flow was dropped".into()),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if !self.has_ended {
            self.close(|facts| Err(self.dropped(facts)));
        }
    }
}
