//! `exeat run`: one command behind the gate.

mod arguments;
mod ask;
mod command;
mod environment;
mod loose;
mod prompt;
mod publish;
mod signals;
mod summary;
mod terminal;
mod watched;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::cli::run::ask::Asking;
use crate::cli::run::command::{Command, Place, place};
use crate::cli::run::signals::Signals;
use crate::cli::run::terminal::Terminal;
use crate::cli::run::watched::Watched;
use crate::cli::{FAILED, USAGE, not_started, refuse};
use crate::jail::{Ending, Fault};
use crate::policy::document::Audience;
use crate::record::Watch;
use crate::server::{Jailed, Server, Signal};

pub(super) use crate::cli::run::arguments::RunArgs;

/// All that is there before the command runs.
struct Placed {
    place: Place,
    signals: Signals,
    asking: Option<Asking>,
}

/// What the jail's own programs are started with.
#[derive(Args, Clone, Debug)]
pub(super) struct InsideArgs {
    #[arg(last = true)]
    pub(super) command: Vec<OsString>,
}

/// Runs the command.
pub(super) fn run(args: RunArgs) -> ExitCode {
    // Before any thread, so that every one has them blocked.
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("can't listen for signals: {error}")),
    };
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(mistakes) => return refuse(&mistakes),
    };
    let sources = args.policy.sources(&settings);
    let audience = Audience::Jail { profile: args.profile.clone(), report: args.report };
    let read = SystemTime::now();
    let loaded = match audience.load(&sources, settings.known_parents()) {
        Ok(loaded) => loaded,
        Err(mistakes) => return refuse(&mistakes),
    };
    if args.report {
        say("--report lets through what no rule allows; deny rules and the guard of addresses hold");
    } else if sources.is_built_in() {
        say("no policy is given: the built-in one allows package registries and source forges");
    }
    let asking = match args.ask.then(|| Asking::new(&args, loaded.builder.profiles())).transpose() {
        Ok(asking) => asking,
        Err(error) => {
            say(&format!("--ask needs a terminal to ask at: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    // The doors have threads of their own; this one tends the rest.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start threads: {error}")),
    };
    if let Err(error) = runtime.block_on(async { signals::keep_ends() }) {
        return fail(&format!("can't listen for the end of children: {error}"));
    }
    let (place, doors) = match signals.lifted(|| place(&args, &settings, &loaded)) {
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
        consent: asking.as_ref().map(Asking::consent),
    };
    let server = match runtime.block_on(async { Server::jailed(&settings, sources, jailed) }) {
        Ok(server) => server,
        Err(error) => return not_started(&error, say),
    };
    let placed = Placed { place, signals, asking };
    let code = runtime.block_on(serve(server, &args, placed, &watched));
    runtime.shutdown_background();
    code
}

/// Serves the doors while the command runs.
async fn serve(server: Server, args: &RunArgs, placed: Placed, watched: &Watched) -> ExitCode {
    let Placed { place, signals, asking } = placed;
    let published = match publish::bind(&args.publish).await {
        Ok(published) => published,
        Err(error) => return fail(&error),
    };
    let (policy, grants) = (server.policy(), server.grants());
    let (stop, stops) = mpsc::channel(1);
    let serving = tokio::spawn(server.run(stops));
    if let Some(signal) = signals.pending() {
        return ExitCode::from(Ending::Signal(signal).code());
    }
    let terminal = Terminal::find();
    let command = match place.begin(&signals) {
        Ok(command) => command,
        Err(fault) => return explain(&fault),
    };
    let mut person = None;
    if let Command::Jailed(running) = &command {
        person = asking.zip(grants).map(|(asking, grants)| asking.start(running.clone(), grants));
        published.into_iter().for_each(|port| drop(tokio::spawn(port.serve(running.clone()))));
    }
    let (told, asked) = (command.clone(), person.clone());
    signals.forward(move |signal| {
        told.signal(signal);
        // Whoever stands still hears nothing.
        asked.iter().for_each(|person| person.interrupt());
    });
    let ending = spawn_blocking(move || {
        let ending = command.wait_to_end(&terminal);
        person.iter().for_each(|person| person.dismiss());
        terminal.take_back();
        ending
    });
    let ending = ending.await;
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
