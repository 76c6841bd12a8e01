//! What every door does with a flow: decide, admit, dial, and relay to the end.

mod settle;

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::header::HeaderMap;
use jiff::civil::Date;
use tokio::time::Instant;

use crate::auth::Authenticator;
use crate::client::{Client, User};
use crate::clock::today;
use crate::consent::Consent;
use crate::destination::Destination;
use crate::dial::{Course, Dialer, Source, Upstream};
use crate::error::{AuthFailure, Error};
use crate::flow::{Flow, Ledger};
use crate::guard;
use crate::host::Name;
use crate::policy::explain::{self, Denial};
use crate::policy::{Inquiry, Passage, Policy, Question, Subject, Verdict};
use crate::relay::{Ends, Relay};
use crate::reply::Refusal;
use crate::silence::Silence;
use crate::via::Via;

/// What all doors and gates share.
#[derive(Debug)]
pub struct Proxy {
    pub ledger: Arc<Ledger>,
    pub dialer: Dialer,
    /// `None`: nobody has to say who it is.
    pub auth: Option<Arc<Authenticator>>,
    /// `None`: what no rule speaks for is denied without a question.
    pub consent: Option<Arc<Consent>>,
    pub policy: Arc<ArcSwap<Policy>>,
    pub relay: Relay,
    pub bounds: Bounds,
    pub via: Via,
}

/// Bounds on what a client may send before it is judged, and on how long it may take for that and for its exchanges.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The size of a request's head.
    pub head_bytes: usize,
    /// The time of a head or a ClientHello, from its first byte to its last.
    pub head: Duration,
    /// How long a connection may stay idle between requests.
    pub keepalive: Duration,
    /// How long an exchange may be silent. Its client is the side that may have ended.
    pub silence: Silence,
}

/// A client before the policy in force: found once a connection and revision.
#[derive(Debug)]
pub struct Standing {
    pub client: Client,
    pub policy: Arc<Policy>,
    pub subject: Subject,
}

impl Standing {
    /// What the policy says to a question today.
    pub fn decide<'a>(&'a self, question: &'a Question<'a>) -> Verdict<'a> {
        self.policy.decide(&self.subject, question, self.today())
    }

    /// Whether, by the policy of today, the client may know where a name leads, or that it leads to this address.
    pub fn inquire(&self, name: &Name, address: Option<IpAddr>) -> Inquiry<'_> {
        self.policy.inquire(&self.subject, name, address, self.today())
    }

    /// The day to judge by. To ask for it takes a third of the time that it takes to judge, so where no rule ever ends, and
    /// every day would do, nobody is asked.
    fn today(&self) -> Date {
        if self.policy.has_ends() { today() } else { Date::MAX }
    }
}

impl Proxy {
    /// The client's standing before the policy now in force.
    pub fn standing(&self, client: Client) -> Arc<Standing> {
        let policy = self.policy.load_full();
        let subject = policy.subject(&client);
        Arc::new(Standing { client, policy, subject })
    }

    /// The same standing, or a new one if the policy or the user has changed since.
    pub fn refreshed(&self, standing: &Arc<Standing>) -> Arc<Standing> {
        let client = &standing.client;
        let known = self.auth.as_ref().map_or(Some(Cow::Borrowed(client)), |auth| auth.still(client));
        match known {
            Some(Cow::Borrowed(_)) if Arc::ptr_eq(&standing.policy, &self.policy.load()) => {
                Arc::clone(standing)
            }
            Some(client) => self.standing(client.into_owned()),
            None => {
                // Whose tunnel it was is no more: not even what the address alone may do is done in that name.
                let policy = self.policy.load_full();
                let subject = policy.nobody();
                Arc::new(Standing { client: client.clone(), policy, subject })
            }
        }
    }

