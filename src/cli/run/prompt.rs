//! A question on the terminal, whatever the command has made of that: the person's answer is a letter and Enter.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::process::{Pid, Signal, getpgrp};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcgetpgrp, tcsetattr, tcsetpgrp,
};

use crate::cli::run::signals;

/// What is typed of an answer.
const LINE_MAX: usize = 16;
const BACKSPACES: [u8; 2] = [0x08, 0x7f];

/// The controlling terminal, and what ends a question on it early.
#[derive(Debug)]
pub(super) struct Prompt {
    terminal: File,
    interrupt: OwnedFd,
}

/// The terminal while a question stands on it: exeat's alone. Dropped, it is again what it was.
#[derive(Debug)]
pub(super) struct Held<'a> {
    prompt: &'a Prompt,
    before: Termios,
    foreground: Pid,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// What stands before Enter.
    Line(String),
    /// A key by which the terminal sends a signal.
    Key(Signal),
    /// There is something more important, or nobody is there any more.
    Interrupted,
    Silence,
}

impl Prompt {
    /// An error where there is no terminal.
    pub(super) fn open() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let interrupt = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { terminal, interrupt })
    }

    /// Whether exeat itself is in the terminal's foreground.
    pub(super) fn is_in_front(&self) -> bool {
        tcgetpgrp(&self.terminal).is_ok_and(|group| group == getpgrp())
    }

    /// Ends the question that stands, if one does, or else the next.
    pub(super) fn interrupt(&self) {
        // Full is as good as written.
        let _ = write(&self.interrupt, &1u64.to_ne_bytes());
    }

    /// Forgets an interruption that came when there was no question.
    pub(super) fn clear(&self) {
        let _ = read(&self.interrupt, &mut [0; 8]);
    }

    /// Takes the terminal for a question. What was typed before was not typed for it, and is dropped.
    pub(super) fn hold(&self) -> io::Result<Held<'_>> {
        let terminal = &self.terminal;
        let (before, foreground) = (tcgetattr(terminal)?, tcgetpgrp(terminal)?);
        // A shell inside has the foreground by a group of its own: whoever reads has to be there.
        tcsetpgrp(terminal, getpgrp())?;
        let held = Held { prompt: self, before: before.clone(), foreground };
        let mut modes = before;
        // Signals go by the group that has the foreground, and that is exeat's for now: they are sent by hand.
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        // At once: what the command has written may never be read.
        tcsetattr(terminal, OptionalActions::Now, &modes)?;
        tcflush(terminal, QueueSelector::IFlush)?;
        Ok(held)
    }
}

impl Held<'_> {
    pub(super) fn say(&self, text: &str) {
        // A terminal that is gone hears nothing.
        let _ = (&self.prompt.terminal).write_all(text.as_bytes());
    }

    /// Reads one line, for so long.
    pub(super) fn read(&self, time: Duration) -> Reply {
        let deadline = Instant::now() + time;
        let mut line = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.key(left) {
                Ok(Some(b'\r' | b'\n')) => {
                    self.say("\n");
                    return Reply::Line(line);
                }
                Ok(Some(key)) if BACKSPACES.contains(&key) => {
                    if line.pop().is_some() {
                        self.say("\x08 \x08");
                    }
                }
                Ok(Some(key)) => {
                    if let Some(signal) = self.signal(key) {
                        self.say("\n");
                        return Reply::Key(signal);
                    }
                    if (b' '..0x7f).contains(&key) && line.len() < LINE_MAX {
                        line.push(char::from(key));
                        self.say(&char::from(key).to_string());
                    }
                }
                Ok(None) if left.is_zero() => return Reply::Silence,
                Ok(None) => {}
                Err(_) => return Reply::Interrupted,
            }
        }
    }

    /// Gives the terminal back and lets the command go on, with the signal of a key for whom the terminal would have
    /// sent it to.
    pub(super) fn release(self, key: Option<Signal>, go_on: impl FnOnce()) {
        let group = self.foreground;
        let send = |signal| signals::send(group, signal);
        drop(self);
        // What ends a command is there before it goes on; but to go on takes away a stop that waits (signal(7)).
        match key {
            Some(Signal::TSTP) => {
                go_on();
                send(Signal::TSTP);
            }
            key => {
                key.into_iter().for_each(send);
                go_on();
            }
        }
    }

    /// The next key, if one comes in time.
    fn key(&self, time: Duration) -> io::Result<Option<u8>> {
        let Prompt { terminal, interrupt } = self.prompt;
        let mut both = [PollFd::new(interrupt, PollFlags::IN), PollFd::new(terminal, PollFlags::IN)];
        match poll(&mut both, time.try_into().ok().as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            polled => polled?,
        };
        if !both[0].revents().is_empty() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut key = [0];
        let mut terminal = terminal;
        terminal.read_exact(&mut key)?;
        Ok(Some(key[0]))
    }

    /// The signal that a key sends in the modes which the command has chosen.
    fn signal(&self, key: u8) -> Option<Signal> {
        let codes = [
            (SpecialCodeIndex::VINTR, Signal::INT),
            (SpecialCodeIndex::VQUIT, Signal::QUIT),
            (SpecialCodeIndex::VSUSP, Signal::TSTP),
        ];
        let is_sent = self.before.local_modes.contains(LocalModes::ISIG);
        let sent = codes.into_iter().find(|&(index, _)| key != 0 && self.before.special_codes[index] == key);
        sent.filter(|_| is_sent).map(|(_, signal)| signal)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let terminal = &self.prompt.terminal;
        // A terminal that is gone has no modes.
        let _ = tcsetattr(terminal, OptionalActions::Now, &self.before);
        let _ = tcsetpgrp(terminal, self.foreground);
    }
}
