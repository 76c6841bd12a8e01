//! Asking anew, under a new policy, about the flows that an old one let through.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::client::Client;
use crate::flow::open::{Facts, Open};
use crate::flow::registry::Registry;
use crate::flow::stop::Stop;
use crate::ingress::Ingress;
use crate::lock;
use crate::policy::Question;

/// Whether a flow of this client may go on.
type Judge = dyn Fn(&Client, &Question<'_>) -> bool + Send + Sync;

/// The latest judge, and how many there were before it.
#[derive(Default)]
pub(super) struct Judges {
    epoch: AtomicU64,
    latest: RwLock<Option<Arc<Judge>>>,
}

impl Judges {
    /// How many times the open flows were judged anew. A flow notes it when it begins, before its policy is loaded.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Judges every flow that was let through, and from now on every verdict that may come from an older policy.
    /// Returns how many were revoked.
    pub(super) fn rejudge(&self, registry: &Registry, judge: Arc<Judge>) -> usize {
        let mut place = lock::write(&self.latest);
        *place = Some(Arc::clone(&judge));
        // Before the walk: a flow that learns its verdict after the walk has passed it sees the new number.
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop(place);
        let mut revoked = 0;
        registry.each(|open| revoked += usize::from(is_revoked_by(&*judge, open)));
        revoked
    }

    /// Judges a flow whose verdict may come from a policy older than the latest judge.
    pub(super) fn judge_late(&self, open: &Open) {
        let judge = lock::read(&self.latest).clone();
        if let Some(judge) = judge {
            is_revoked_by(&*judge, open);
        }
    }
}

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Judges({})", self.epoch())
    }
}

/// Revokes the flow if the judge no longer allows it; says whether it did.
fn is_revoked_by(judge: &Judge, open: &Open) -> bool {
    let denied = open.facts(|facts| is_denied_by(judge, facts)).unwrap_or(false);
    denied && open.switch.throw(Stop::Revoked)
}

fn is_denied_by(judge: &Judge, facts: &Facts) -> bool {
    let record = &facts.record;
    // A question is answered at once or not at all, and has no port to judge.
    if record.ingress == Ingress::Dns {
        return false;
    }
    // Without a verdict there is nothing to take back yet, and a denied flow is about to end.
    let allowed = record.reason.is_some_and(|reason| reason.allows());
    let Some(to) = record.to.as_ref().filter(|_| allowed) else { return false };
    !judge(&record.client, &Question { to, seen: record.inside.seen(), address: record.address })
}
