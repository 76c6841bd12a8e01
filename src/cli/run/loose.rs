//! A command without a jail: it is asked to use the proxy, and nothing holds it to that.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpgid, getpgrp, getrlimit, kill_process,
    kill_process_group, setrlimit, waitpid,
};

use crate::cli::run::environment;
use crate::cli::run::terminal::Terminal;
use crate::jail::{Change, Fault};
use crate::server::Doors;
use crate::sys;

/// Before it runs.
#[derive(Debug)]
pub(super) struct Loose {
    command: Command,
    /// The caller's limit on open files: exeat raises its own.
    files: Rlimit,
}

/// While it runs.
#[derive(Debug)]
pub(super) struct Started {
    pid: Pid,
    /// It was told to stop, and it alone.
    stopped_alone: AtomicBool,
}

impl Loose {
    /// Opens the one door that it has, on a free port of this host. Of the environment the command does not get what is
    /// `withheld`.
    pub(super) fn new(command: &[OsString], withheld: &[String]) -> Result<(Self, Doors), Fault> {
        let listener = sys::listen((Ipv4Addr::LOCALHOST, 0).into()).map_err(Fault::doors)?;
        let door = listener.local_addr().map_err(Fault::doors)?;
        let [program, arguments @ ..] = command else {
            return Err(Fault::command(io::ErrorKind::InvalidInput.into()));
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(environment::proxies(door));
        for name in withheld {
            command.env_remove(name);
        }
        let (transparent, dns) = (Vec::new(), Vec::new());
        // Who asks for the weaker way has one socket, and so one thread.
        let doors = Doors { explicit: vec![listener], transparent, dns, workers: 1, outside: vec![door] };
        Ok((Self { command, files: getrlimit(Resource::Nofile) }, doors))
    }

    pub(super) fn begin(mut self) -> Result<Started, Fault> {
        let raised = getrlimit(Resource::Nofile);
        // Down and up again below what this user may have, neither fails; and nobody connects before there is a command.
        let _ = setrlimit(Resource::Nofile, self.files);
        let started = self.command.spawn();
        let _ = setrlimit(Resource::Nofile, raised);
        let child = started.map_err(Fault::command)?;
        Ok(Started { pid: Pid::from_child(&child), stopped_alone: AtomicBool::new(false) })
    }
}

impl Started {
    pub(super) fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            self.stopped_alone.fetch_or(signal == Signal::TSTP, Ordering::Relaxed);
            // One that has ended has no use for it.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Lets it go on after it has stopped, where nobody else does: see the same of a jail.
    pub(super) fn resume(&self) {
        let alone = self.stopped_alone.swap(false, Ordering::Relaxed);
        // One that has ended has no use for it.
        let _ = match getpgid(Some(self.pid)) {
            Ok(group) if group != getpgrp() => kill_process_group(group, Signal::CONT),
            _ if alone => kill_process(self.pid, Signal::CONT),
            _ => Ok(()),
        };
    }

    /// Waits until it has stopped or ended. For one thread, and not again once it has ended.
    pub(super) fn wait(&self, terminal: &Terminal) -> Result<Change, Fault> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) => {
                    let group = getpgid(Some(self.pid));
                    return Ok(Change::new(status, || group.is_ok_and(|group| terminal.is_before(group))));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::command(errno.into())),
            }
        }
    }
}
