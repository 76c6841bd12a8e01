//! `exeat serve` as it is, in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) const EXEAT: &str = env!("CARGO_BIN_EXE_exeat");

/// The program on free ports; without more, with its built-in policy.
pub(crate) struct Serving {
    pub child: Child,
    pub proxy: String,
    pub admin: String,
}

impl Serving {
    /// Starts it, and waits until it says where it listens.
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::run(Self::command().args(more))
    }

    /// What would start it.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(EXEAT);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command
    }

    /// Starts it so, and waits as well.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        let mut after = |words: &str| {
            let address = lines.find_map(|line| Some(line.split_once(words)?.1.to_owned()));
            address.expect("it says where it listens")
        };
        let (proxy, admin) = (after("clients connect to "), after("metrics and health are at "));
        Self { child, proxy, admin }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
