//! The policy's files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mistake::Mistake;
use crate::parent::Parents;
use crate::policy::document::{Sources, Watch};
use crate::reload::followed::{Cause, Kind};
use crate::reload::in_force::InForce;

/// Policies, and the lists that they name.
#[derive(Debug)]
pub(super) struct PolicyFiles {
    pub(super) sources: Sources,
    /// Those that it may name.
    pub(super) parents: Arc<Parents>,
    pub(super) in_force: InForce,
    /// What makes it up now.
    pub(super) watched: Watch,
    /// What the files said that are in force.
    pub(super) content: u64,
    /// Why the files do not make a policy now.
    pub(super) broken: Vec<Mistake>,
}

impl Kind for PolicyFiles {
    fn files(&self) -> Vec<PathBuf> {
        self.watched.files().map(Path::to_owned).collect()
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.watched.directories().map(Path::to_owned).collect()
    }

    fn are_refused(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Without a change nothing comes of it, unless someone asked for it.
    fn reload(&mut self, cause: Cause) {
        let loaded = match self.sources.load_with(Some(self.parents.names().into())) {
            Ok(loaded) => loaded,
            Err(mistakes) => return self.refuse(mistakes, cause),
        };
        self.broken.clear();
        self.watched = loaded.watched.clone();
        let content = loaded.content;
        if content == self.content && cause != Cause::HangUp {
            return;
        }
        self.in_force.replace(loaded);
        // Only now: what breaks off before is to be done again.
        self.content = content;
        self.in_force.ledger.metrics().reloaded(true);
    }

    fn broke_off(&self) {
        self.in_force.ledger.metrics().reloaded(false);
    }
}

impl PolicyFiles {
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
