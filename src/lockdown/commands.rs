//! The programs of the operating system that the lockdown speaks to.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// Where they are beyond the path of whoever has none of root's: cron, or su without a login. A firewall that is not found
/// would pass for one that has no rules.
const OF_ROOT: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// What went wrong with one of them.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0} can't be started: {1}")]
    Start(String, io::Error),
    #[error("{command} failed: {said}")]
    Failed { command: String, said: String },
}

impl CommandError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Start(_, error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Runs a program with a text on its standard input, and returns what it writes.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, CommandError> {
    let command = || [&[program], arguments].concat().join(" ");
    let output = feed(program, arguments, input).map_err(|error| CommandError::Start(command(), error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if !output.status.success() {
        let said = match (text(&output.stderr), text(&output.stdout)) {
            (errors, said) if errors.is_empty() => said,
            (errors, _) => errors,
        };
        return Err(CommandError::Failed { command: command(), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn feed(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").env("PATH", path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early does not read on; what it then says is the reason.
        let fed = stdin.write_all(input.as_bytes());
        drop(fed);
    }
    child.wait_with_output()
}

/// The path of the caller, and what it may lack.
fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(OF_ROOT);
    path
}
