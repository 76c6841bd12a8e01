//! Watches the files that exeat was started with, and swaps the policy without a restart.
//!
//! A policy with a mistake changes nothing: the last good one stays in force. The open flows are judged
//! anew by each new policy, and at each midnight that ends a rule's last day.

mod apart;
mod beside;
mod certificates;
mod followed;
mod grants;
mod in_force;
mod rules;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::watch::channel;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::parent::Parents;
use crate::policy::Policy;
use crate::policy::document::{Audience, Loaded, Sources};
use crate::reload::beside::{NameFiles, ParentFiles, UserFiles};
use crate::reload::followed::Followed;
use crate::reload::in_force::{warn, warn_of_outgoing};
use crate::reload::rules::PolicyFiles;
use crate::resolve::Resolver;

pub use self::certificates::Certificates;
pub use self::grants::Grants;
pub use self::in_force::InForce;

/// A command in a jail may be over before anyone could change a file, and a watch takes the kernel up to 25 ms to take
/// down. What changed until then is seen at the first glance.
const BRIEF: Duration = Duration::from_secs(1);

/// Keeps the policy in force the same as what the files say.
#[derive(Debug)]
pub struct Reload {
    in_force: InForce,
    followed: Vec<Followed>,
    /// For how long nobody looks after the start.
    pause: Duration,
}

impl Reload {
    /// Puts a first policy in force, which was read not before `read`.
    pub fn start(
        (sources, audience): (Sources, Audience),
        loaded: Loaded,
        read: SystemTime,
        (resolver, certificates, parents): (Arc<Resolver>, Certificates, Arc<Parents>),
        in_force: impl FnOnce(Arc<ArcSwap<Policy>>) -> InForce,
    ) -> Self {
        let Loaded { builder, warnings, watched, content, .. } = loaded;
        warn(&warnings);
        let policy = builder.finish(1);
        warn_of_outgoing(&policy);
        let in_force = in_force(Arc::new(ArcSwap::from_pointee(policy)));
        let metrics = in_force.ledger.metrics();
        metrics.policy_in_force(in_force.policy.load().len(), Timestamp::now());
        let mut followed = vec![Followed::new("the files of names", NameFiles(resolver), read)];
        if audience != Audience::Clients {
            // A command could write to the others, and so to what holds it.
            return Self { in_force, followed, pause: BRIEF };
        }
        if in_force.auth.is_some() {
            followed.push(Followed::new("the files of users", UserFiles::new(in_force.clone()), read));
        }
        if !parents.names().is_empty() {
            followed.push(Followed::new("the files of parents", ParentFiles(Arc::clone(&parents)), read));
        }
        if !certificates.is_empty() {
            followed.push(Followed::new("the certificates", certificates, read));
        }
        let policy = PolicyFiles {
            sources,
            parents,
            in_force: in_force.clone(),
            watched,
            content,
            broken: Vec::new(),
        };
        followed.push(Followed::new("the policy", policy, read));
        Self { in_force, followed, pause: Duration::ZERO }
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Follows changes of the files, hang-ups and midnights until the hang-ups end.
    pub async fn run(self, mut hangups: mpsc::Receiver<()>) {
        sleep(self.pause).await;
        let (told, _) = channel(());
        // Ended when this function returns.
        let mut following = JoinSet::new();
        for followed in self.followed {
            following.spawn(followed.follow(told.subscribe()));
        }
        following.spawn(self.in_force.follow_midnights());
        while hangups.recv().await.is_some() {
            told.send_replace(());
        }
    }
}
