//! Watches the files that exeat was started with, and swaps the policy without a restart.
//!
//! A policy with a mistake changes nothing: the last good one stays in force. The open flows are judged
//! anew by each new policy, and at each midnight that ends a rule's last day.

mod certificates;
mod grants;
mod in_force;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::today;
use crate::file::directory;
use crate::mistake::Mistake;
use crate::parent::Parents;
use crate::policy::document::{Audience, Loaded, Sources};
use crate::policy::{Policy, document};
use crate::reload::in_force::{warn, warn_of_outgoing};
use crate::reload::watch::{Changed, QUIET, Watch, is_newer, is_quiet};
use crate::resolve::Resolver;

pub use self::certificates::Certificates;
pub use self::grants::Grants;
pub use self::in_force::InForce;

/// How often the date is looked at: a wait until midnight would miss that the clock is set. The files are
/// looked at too, for there are changes that no watch sees: in a file that is mounted by itself, behind a
/// link, over a network, in a directory that was replaced.
const GLANCE: Duration = Duration::from_secs(30);

/// A command in a jail may be over before anyone could change a file, and a watch takes the kernel up to 25 ms to take
/// down. What changed until then is seen at the first glance.
const BRIEF: Duration = Duration::from_secs(1);

/// Keeps the policy in force the same as what the files say.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    audience: Audience,
    in_force: InForce,
    resolver: Arc<Resolver>,
    certificates: Certificates,
    parents: Arc<Parents>,
    files: document::Watch,
    content: u64,
    /// When the policy and the files of the resolver were last read.
    policy_read: SystemTime,
    names_read: SystemTime,
    users_read: SystemTime,
    parents_read: SystemTime,
    /// Why the files do not make a policy now.
    broken: Vec<Mistake>,
}

