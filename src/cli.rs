//! The commands: what a person types, and the only exit codes.

mod check;
mod doors;
mod explain;
mod import;
mod lockdown;
mod log;
mod policy;
mod run;
mod serve;
mod started;
mod suggest;
mod verify;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::config::ADDRESS;
use crate::jail;
use crate::mistake::Mistake;
use crate::server::StartError;

/// An egress gate: programs reach the internet only by the names that a policy lists
#[derive(Debug, Parser)]
#[command(version, after_help = "EXEAT_LOG=debug makes it tell more of what it does, on stderr.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Run(Box<run::RunArgs>),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Suggest(suggest::SuggestArgs),
    Import(import::ImportArgs),
    Lockdown(lockdown::LockdownArgs),
    Verify(verify::VerifyArgs),
    /// Makes the namespaces of a jail; `run` starts it
    #[command(hide = true)]
    JailStage(run::InsideArgs),
    /// The first process of a jail; its stage starts it
    #[command(hide = true)]
    JailFirst(run::InsideArgs),
}

/// How a command prints its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// It failed at run time.
const FAILED: u8 = 1;
/// It was used wrongly, or a file is bad; clap exits with it too.
const USAGE: u8 = 2;
/// The answer is "denied", or a policy's test fails.
const DENIED: u8 = 3;
/// It was done, but something could not be taken in.
const PARTLY: u8 = 3;

/// Runs the command that was typed.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // What runs beside a command of the user's has something to say only when something is wrong.
    let level = if matches!(cli.command, Command::Run(_)) { "warn" } else { "info" };
    let filter = match log::filter(level) {
        Ok(filter) => filter,
        Err(error) => {
            anstream::eprintln!("error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never)
        .with_target(false)
        // Nobody may be left to read them; to complain of it on the same stderr would panic.
        .log_internal_errors(false)
        .init();
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Run(args) => run::run(*args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Suggest(args) => suggest::run(args),
        Command::Import(args) => import::run(args),
        Command::Lockdown(args) => lockdown::run(args),
        Command::Verify(args) => verify::run(args),
        Command::JailStage(args) => jail::stage(args.command),
        Command::JailFirst(args) => jail::first(args.command),
    }
}

/// Writes an answer. The exit code is this one, unless the answer is not all there; but whoever stops reading it early
/// wants no more of it.
fn print(text: &str, code: impl Into<ExitCode>) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            anstream::eprintln!("error: the answer can't be written: {error}");
            ExitCode::from(FAILED)
        }
        _ => code.into(),
    }
}

/// Reads where a socket is, of a flag.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("it must be {ADDRESS}"))
}

/// An answer for programs. Those are of texts, numbers and flags alone, which can't fail to serialise.
fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap_or_default() + "\n"
}

/// Tells the mistakes in what was given.
fn refuse(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        anstream::eprintln!("{mistake}");
    }
    ExitCode::from(USAGE)
}

/// Tells why a server did not start: the mistakes, or what is none at a place in a file as the command tells it.
fn not_started(error: &StartError, tell: impl FnOnce(&str)) -> ExitCode {
    if !error.mistakes().is_empty() {
        return refuse(error.mistakes());
    }
    tell(&error.to_string());
    ExitCode::from(if error.is_bad_file() { USAGE } else { FAILED })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_help_has_an_example() {
        let mut commands: Vec<clap::Command> = Cli::command().get_subcommands().cloned().collect();
        while let Some(command) = commands.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(command.is_hide_set() || help.contains("Example"), "{}", command.get_name());
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn an_address_without_a_port_is_told_what_it_lacks() {
        for text in ["127.0.0.1", "localhost:3128", "null", ""] {
            assert!(address(text).unwrap_err().contains("an address and a port"), "{text}");
        }
        assert_eq!(address("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
    }
}
