//! What a jail leaves to whoever made it: a process to be waited for.

use std::io;
use std::process::Child;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

/// The child that exeat has of a jail: its stage, and after that its first process. It may have others, which a shell had
/// started before it became exeat, and which may wait for exeat's end in turn.
#[derive(Debug)]
pub(super) struct Remains(Pid);

impl Remains {
    /// Starts the stage, so that what that leaves will be a child too.
    pub(super) fn start(stage: impl FnOnce() -> io::Result<Child>) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        stage().map(|child| Self(Pid::from_child(&child)))
    }

    pub(super) fn number(&self) -> u32 {
        self.0.as_raw_pid().unsigned_abs()
    }

    /// The stage is about to end and leaves the first process, whose number it has told. Whatever else loses its parent is
    /// for others to wait for.
    pub(super) fn inherit(&mut self, number: u32) -> io::Result<()> {
        self.bury();
        let first = i32::try_from(number).ok().and_then(Pid::from_raw);
        self.0 = first.ok_or(io::ErrorKind::InvalidData)?;
        Ok(set_child_subreaper(None)?)
    }

    /// Waits for its end. The first process is gone when all others of its namespace are.
    pub(super) fn bury(&self) {
        while matches!(waitpid(Some(self.0), WaitOptions::empty()), Err(Errno::INTR)) {}
    }
}
