//! The settings and the policy that a command which carries flows is started with.

use std::path::PathBuf;

use clap::Args;

use crate::config::Settings;
use crate::mistake::Mistake;
use crate::policy::document::Sources;

#[derive(Args, Clone, Debug)]
pub(super) struct PolicyArgs {
    /// Settings file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Policy file, or a directory of *.yaml files; may be repeated
    #[arg(long, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// Allow a name or pattern on 443 and 80, for every client; may be repeated
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
}

impl PolicyArgs {
    /// What the file says over the defaults of the command, with the policy that the flags say over theirs.
    pub(super) fn settings(&self, defaults: Settings) -> Result<Settings, Vec<Mistake>> {
        let mut settings = match &self.config {
            Some(path) => Settings::load_over(defaults, path)?,
            None => defaults,
        };
        if !self.policy.is_empty() || !self.allow.is_empty() {
            settings.policy = self.policy.clone();
        }
        Ok(settings)
    }

    /// Where the policy comes from that these settings name.
    pub(super) fn sources(&self, settings: &Settings) -> Sources {
        Sources { paths: settings.policy.clone(), allow: self.allow.clone() }
    }
}
