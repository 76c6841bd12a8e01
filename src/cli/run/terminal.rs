//! The terminal, which the command has as if exeat were not there.

use std::fs::File;

use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The controlling terminal, if exeat was started in its foreground.
#[derive(Debug)]
pub(super) struct Terminal(Option<(File, Pid)>);

impl Terminal {
    pub(super) fn find() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Self(
            terminal
                .map(|terminal| (terminal, getpgrp()))
                .filter(|(terminal, ours)| tcgetpgrp(terminal).is_ok_and(|foreground| foreground == *ours)),
        )
    }

    /// Takes it back from groups of the jail. A shell inside leaves the foreground to its last job, for it can't
    /// name the group that it had it from, which is outside.
    pub(super) fn take_back(&self) {
        if let Self(Some((terminal, ours))) = self {
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
