//! `exeat run`: one command behind the gate.

mod environment;
mod loose;
mod publish;
mod signals;
mod summary;
mod terminal;
mod watched;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::cli::FAILED;
use crate::cli::run::loose::Loose;
use crate::cli::run::publish::Published;
use crate::cli::run::signals::Signals;
use crate::cli::run::terminal::Terminal;
use crate::cli::run::watched::Watched;
use crate::cli::serve::refuse;
use crate::config::Settings;
use crate::jail::{self, Built, Change, Ending, Fault, Plan, Redirect, Running};
use crate::mistake::Mistake;
use crate::policy::document::{Audience, Loaded, Sources};
use crate::record::Watch;
use crate::server::{Doors, Jailed, Server, Signal, StartError};

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
    after_help = "Example:\n  exeat run --allow '*.npmjs.org' -- npm ci\n\nExits with the command's own code, or 128 + N if the signal N ended it."
)]
pub(super) struct RunArgs {
    /// Settings file, as for serve; what it says of listeners means nothing here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Policy file, or a directory of *.yaml files; may be repeated
    #[arg(long, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// Allow a name or pattern on 443 and 80; may be repeated
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// The profile that the command belongs to, beside those of every client
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Let through what no rule allows, and end with the policy that would have been enough
    #[arg(long)]
    report: bool,
    /// Append a record of each flow to this file
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Leave a masked path to the command, a unix socket perhaps; may be repeated
    #[arg(long, value_name = "PATH")]
    share: Vec<PathBuf>,
    /// Let this host reach a port of the command, at 127.0.0.1; may be repeated
    #[arg(long, value_name = "PORT[:INSIDE]")]
    publish: Vec<Published>,
    /// Only ask the command to use the proxy, by its environment: weaker, for where the kernel forbids namespaces
    #[arg(long, conflicts_with_all = ["share", "publish"])]
    explicit_only: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What the jail's own programs are started with.
#[derive(Args, Clone, Debug)]
pub(super) struct InsideArgs {
    #[arg(last = true)]
    pub(super) command: Vec<OsString>,
}

/// Where the command is.
enum Place {
    Jail(Box<Built>),
    /// Held by nothing but its own good will.
    Loose(Loose),
}

/// The command while it runs.
#[derive(Clone)]
enum Command {
    Jailed(Running),
    Loose(Arc<loose::Started>),
}

/// Runs the command.
pub(super) fn run(args: RunArgs) -> ExitCode {
    // Before any thread, so that every one has them blocked.
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("can't listen for signals: {error}")),
    };
    let settings = match settings(&args) {
        Ok(settings) => settings,
        Err(mistakes) => return refuse(&mistakes),
    };
    let sources = Sources { paths: settings.policy.clone(), allow: args.allow.clone() };
    let audience = Audience::Jail { profile: args.profile.clone(), report: args.report };
    let read = SystemTime::now();
    let loaded = match audience.load(&sources) {
        Ok(loaded) => loaded,
        Err(mistakes) => return refuse(&mistakes),
    };
    if args.report {
        say("--report lets through what no rule allows; deny rules and the guard of addresses hold");
    } else if sources.is_built_in() {
        say("no policy is given: the built-in one allows package registries and source forges");
    }
    let (place, doors) = match signals.lifted(|| place(&args, &loaded)) {
        Ok(placed) => placed,
        Err(fault) => return explain(&fault),
    };
    let watched = Arc::new(Watched::new(args.report));
    let watch = Arc::clone(&watched);
    let jailed = Jailed {
        doors,
        audience,
        loaded: (read, loaded),
        watch: Watch::new(move |record| watch.see(record)),
    };
    // The doors have threads of their own; this one tends the rest.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start threads: {error}")),
    };
    let server = match runtime.block_on(async { Server::jailed(&settings, sources, jailed) }) {
        Ok(server) => server,
        Err(StartError::Policy(mistakes)) => return refuse(&mistakes),
        Err(error) => return fail(&error.to_string()),
    };
    let code = runtime.block_on(serve(server, &args, place, signals, &watched));
    runtime.shutdown_background();
    code
}

