//! The stage between outside and inside: it makes the namespaces, and the first process in them.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};

use crate::jail::channel::{Channel, News, Order};
use crate::jail::fault::{Fault, Step};
use crate::jail::privileges;

/// The program that is running, also after its file was replaced.
pub(super) const SELF: &str = "/proc/self/exe";
/// How the stage and the first process are asked for.
pub(super) const STAGE: &str = "jail-stage";
pub(super) const FIRST: &str = "jail-first";

/// Runs the stage, whose standard input is the way to the outside.
pub fn stage(command: Vec<OsString>) -> ExitCode {
    let Ok(channel) = Channel::inherited() else { return ExitCode::FAILURE };
    match make(&channel, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Whoever does not hear it finds out by the end of the channel.
            let _ = channel.send(&News::Failed(fault), &[]);
            ExitCode::FAILURE
        }
    }
}

fn make(channel: &Channel, command: Vec<OsString>) -> Result<(), Fault> {
    // Whatever the caller had open is not for the jail: a socket or a directory there would be a way out.
    close_fds::set_fds_cloexec(3, &[]);
    let failed = |what| Fault::at::<io::Error>(Step::Namespaces, what);
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| failed("user")(errno.into()))?;
    channel.send(&News::Unshared, &[]).map_err(|error| Fault::new(Step::Channel, error))?;
    match channel.receive::<Order>() {
        Ok(Some((Order::Identified, _))) => {}
        Ok(_) => return Err(Fault::gone()),
        Err(error) => return Err(Fault::new(Step::Channel, error)),
    }
    let rest = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC;
    unshare(rest).map_err(|errno| failed("network, processes, mounts")(errno.into()))?;
    privileges::hand_down().map_err(failed("capabilities"))?;
    // The first child is the first process of its namespace. It outlives this one, and the outside inherits it.
    let mut first = Command::new(SELF);
    first.arg0("exeat").args([FIRST, "--"]).args(command);
    let pid = first.spawn().map_err(failed("the first process"))?.id();
    channel.send(&News::First(pid), &[]).map_err(|error| Fault::new(Step::Channel, error))
}
