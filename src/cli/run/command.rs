//! The command, in a jail or with nothing that holds it.

use std::sync::Arc;

use crate::cli::run::arguments::RunArgs;
use crate::cli::run::loose::{self, Loose};
use crate::cli::run::signals::Signals;
use crate::cli::run::terminal::{self, Terminal};
use crate::cli::run::{environment, say};
use crate::config::Settings;
use crate::jail::{self, Built, Change, Ending, Fault, Plan, Redirect, Running};
use crate::policy::document::Loaded;
use crate::server::Doors;

/// Where the command is.
pub(super) enum Place {
    Jail(Box<Built>),
    /// Held by nothing but its own good will.
    Loose(Box<Loose>),
}

/// The command while it runs.
#[derive(Clone)]
pub(super) enum Command {
    Jailed(Running),
    Loose(Arc<loose::Started>),
}

impl Place {
    /// Starts the command.
    pub(super) fn begin(self, signals: &Signals) -> Result<Command, Fault> {
        let command = match self {
            Self::Jail(built) => Command::Jailed(built.begin()?),
            Self::Loose(loose) => Command::Loose(Arc::new(signals.lifted(|| loose.begin())?)),
        };
        terminal::leave_to_command();
        Ok(command)
    }
}

impl Command {
    pub(super) fn signal(&self, signal: i32) {
        match self {
            Self::Jailed(running) => running.signal(signal),
            Self::Loose(started) => started.signal(signal),
        }
    }

    /// Waits for its end, and stops and goes on with it meanwhile.
    pub(super) fn wait_to_end(&self, terminal: &Terminal) -> Result<Ending, Fault> {
        loop {
            let change = match self {
                Self::Jailed(running) => running.wait(),
                Self::Loose(started) => started.wait(terminal),
            };
            match change? {
                Change::Stopped(stopped) => terminal.stop(stopped),
                Change::Ended(ending) => return Ok(ending),
            }
            match self {
                Self::Jailed(running) => running.resume(),
                Self::Loose(started) => started.resume(),
            }
        }
    }
}

/// Builds the jail, or says that there is none.
pub(super) fn place(args: &RunArgs, settings: &Settings, loaded: &Loaded) -> Result<(Place, Doors), Fault> {
    if args.explicit_only {
        say(
            "--explicit-only is the weaker way: only programs that use the proxy of their environment are held, \
             and any program can do without it",
        );
        let (loose, doors) = Loose::new(&args.command, &settings.secret_variables())?;
        return Ok((Place::Loose(Box::new(loose)), doors));
    }
    let plan = Plan {
        command: args.command.clone(),
        environment: environment::proxies((jail::DOOR_V4, jail::EXPLICIT_PORT).into()),
        withheld: settings.secret_variables(),
        share: args.share.clone(),
        records: Some(settings.audit.path.clone()),
        ports: loaded.builder.ports().ranges().iter().flat_map(|&(first, last)| first..=last).collect(),
        threads: settings.threads,
    };
    let (built, doors) = Built::new(&plan)?;
    built.warnings.iter().for_each(|warning| say(warning));
    if built.redirect == Redirect::Nothing {
        let others = if args.report { ", 80 or 443" } else { "" };
        say(&format!(
            "neither nft nor iptables works here: what does not connect to a port of the policy{others} is refused \
             without a record"
        ));
    }
    Ok((Place::Jail(Box::new(built)), doors))
}