    /// Whose credentials came with a request, where the settings want to know.
    pub async fn identify(
        &self,
        flow: &Flow,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<User>>, Error> {
        let Some(auth) = &self.auth else { return Ok(None) };
        let user = flow.unless_stopped(auth.identify(client, headers)).await??;
        if let Some(user) = &user {
            flow.user(user);
        }
        Ok(user)
    }

    /// Asks the policy, and tells the flow what it said.
    pub fn judge<'a>(&self, flow: &Flow, standing: &'a Standing, question: &'a Question<'a>) -> Verdict<'a> {
        self.judge_timed(flow, standing, question).0
    }

    /// The same, and when that was done.
    fn judge_timed<'a>(
        &self,
        flow: &Flow,
        standing: &'a Standing,
        question: &'a Question<'a>,
    ) -> (Verdict<'a>, Instant) {
        let began = Instant::now();
        let verdict = standing.decide(question);
        let now = Instant::now();
        flow.verdict(&verdict, standing.subject.profile_names(), now - began);
        (verdict, now)
    }

    /// Asks the policy whether the client may know where a name leads, and tells the flow what it said.
    pub fn inquire<'a>(&self, flow: &Flow, standing: &'a Standing, name: &Name) -> Inquiry<'a> {
        let began = Instant::now();
        let inquiry = standing.inquire(name, None);
        flow.inquiry(&inquiry, standing.subject.profile_names(), began.elapsed());
        inquiry
    }

    /// From a question to a connection, and to leave for what the question says of its inside to pass: the verdict that
    /// let its address be dialled speaks of that too, so nobody is asked again.
    pub async fn open(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
        source: Source,
    ) -> Result<(Box<Upstream>, Passage), Error> {
        let (upstream, verdict) = pin!(self.dial(flow, standing, question, source)).await?;
        flow.decided(&verdict, upstream.reached().address, upstream.dns(), upstream.connect());
        let leave = verdict.pass(upstream.reached().parent())?;
        Ok((upstream, leave))
    }

    /// From a question to a connection whose inside is yet to be seen.
    pub async fn connect(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
        source: Source,
    ) -> Result<Box<Upstream>, Error> {
        let (upstream, _) = pin!(self.dial(flow, standing, question, source)).await?;
        flow.dialled(upstream.reached().address, upstream.dns(), upstream.connect());
        Ok(upstream)
    }

    /// Decides, admits, dials. The verdict is the last one: with the address, where that is known here. The flow is yet to
    /// be told of both.
    async fn dial<'a>(
        &self,
        flow: &Flow,
        standing: &'a Standing,
        question: &'a Question<'a>,
        source: Source,
    ) -> Result<(Box<Upstream>, Verdict<'a>), Error> {
        let (verdict, now) = self.judge_timed(flow, standing, question);
        let admission = verdict.admit()?;
        if let Some(parent) = admission.parent() {
            flow.reached(None, Some(parent));
        }
        let dialling = pin!(self.dialer.dial(&admission, &standing.client, source, now));
        let dialled = pin!(flow.unless_stopped(dialling)).await?;
        dialled.map_err(|failed| {
            if let Some(rule) = failed.rule {
                flow.decider(rule);
            }
            failed.error
        })
    }

    /// Which way a connection for this question would take, by what is known so far. Where the policy has no say in it,
    /// it is not asked.
    pub fn course(&self, standing: &Standing, question: &Question<'_>) -> Course {
        if !standing.policy.has_outgoing() && !standing.policy.has_parents() {
            return Course { parent: None, outgoing: self.dialer.default_outgoing().cloned() };
        }
        let verdict = standing.decide(question);
        Course { parent: verdict.parent().cloned(), outgoing: self.dialer.outgoing(&verdict).cloned() }
    }

    /// Relays to the end, and ends the flow.
    pub async fn tunnel(&self, flow: Flow, ends: Box<Ends>) {
        flow.opened();
        let stop = async { flow.stopped().await.into() };
        let end = pin!(self.relay.carry(ends, flow.counters(), stop)).await;
        flow.end(end);
    }

    /// What to tell a client whose flow ends with this error.
    pub fn refusal<'a>(
        &self,
        flow: &Flow,
        error: &Error,
        to: Option<&'a Destination>,
        standing: &Standing,
    ) -> Refusal<'a> {
        let special = match error {
            Error::AddressProhibited { address, .. } => guard::special(*address),
            _ => None,
        };
        let denial = Denial { reason: error.reason(), special, rule: flow.rule() };
        let remedy = to.and_then(|to| {
            explain::remedy(&standing.policy, &standing.subject, &standing.client, to, &denial)
        });
        Refusal {
            received: match error {
                Error::Parent(failure) => failure.status(),
                _ => None,
            },
            challenges: self.auth.as_ref().map(|auth| auth.challenges(error)).unwrap_or_default(),
            reason: denial.reason,
            message: error.to_string(),
            destination: to,
            rule: denial.rule,
            hint: advice(error).map(str::to_owned).or_else(|| remedy.map(|remedy| remedy.to_string())),
            flow: flow.id().to_string(),
        }
    }
}

/// What to do next, where no line of a policy would help.
fn advice(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::OtherWay => {
            "rules never combine: give those for this destination the same `parent`, or open another connection"
        }
        Error::LimitFlows => {
            "wait until others end; `limits.flows` and the limit on open files bound them all"
        }
        Error::LimitClientFlows => {
            "close some, or wait until they end; `limits.flows_per_client` bounds them"
        }
        Error::LimitClientConnections => "close some; `limits.connections_per_client` bounds them",
        Error::LimitClientLookUps => {
            "wait until others end: a name that no DNS server answers for is waited for some seconds"
        }
        Error::LimitClientCredentials => "send the right ones, or wait: they are checked one after the other",
        Error::AuthRequired => {
            "say who you are, in the proxy's URL (http://USER:PASSWORD@PROXY) or by `Proxy-Authorization`"
        }
        Error::AuthFailed(AuthFailure::Credentials(_)) => "send what `Proxy-Authenticate` asks for, and once",
        Error::AuthFailed(AuthFailure::Password) => {
            "send the right ones; in the proxy's URL `@`, `:` and `/` have to be percent-encoded"
        }
        Error::Revoked => {
            "ask again: the policy and the users that are in force now decide, and the answer says why"
        }
        Error::AuthFailed(AuthFailure::Token(_)) => "get a new one of the issuer whose tokens are taken here",
        _ => return None,
    })
}
