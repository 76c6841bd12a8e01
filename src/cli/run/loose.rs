//! A command without a jail: it is asked to use the proxy, and nothing holds it to that.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::run::environment;
use crate::jail::{Ending, Fault};
use crate::lock::lock;
use crate::server::Doors;
use crate::sys;

/// Before it runs.
#[derive(Debug)]
pub(super) struct Loose(Command);

/// While it runs.
#[derive(Debug)]
pub(super) struct Started {
    pid: Pid,
    child: Mutex<Option<Child>>,
}

impl Loose {
    /// Opens the one door that it has, on a free port of this host.
    pub(super) fn new(command: &[OsString]) -> Result<(Self, Doors), Fault> {
        let listener = sys::listen((Ipv4Addr::LOCALHOST, 0).into()).map_err(Fault::doors)?;
        let door = listener.local_addr().map_err(Fault::doors)?;
        let [program, arguments @ ..] = command else {
            return Err(Fault::command(io::ErrorKind::InvalidInput.into()));
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(environment::proxies(door));
        let doors =
            Doors { explicit: vec![listener], transparent: Vec::new(), dns: Vec::new(), outside: vec![door] };
        Ok((Self(command), doors))
    }

    pub(super) fn begin(mut self) -> Result<Started, Fault> {
        let child = self.0.spawn().map_err(Fault::command)?;
        Ok(Started { pid: Pid::from_child(&child), child: Mutex::new(Some(child)) })
    }
}

impl Started {
    pub(super) fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // One that has ended has no use for it.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// For one thread, once.
    pub(super) fn wait(&self) -> Result<Ending, Fault> {
        let child = lock(&self.child).take();
        let mut child = child.ok_or_else(|| Fault::command(io::ErrorKind::NotFound.into()))?;
        let status = child.wait().map_err(Fault::command)?;
        Ok(match status.signal() {
            Some(signal) => Ending::Signal(signal),
            None => Ending::Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
        })
    }
}
