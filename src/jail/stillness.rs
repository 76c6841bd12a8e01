//! All of the jail stands still while a person is asked: nobody else reads from the terminal then, or writes to it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lock::lock;

/// The first process of the jail, which can't be stopped.
const FIRST: i32 = 1;
/// How long processes may take to stand still. One that is caught in the kernel does not read from a terminal.
const PATIENCE: Duration = Duration::from_millis(500);
const GLANCE: Duration = Duration::from_millis(1);

/// Which processes stand still because of exeat.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    stopped: Mutex<Stopped>,
    seen: Condvar,
}

#[derive(Debug, Default)]
struct Stopped {
    processes: HashSet<i32>,
    /// The command has been stopped, and nobody has heard of it yet.
    expected: bool,
}

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    id: i32,
    parent: i32,
    state: char,
}

impl Stillness {
    /// Stops every process that moves, parents first, so that no shell sees its job stop. What had stopped before
    /// stays as it is in [`Stillness::end`], too. False if some go on moving, as where they make more of themselves.
    pub(super) fn begin(&self, command: i32) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut stopped = lock(&self.stopped);
        loop {
            let moving: HashMap<i32, Process> =
                processes().into_iter().filter(Process::moves).map(|process| (process.id, process)).collect();
            if moving.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return false;
            }
            for process in moving.values().filter(|process| !moving.contains_key(&process.parent)) {
                if stopped.processes.insert(process.id) {
                    stopped.expected |= process.id == command;
                    // One that has ended needs no signal.
                    let _ = kill(Pid::from_raw(process.id), Signal::SIGSTOP);
                }
            }
            // Only a moment: the kernel has to get each of them out of what it does.
            sleep(GLANCE);
        }
        // Else it could be heard of after the end, as a stop that somebody else meant.
        let wait = deadline.saturating_duration_since(Instant::now());
        let heard = self.seen.wait_timeout_while(stopped, wait, |stopped| stopped.expected);
        drop(heard.unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// Lets go on what was stopped: children first, so that no shell finds one that has stopped.
    pub(super) fn end(&self) {
        let mut stopped = lock(&self.stopped);
        stopped.expected = false;
        let all = processes();
        let parents: HashMap<i32, i32> = all.iter().map(|process| (process.id, process.parent)).collect();
        let depth = |id: i32| {
            std::iter::successors(parents.get(&id), |parent| parents.get(parent)).take(all.len()).count()
        };
        let mut ours: Vec<i32> = stopped.processes.drain().collect();
        ours.sort_unstable_by_key(|&id| std::cmp::Reverse(depth(id)));
        for id in ours {
            let _ = kill(Pid::from_raw(id), Signal::SIGCONT);
        }
    }

    /// Whether the command has stopped only because of this. Asked once for each stop that is heard of.
    pub(super) fn is_why(&self, signal: i32) -> bool {
        let mut stopped = lock(&self.stopped);
        let is_why = signal == Signal::SIGSTOP as i32 && std::mem::take(&mut stopped.expected);
        drop(stopped);
        self.seen.notify_all();
        is_why
    }
}

impl Process {
    /// Neither stopped, nor traced and stopped, nor dead, nor waiting for a disk or for its own copy to start.
    fn moves(&self) -> bool {
        !matches!(self.state, 'T' | 't' | 'Z' | 'X' | 'D')
    }
}

/// All processes of the jail but the first.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let process = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        parse(id, &fs::read_to_string(entry.path().join("stat")).ok()?)
    };
    entries.filter_map(process).filter(|process| process.id != FIRST).collect()
}

/// Reads a line of proc_pid_stat(5). The name in it may have anything in it, parentheses too.
fn parse(id: i32, stat: &str) -> Option<Process> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    Some(Process { id, parent: words.next()?.parse().ok()?, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let expected = Process { id: 7, parent: 3, state: 'S' };
        assert_eq!(parse(7, "7 (a) b) (c) S 3 7 7 0 -1"), Some(expected));
        assert_eq!(parse(7, "7 (sh"), None);
        assert!(expected.moves() && !Process { state: 'T', ..expected }.moves());
    }
}
