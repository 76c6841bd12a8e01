//! The terminal, which the command has as if exeat were not there.

use std::fs::File;

use rustix::io::Errno;
use rustix::process::{Pid, getpgrp, test_kill_process_group};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::cli::run::signals;
use crate::jail::Stopped;

/// The controlling terminal, if there is one, and exeat's own group of processes.
#[derive(Debug)]
pub(super) struct Terminal(Option<(File, Pid)>);

impl Terminal {
    pub(super) fn find() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Self(terminal.map(|terminal| (terminal, getpgrp())))
    }

    /// Whether a group of processes is in its foreground.
    pub(super) fn is_before(&self, group: Pid) -> bool {
        self.foreground() == Some(group)
    }

    /// Stops exeat as the command was stopped, until somebody lets it go on. If the command had the foreground by a
    /// group of its own, as a shell has, it gets that back when exeat has it.
    pub(super) fn stop(&self, stopped: Stopped) {
        let theirs = self.foreground().filter(|_| stopped.in_front);
        signals::stop(stopped.signal);
        if let (Self(Some((terminal, ours))), Some(theirs)) = (self, theirs)
            && self.is_before(*ours)
        {
            // A group that has ended meanwhile has no use for it.
            let _ = tcsetpgrp(terminal, theirs);
        }
    }

    fn foreground(&self) -> Option<Pid> {
        self.0.as_ref().and_then(|(terminal, _)| tcgetpgrp(terminal).ok())
    }

    /// Takes it back from groups of the jail, all of which have ended. A shell inside leaves the foreground to its
    /// last job, for it can't name the group that it had it from, which is outside. Whoever else is in the foreground
    /// stays there: exeat may have been sent to the background meanwhile.
    pub(super) fn take_back(&self) {
        let has_ended = |group: &Pid| test_kill_process_group(*group) == Err(Errno::SRCH);
        if let (Self(Some((terminal, ours))), Some(_)) = (self, self.foreground().filter(has_ended)) {
            // A terminal that is gone needs no one in its foreground.
            let _ = tcsetpgrp(terminal, *ours);
        }
    }
}

/// Lets go of the standard input and output: whoever waits for their end waits for the command alone.
pub(super) fn leave_to_command() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        // To hold them longer would do no more than delay others.
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}
