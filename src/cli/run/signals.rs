//! Signals for the command that come to exeat.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, getpgrp, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// What is passed on. That the window has a new size the terminal tells the command itself.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
];
/// Of these, those that end nothing.
const STOPS: [Signal; 2] = [Signal::SIGTSTP, Signal::SIGTTIN];
/// The sender is the kernel: the terminal (sigaction(2)).
const KERNEL: i32 = 0x80;

/// The signal that exeat has sent to its own group last, until it has come back.
static SENT: AtomicI32 = AtomicI32::new(0);

/// Signals that no longer end or stop exeat.
#[derive(Debug)]
pub(super) struct Signals {
    passed_on: SigSet,
    /// What was blocked before.
    before: SigSet,
}

impl Signals {
    /// Blocks them for this thread and all that it will start.
    pub(super) fn block() -> io::Result<Self> {
        let passed_on = SigSet::from_iter(PASSED_ON);
        let mut blocked = passed_on;
        // The terminal sends it to whole groups, and so to the command as well; blocked, the terminal can be taken
        // back from the background.
        blocked.add(Signal::SIGTTOU);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { passed_on, before })
    }

    /// Starts a program, which has blocked what exeat had when it was started itself.
    pub(super) fn lifted<T>(&self, start: impl FnOnce() -> T) -> T {
        let Ok(blocked) = self.before.thread_swap_mask(SigmaskHow::SIG_SETMASK) else { return start() };
        let started = start();
        // It was a mask before and is one still: this can't fail.
        let _ = blocked.thread_set_mask();
        started
    }

    /// One to end by that came before there was a command to pass it on to.
    pub(super) fn pending(&self) -> Option<i32> {
        let mut ending = self.passed_on;
        STOPS.into_iter().for_each(|stop| ending.remove(stop));
        let signals = SignalFd::with_flags(&ending, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok()?;
        let signal = signals.read_signal().ok()??;
        i32::try_from(signal.ssi_signo).ok()
    }

    /// Passes on, from a thread of its own, what comes from now on; but not what the terminal sends, or exeat
    /// in its place: that goes to the command as well, which is of the same group of processes.
    pub(super) fn forward(self, pass_on: impl Fn(i32) + Send + 'static) {
        let Ok(signals) = SignalFd::with_flags(&self.passed_on, SfdFlags::SFD_CLOEXEC) else { return };
        let forward = move || {
            while let Ok(Some(signal)) = signals.read_signal() {
                let Ok(number) = i32::try_from(signal.ssi_signo) else { continue };
                if signal.ssi_code != KERNEL && !is_own(number, signal.ssi_pid) {
                    pass_on(number);
                }
            }
        };
        // It ends with the process. Without it the command runs all the same.
        drop(thread::Builder::new().name("signals".to_owned()).spawn(forward));
    }
}

/// Has the kernel keep how children end, though the caller may ignore that they do and want nothing kept (wait(2)). What
/// is started then has it by default. To be called in a runtime.
pub(super) fn keep_ends() -> io::Result<()> {
    signal(SignalKind::child()).map(drop)
}

/// Sends a signal to a group of processes in the terminal's place.
pub(super) fn send(group: Pid, signal: rustix::process::Signal) {
    if group == getpgrp() {
        SENT.store(signal.as_raw(), Ordering::Release);
    }
    // A group that has ended has no use for it.
    let _ = kill_process_group(group, signal);
}

/// Whether a signal is what [`send`] has sent. The kernel forgets the sender's number for whomever it comes to after a
/// process of another namespace, as those of the jail are.
fn is_own(signal: i32, sender: u32) -> bool {
    let may_be = sender == 0 || sender == std::process::id();
    may_be && SENT.compare_exchange(signal, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Stops exeat as the command was stopped, until whoever watches exeat lets it go on.
///
/// It is for the command to stop first. A shell takes the terminal back once exeat has stopped, and a program that has
/// yet to notice that it is to stop would read what is then typed for the shell.
pub(super) fn stop(signal: i32) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    let _ = raise(signal);
    // Blocked until here, so that the terminal's own, should it still wait to be read, stops exeat no second time:
    // what lets it go on takes all of them away (signal(7)).
    let alone = SigSet::from(signal);
    let _ = alone.thread_unblock();
    let _ = alone.thread_block();
}
