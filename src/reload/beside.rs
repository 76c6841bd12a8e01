//! What is followed besides the policy and the certificates: where names lead, who users are, how parents are met.

use std::path::PathBuf;
use std::sync::Arc;

use crate::parent::Parents;
use crate::reload::followed::{Cause, Kind};
use crate::reload::in_force::InForce;
use crate::resolve::Resolver;

/// The hosts file, `resolv.conf`, and the authorities of DNS servers.
#[derive(Debug)]
pub(super) struct NameFiles(pub(super) Arc<Resolver>);

/// Passwords, groups and keys.
#[derive(Debug)]
pub(super) struct UserFiles {
    in_force: InForce,
    /// Whether they changed and not every open flow was judged since.
    unjudged: bool,
}

/// What parents are shown, and whom they are believed by.
#[derive(Debug)]
pub(super) struct ParentFiles(pub(super) Arc<Parents>);

impl Kind for NameFiles {
    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn reload(&mut self, _: Cause) {
        if let Err(error) = self.0.reload() {
            tracing::warn!("{error}; what it said before stays in force");
        }
    }
}

impl UserFiles {
    pub(super) fn new(in_force: InForce) -> Self {
        Self { in_force, unjudged: false }
    }
}

impl Kind for UserFiles {
    fn files(&self) -> Vec<PathBuf> {
        self.in_force.auth.iter().flat_map(|auth| auth.files()).collect()
    }

    /// Flows of users who are no more end.
    fn reload(&mut self, _: Cause) {
        let Some(auth) = &self.in_force.auth else { return };
        // Whoever is read a second time is no news any more, so what breaks off here has to be known.
        self.unjudged |= auth.reload();
        if self.unjudged {
            let revoked = self.in_force.users_changed();
            self.unjudged = false;
            tracing::info!(revoked, "the users have changed");
        }
    }

    fn broke_off(&self) {
        self.in_force.ledger.metrics().auth().reloaded_passwords(false);
    }
}

impl Kind for ParentFiles {
    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    /// Connections that stand go on.
    fn reload(&mut self, _: Cause) {
        for mistake in self.0.reload() {
            tracing::error!("{mistake}; what the file said before stays in force");
        }
    }
}
