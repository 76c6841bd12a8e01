//! Watches the files that exeat was started with, and swaps the policy without a restart.
//!
//! A policy with a mistake changes nothing: the last good one stays in force. The open flows are judged
//! anew by each new policy, and at each midnight that ends a rule's last day.

mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::clock::today;
use crate::flow::Ledger;
use crate::gate::http::Pool;
use crate::mistake::Mistake;
use crate::policy::document::{Loaded, Sources};
use crate::policy::{Policy, document};
use crate::reload::watch::Watch;
use crate::resolve::Resolver;

/// Editors and mounts touch files several times; reading begins when they have been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);
/// How often the date is looked at: a wait until midnight would miss that the clock is set.
const GLANCE: Duration = Duration::from_secs(30);

/// The policy in force and all that depends on it.
#[derive(Clone, Debug)]
pub struct InForce {
    pub policy: Arc<ArcSwap<Policy>>,
    pub ledger: Arc<Ledger>,
    pub pool: Arc<Pool>,
}

/// Keeps the policy in force the same as what the files say.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    in_force: InForce,
    resolver: Arc<Resolver>,
    files: document::Watch,
    content: u64,
}

impl Reload {
    /// Puts a first policy in force.
    pub fn start(
        sources: Sources,
        loaded: Loaded,
        resolver: Arc<Resolver>,
        in_force: impl FnOnce(Arc<ArcSwap<Policy>>) -> InForce,
    ) -> Self {
        let Loaded { builder, warnings, watched, content, .. } = loaded;
        warn(&warnings);
        let policy = Arc::new(ArcSwap::from_pointee(builder.finish(1)));
        let in_force = in_force(policy);
        let metrics = in_force.ledger.metrics();
        metrics.policy_in_force(in_force.policy.load().len(), Timestamp::now());
        Self { sources, in_force, resolver, files: watched, content }
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Follows changes of the files, hang-ups and midnights until the hang-ups end.
    pub async fn run(mut self, mut hangups: mpsc::Receiver<()>) {
        let mut watch = Watch::new();
        let mut judged_on = today();
        loop {
            watch.set(
                self.files.directories().chain(self.resolver.files().into_iter().filter_map(Path::parent)),
            );
            tokio::select! {
                path = watch.changed() => {
                    let mut changed = vec![path];
                    while let Ok(path) = timeout(QUIET, watch.changed()).await {
                        changed.push(path);
                    }
                    self.follow(&changed).await;
                }
                hangup = hangups.recv() => {
                    if hangup.is_none() {
                        return;
                    }
                    self.reload_names();
                    self.reload_policy(true).await;
                }
                () = sleep(GLANCE) => {
                    let (before, now) = (judged_on, today());
                    judged_on = now;
                    if self.in_force.policy.load().next_expiry(before).is_some_and(|last| last < now) {
                        self.in_force.clone().rejudge().await;
                    }
                }
            }
        }
    }

    /// Reads again what the changed paths may concern.
    async fn follow(&mut self, changed: &[std::path::PathBuf]) {
        let in_directory = |directory: &Path| changed.iter().any(|path| path.starts_with(directory));
        if self.resolver.files().iter().any(|file| changed.iter().any(|path| path == file)) {
            self.reload_names();
        }
        if self.files.directories().any(in_directory) {
            self.reload_policy(false).await;
        }
    }

    fn reload_names(&self) {
        if let Err(error) = self.resolver.reload() {
            tracing::warn!("{error}; what it said before stays in force");
        }
    }

    /// Loads the policy; without a change, and unless `asked` for, nothing comes of it.
    async fn reload_policy(&mut self, asked: bool) {
        let sources = self.sources.clone();
        let Ok(loaded) = spawn_blocking(move || sources.load()).await else { return };
        let metrics = Arc::clone(self.in_force.ledger.metrics());
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(mistakes) => {
                metrics.reloaded(false);
                for mistake in &mistakes {
                    tracing::error!("{mistake}");
                }
                tracing::error!("the policy has mistakes: the last good one stays in force");
                return;
            }
        };
        self.files = loaded.watched.clone();
        if loaded.content == self.content && !asked {
            return;
        }
        self.content = loaded.content;
        let in_force = self.in_force.clone();
        if spawn_blocking(move || in_force.replace(loaded)).await.is_ok() {
            metrics.reloaded(true);
        }
    }
}

impl InForce {
    /// Swaps the policy and drops the old one, which can take a while: not for an I/O thread.
    fn replace(&self, loaded: Loaded) {
        warn(&loaded.warnings);
        let revision = self.policy.load().revision() + 1;
        let policy = Arc::new(loaded.builder.finish(revision));
        self.ledger.metrics().policy_in_force(policy.len(), Timestamp::now());
        let old = self.policy.swap(Arc::clone(&policy));
        let revoked = self.judge_open_flows();
        self.pool.sweep(revision);
        self.ledger.metrics().rules().keep(&policy);
        tracing::info!(revision, rules = policy.len(), revoked, "a new policy is in force");
        drop(old);
    }

    /// Asks the policy about every open flow, as of today.
    async fn rejudge(self) {
        let revoked = spawn_blocking(move || self.judge_open_flows()).await;
        tracing::info!(revoked = revoked.unwrap_or_default(), "rules have expired");
    }

    fn judge_open_flows(&self) -> usize {
        let policy = Arc::clone(&self.policy);
        self.ledger.rejudge(move |client, question| {
            let policy = policy.load();
            policy.decide(&policy.subject(client), question, today()).is_allow()
        })
    }
}

fn warn(warnings: &[Mistake]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