/// Serves the doors while the command runs.
async fn serve(
    server: Server,
    args: &RunArgs,
    place: Place,
    signals: Signals,
    watched: &Watched,
) -> ExitCode {
    let published = match publish::bind(&args.publish).await {
        Ok(published) => published,
        Err(error) => return fail(&error),
    };
    let policy = server.policy();
    let (stop, stops) = mpsc::channel(1);
    let serving = tokio::spawn(server.run(stops));
    if let Some(signal) = signals.pending() {
        return ExitCode::from(Ending::Signal(signal).code());
    }
    let terminal = Terminal::find();
    let command = match begin(place, &signals) {
        Ok(command) => command,
        Err(fault) => return explain(&fault),
    };
    let told = command.clone();
    signals.forward(move |signal| told.signal(signal));
    if let Command::Jailed(running) = &command {
        published.into_iter().for_each(|port| drop(tokio::spawn(port.serve(running.clone()))));
    }
    let ending = spawn_blocking(move || command.wait_to_end(&terminal)).await;
    // It is only gone if it has stopped already.
    let _ = stop.send(Signal::Stop).await;
    let _ = serving.await;
    watched.tell_denials(&policy.load());
    match ending {
        Ok(Ok(ending)) => {
            watched.suggest();
            ExitCode::from(ending.code())
        }
        Ok(Err(fault)) => explain(&fault),
        Err(error) => fail(&format!("nobody waited for the command: {error}")),
    }
}

impl Command {
    fn signal(&self, signal: i32) {
        match self {
            Self::Jailed(running) => running.signal(signal),
            Self::Loose(started) => started.signal(signal),
        }
    }

    /// Waits for its end, and stops and goes on with it meanwhile. The terminal is the caller's again then.
    fn wait_to_end(&self, terminal: &Terminal) -> Result<Ending, Fault> {
        let ending = loop {
            let change = match self {
                Self::Jailed(running) => running.wait(),
                Self::Loose(started) => started.wait(terminal),
            };
            match change {
                Ok(Change::Stopped(stopped)) => terminal.stop(stopped),
                Ok(Change::Ended(ending)) => break Ok(ending),
                Err(fault) => break Err(fault),
            }
            match self {
                Self::Jailed(running) => running.resume(),
                Self::Loose(started) => started.resume(),
            }
        };
        terminal.take_back();
        ending
    }
}

/// Builds the jail, or says that there is none.
fn place(args: &RunArgs, loaded: &Loaded) -> Result<(Place, Doors), Fault> {
    if args.explicit_only {
        say(
            "--explicit-only is the weaker way: only programs that use the proxy of their environment are held, \
             and any program can do without it",
        );
        let (loose, doors) = Loose::new(&args.command)?;
        return Ok((Place::Loose(loose), doors));
    }
    let plan = Plan {
        command: args.command.clone(),
        environment: environment::proxies((jail::DOOR_V4, jail::EXPLICIT_PORT).into()),
        share: args.share.clone(),
        ports: loaded.builder.ports().ranges().iter().flat_map(|&(first, last)| first..=last).collect(),
    };
    let (built, doors) = Built::new(&plan)?;
    built.warnings.iter().for_each(|warning| say(warning));
    if built.redirect == Redirect::Nothing {
        let others = if args.report { ", 80 or 443" } else { "" };
        say(&format!(
            "there is neither nft nor iptables: what does not connect to a port of the policy{others} is refused \
             without a record"
        ));
    }
    Ok((Place::Jail(Box::new(built)), doors))
}

fn begin(place: Place, signals: &Signals) -> Result<Command, Fault> {
    let command = match place {
        Place::Jail(built) => Command::Jailed(built.begin()?),
        Place::Loose(loose) => Command::Loose(Arc::new(signals.lifted(|| loose.begin())?)),
    };
    terminal::leave_to_command();
    Ok(command)
}

/// The settings of the file, or the defaults, and what the flags say over them. The standard output is the command's.
fn settings(args: &RunArgs) -> Result<Settings, Vec<Mistake>> {
    let mut settings = match &args.config {
        Some(path) => Settings::load(path)?,
        None => Settings::default(),
    };
    // One command may have as many as the limit on open files allows, unless somebody says otherwise.
    if settings.limits.flows == Settings::default().limits.flows {
        settings.limits.flows = None;
    }
    if !args.policy.is_empty() || !args.allow.is_empty() {
        settings.policy = args.policy.clone();
    }
    if let Some(audit) = &args.audit {
        settings.audit.path = audit.clone();
    }
    if settings.audit.path == Path::new(STDOUT) {
        settings.audit.path = PathBuf::from(NOWHERE);
    }
    settings.timeouts.drain = settings.timeouts.drain.min(DRAIN);
    Ok(settings)
}

/// What went wrong, and what would help.
fn explain(fault: &Fault) -> ExitCode {
    say(&fault.to_string());
    if let Some(hint) = fault.hint() {
        say(&format!("{hint}; or use --explicit-only, which is weaker"));
    }
    ExitCode::from(fault.command_code().unwrap_or(FAILED))
}

fn fail(what: &str) -> ExitCode {
    say(what);
    ExitCode::from(FAILED)
}

/// To the person at the terminal; never on the standard output, which is the command's.
fn say(what: &str) {
    anstream::eprintln!("exeat: {what}");
}
