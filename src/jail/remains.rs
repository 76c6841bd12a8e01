//! What a jail leaves to whoever made it: processes to be waited for.

use std::process::Child;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

/// The children that exeat has of a jail. It may have others, which a shell had started before it became exeat, and which
/// may wait for exeat's end in turn.
#[derive(Debug)]
pub(super) struct Remains {
    stage: Pid,
    first: Option<Pid>,
}

impl Remains {
    pub(super) fn of_stage(stage: &Child) -> Self {
        Self { stage: Pid::from_child(stage), first: None }
    }

    /// The first process, as the stage has told its number.
    pub(super) fn add_first(&mut self, number: u32) {
        self.first = i32::try_from(number).ok().and_then(Pid::from_raw);
    }

    /// Waits for them: for the stage before the first process, which is inherited from it. That one is gone when all others
    /// of its namespace are.
    pub(super) fn bury(&self) {
        for process in [Some(self.stage), self.first].into_iter().flatten() {
            while matches!(waitpid(Some(process), WaitOptions::empty()), Err(Errno::INTR)) {}
        }
    }
}
