//! The policy in force, its change, and what the open flows are told of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::auth::Authenticator;
use crate::clock::today;
use crate::dial;
use crate::flow::Ledger;
use crate::gate::http::Pool;
use crate::mistake::Mistake;
use crate::policy::document::Loaded;
use crate::policy::{Builder, Policy};

/// How often the date is looked at: a wait until midnight would miss that the clock is set.
const LOOK_AT_DATE: Duration = Duration::from_secs(30);

/// The policy in force and all that depends on it.
#[derive(Clone, Debug)]
pub struct InForce {
    pub policy: Arc<ArcSwap<Policy>>,
    pub ledger: Arc<Ledger>,
    pub pool: Arc<Pool>,
    /// `None`: nobody has to say who it is.
    pub auth: Option<Arc<Authenticator>>,
}

impl InForce {
    /// Swaps the policy and drops the old one, which can take a while: not for an I/O thread.
    pub(super) fn replace(&self, loaded: Loaded) {
        warn(&loaded.warnings);
        let revoked = self.put(loaded.builder);
        let policy = self.policy.load();
        tracing::info!(
            revision = policy.revision(),
            rules = policy.len(),
            revoked,
            "a new policy is in force"
        );
    }

    /// The same without a word; says how many flows it revoked.
    pub(super) fn put(&self, builder: Builder) -> usize {
        let revision = self.policy.load().revision() + 1;
        let policy = Arc::new(builder.finish(revision));
        warn_of_outgoing(&policy);
        self.ledger.metrics().policy_in_force(policy.len(), Timestamp::now());
        let old = self.policy.swap(Arc::clone(&policy));
        let revoked = self.judge_open_flows();
        self.pool.sweep(revision);
        self.ledger.metrics().rules().keep(&policy);
        drop(old);
        revoked
    }

    /// Ends the flows of rules whose last day is over, for as long as it is awaited.
    pub(super) async fn follow_midnights(self) {
        let mut judged_on = today();
        loop {
            sleep(LOOK_AT_DATE).await;
            let now = today();
            if self.policy.load().next_expiry(judged_on).is_some_and(|last| last < now) {
                let in_force = self.clone();
                match spawn_blocking(move || in_force.judge_open_flows()).await {
                    Ok(revoked) => tracing::info!(revoked, "rules have expired"),
                    Err(error) => {
                        tracing::error!(%error, "rules have expired, but not every open flow could be judged anew");
                        // It is tried again.
                        continue;
                    }
                }
            }
            judged_on = now;
        }
    }

    /// Ends what users have who are no more, now that the files of users were read again; returns how many flows end.
    pub(super) fn users_changed(&self) -> usize {
        let revoked = self.judge_open_flows();
        if let Some(auth) = &self.auth {
            self.pool.sweep_users(|user| auth.has(user));
        }
        revoked
    }

    fn judge_open_flows(&self) -> usize {
        let (policy, auth) = (Arc::clone(&self.policy), self.auth.clone());
        self.ledger.rejudge(move |client, question| {
            // A user who is no more has no flows, whoever else comes from the same address.
            let Some(client) = auth.as_ref().map_or(Some(Cow::Borrowed(client)), |auth| auth.still(client))
            else {
                return false;
            };
            let policy = policy.load();
            policy.keeps(&policy.subject(&client), question, today())
        })
    }
}

/// Tells which profiles' connections can't leave as they should. They fail until that changes, which it may: an address
/// or an interface can come later.
pub(super) fn warn_of_outgoing(policy: &Policy) {
    for profile in policy.profiles() {
        if let Some(Err(error)) = profile.outgoing.as_deref().map(dial::try_out) {
            let what = format!("`outgoing` of the profile {}: {error}", profile.name);
            tracing::warn!(
                "{}; until that changes, its connections fail",
                Mistake::warning(profile.place.clone(), what)
            );
        }
    }
}

pub(super) fn warn(warnings: &[Mistake]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