/// Why the policy is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    HangUp,
    Change,
    Glance,
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
        // A command could write to the policy that holds it.
        let files = if audience == Audience::Clients { watched } else { document::Watch::default() };
        warn(&warnings);
        let policy = builder.finish(1);
        warn_of_outgoing(&policy);
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let in_force = in_force(policy);
        let metrics = in_force.ledger.metrics();
        metrics.policy_in_force(in_force.policy.load().len(), Timestamp::now());
        Self {
            sources,
            audience,
            in_force,
            resolver,
            certificates,
            parents,
            files,
            content,
            policy_read: read,
            names_read: read,
            users_read: read,
            parents_read: read,
            broken: Vec::new(),
        }
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Follows changes of the files, hang-ups and midnights until the hang-ups end.
    pub async fn run(mut self, mut hangups: mpsc::Receiver<()>) {
        if self.audience != Audience::Clients {
            sleep(BRIEF).await;
        }
        let mut watch = Watch::new();
        let mut judged_on = today();
        // The first glance is now: something may have changed before the watch stood.
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (names, users, parents) = (self.resolver.files(), self.user_files(), self.parent_files());
            let beside = names.iter().chain(&users).chain(&parents).map(|path| directory(path));
            let beside = beside.chain(self.certificates.directories());
            watch.set(self.files.directories().chain(beside));
            tokio::select! {
                () = watch.changed() => {
                    let changed = watch.settled().await;
                    self.follow(&changed).await;
                }
                hangup = hangups.recv() => {
                    if hangup.is_none() {
                        return;
                    }
                    self.reload_names();
                    self.reload_users().await;
                    self.reload_parents().await;
                    self.reload_certificates(Cause::HangUp).await;
                    self.reload_policy(Cause::HangUp).await;
                }
                _ = glances.tick() => {
                    if !self.glance().await {
                        glances.reset_after(QUIET);
                    }
                    let (before, now) = (judged_on, today());
                    judged_on = now;
                    if self.in_force.policy.load().next_expiry(before).is_some_and(|last| last < now) {
                        self.in_force.clone().rejudge().await;
                    }
                }
            }
        }
    }

    /// Reads again what the watch has seen to change.
    async fn follow(&mut self, changed: &Changed) {
        if self.resolver.files().iter().map(|path| directory(path)).any(|path| changed.is_in(path)) {
            self.reload_names();
        }
        if self.user_files().iter().map(|path| directory(path)).any(|path| changed.is_in(path)) {
            self.reload_users().await;
        }
        if self.parent_files().iter().map(|path| directory(path)).any(|path| changed.is_in(path)) {
            self.reload_parents().await;
        }
        if self.certificates.directories().any(|path| changed.is_in(path)) {
            self.reload_certificates(Cause::Change).await;
        }
        if self.files.directories().any(|path| changed.is_in(path)) {
            self.reload_policy(Cause::Change).await;
        }
    }

    /// Reads again what has changed without the watch seeing it; false if it is too early for that. What is
    /// missing in a broken policy may have come to a place where nobody looks, so that one is read in any case.
    async fn glance(&mut self) -> bool {
        let files = self.resolver.files();
        let names = || files.iter().map(PathBuf::as_path);
        let policy = || self.files.files().chain(self.files.directories());
        let new_names = is_newer(names(), self.names_read);
        let user_files = self.user_files();
        let users = || user_files.iter().map(PathBuf::as_path);
        let new_users = is_newer(users(), self.users_read);
        let parent_files = self.parent_files();
        let parents = || parent_files.iter().map(PathBuf::as_path);
        let new_parents = is_newer(parents(), self.parents_read);
        let new_policy = !self.broken.is_empty() || is_newer(policy(), self.policy_read);
        let certificates = || self.certificates.files().chain(self.certificates.directories());
        let new_certificates =
            !self.certificates.broken.is_empty() || is_newer(certificates(), self.certificates.read);
        if (new_names && !is_quiet(names()))
            || (new_policy && !is_quiet(policy()))
            || (new_users && !is_quiet(users()))
            || (new_parents && !is_quiet(parents()))
            || (new_certificates && !is_quiet(certificates()))
        {
            return false;
        }
        if new_names {
            self.reload_names();
        }
        if new_users {
            self.reload_users().await;
        }
        if new_parents {
            self.reload_parents().await;
        }
        if new_certificates {
            self.reload_certificates(Cause::Glance).await;
        }
        if new_policy {
            self.reload_policy(Cause::Glance).await;
        }
        true
    }

    fn reload_names(&mut self) {
        self.names_read = SystemTime::now();
        if let Err(error) = self.resolver.reload() {
            tracing::warn!("{error}; what it said before stays in force");
        }
    }

    /// Reads the users and keys again; flows of users who are no more end.
    async fn reload_users(&mut self) {
        self.users_read = SystemTime::now();
        let Some(auth) = self.in_force.auth.clone() else { return };
        let in_force = self.in_force.clone();
        let revoked = spawn_blocking(move || auth.reload().then(|| in_force.users_changed()));
        if let Ok(Some(revoked)) = revoked.await {
            tracing::info!(revoked, "the users have changed");
        }
    }

    /// Reads what parents are shown and whom they are believed by; connections that stand go on.
    async fn reload_parents(&mut self) {
        self.parents_read = SystemTime::now();
        let parents = Arc::clone(&self.parents);
        for mistake in spawn_blocking(move || parents.reload()).await.unwrap_or_default() {
            tracing::error!("{mistake}; what the file said before stays in force");
        }
    }

    fn user_files(&self) -> Vec<PathBuf> {
        self.in_force.auth.iter().flat_map(|auth| auth.files()).collect()
    }

    /// A command could write to them as well.
    fn parent_files(&self) -> Vec<PathBuf> {
        if self.audience == Audience::Clients { self.parents.files() } else { Vec::new() }
    }

    async fn reload_certificates(&mut self, cause: Cause) {
        self.certificates.reload(cause, self.in_force.ledger.metrics()).await;
    }

    /// Loads the policy; without a change nothing comes of it, unless someone asked for it.
    async fn reload_policy(&mut self, cause: Cause) {
        self.policy_read = SystemTime::now();
        let (sources, audience) = (self.sources.clone(), self.audience.clone());
        let parents = self.parents.names();
        let metrics = Arc::clone(self.in_force.ledger.metrics());
        let loaded = match spawn_blocking(move || audience.load(&sources, Some(parents.into()))).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(mistakes)) => return self.refuse(mistakes, cause),
            Err(error) => {
                metrics.reloaded(false);
                tracing::error!(%error, "the policy can't be loaded: the last good one stays in force");
                return;
            }
        };
        self.broken.clear();
        self.files = loaded.watched.clone();
        if loaded.content == self.content && cause != Cause::HangUp {
            return;
        }
        self.content = loaded.content;
        let in_force = self.in_force.clone();
        metrics.reloaded(spawn_blocking(move || in_force.replace(loaded)).await.is_ok());
    }

    /// Keeps the last good policy.
    fn refuse(&mut self, mistakes: Vec<Mistake>, cause: Cause) {
        // What is looked at again and again is told once.
        if cause == Cause::Glance && mistakes == self.broken {
            return;
        }
        self.in_force.ledger.metrics().reloaded(false);
        for mistake in &mistakes {
            tracing::error!("{mistake}");
        }
        tracing::error!("the policy has mistakes: the last good one stays in force");
        self.broken = mistakes;
    }
}
