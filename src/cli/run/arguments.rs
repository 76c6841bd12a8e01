//! What is typed after `exeat run`, and the settings that come of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, value_parser};

use crate::cli::policy::PolicyArgs;
use crate::cli::run::publish::Published;
use crate::config::Settings;
use crate::mistake::Mistake;

/// When the command has ended, nobody is left whom a longer wait would help.
const DRAIN: Duration = Duration::from_millis(250);
/// Where records go that nobody asked for.
const NOWHERE: &str = "/dev/null";
/// The standard output, as a path.
const STDOUT: &str = "-";

/// Run one command behind the gate
///
/// The command reaches what the policy allows and nothing else, whatever it does: it runs in namespaces of its own in
/// which every address leads to exeat. No root is needed, and no daemon. Without a policy the built-in one allows
/// package registries and source forges.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  exeat run --allow '*.npmjs.org' -- npm ci\n\nOf a settings file, `listen`, `auth` and `admin_*` mean nothing here: nobody but the command comes in.\nExits with the command's own code, or 128 + N if the signal N ended it."
)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// The profile that the command belongs to, beside those of every client
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Let through what no rule allows, and end with the policy that would have been enough
    #[arg(long)]
    pub(super) report: bool,
    /// Ask at the terminal about what no rule allows: once, for this run, written to the policy, or denied
    #[arg(long, conflicts_with_all = ["report", "explicit_only"])]
    pub(super) ask: bool,
    /// How long an answer may take; none is a no
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "ask", value_parser = value_parser!(u64).range(1..=3600))]
    pub(super) ask_timeout: u64,
    /// Append a record of each flow to this file, which the command then can't get at
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(records))]
    pub(super) audit: Option<PathBuf>,
    /// Leave a masked path to the command, a unix socket perhaps; may be repeated
    #[arg(long, value_name = "PATH", value_parser = PathBufValueParser::new().try_map(existing))]
    pub(super) share: Vec<PathBuf>,
    /// Let this host reach a port of the command, at 127.0.0.1; may be repeated
    #[arg(long, value_name = "PORT[:INSIDE]")]
    pub(super) publish: Vec<Published>,
    /// Only ask the command to use the proxy, by its environment: weaker, for where the kernel forbids namespaces
    #[arg(long, conflicts_with_all = ["share", "publish"])]
    pub(super) explicit_only: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

impl RunArgs {
    /// The settings of the file, or the defaults, and what the flags say over them; what they say of listeners and
    /// users means nothing here. The standard output is the command's.
    pub(super) fn settings(&self) -> Result<Settings, Vec<Mistake>> {
        let mut defaults = Settings::default();
        // One command may have as many as the limit on open files allows, unless somebody says otherwise.
        defaults.limits.flows = None;
        let mut settings = self.policy.settings(defaults)?;
        if let Some(audit) = &self.audit {
            settings.audit.path = audit.clone();
        }
        if settings.audit.path == Path::new(STDOUT) {
            settings.audit.path = PathBuf::from(NOWHERE);
        }
        settings.timeouts.drain = settings.timeouts.drain.min(DRAIN);
        if self.ask {
            // A command that stands still while a person thinks is not slow.
            settings.timeouts.head = settings.timeouts.idle;
        }
        Ok(settings)
    }
}

/// A path by its only name, without links, as what is masked is known by.
fn existing(path: PathBuf) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|error| format!("{error}: name a socket or a directory that is there"))
}

/// The file of `--audit`.
fn records(path: PathBuf) -> Result<PathBuf, &'static str> {
    match path == Path::new(STDOUT) {
        true => Err("the standard output is the command's: name a file"),
        false => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        run: RunArgs,
    }

    fn settings(words: &[&str]) -> Settings {
        let words = [&["exeat"], words, &["--", "true"]].concat();
        Typed::try_parse_from(words).unwrap().run.settings().unwrap()
    }

    #[test]
    fn records_are_not_asked_for_where_the_command_writes() {
        let typed = |file: &str| Typed::try_parse_from(["exeat", "--audit", file, "--", "true"]);
        let refused = typed(STDOUT).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("the standard output is the command's: name a file"), "{refused}");
        assert_eq!(typed("./-").unwrap().run.settings().unwrap().audit.path, Path::new("./-"));
    }

    #[test]
    fn a_limit_on_flows_that_is_written_counts_whatever_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let limit = |text: &str| {
            fs::write(file.path(), text).unwrap();
            settings(&["--config", file.path().to_str().unwrap()]).limits.flows.map(NonZeroUsize::get)
        };
        assert_eq!(settings(&[]).limits.flows, None);
        for (text, expected) in [
            ("", None),
            ("limits: { head_bytes: 65536 }", None),
            ("limits: { flows: 0 }", None),
            ("limits: { flows: 99999 }", Some(99_999)),
            ("limits: { flows: 100000 }", Some(100_000)),
        ] {
            assert_eq!(limit(text), expected, "{text}");
        }
    }
}
