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
const PATIENCE: Duration = Duration::from_secs(2);
/// How long those may take that wait for a disk. One that waits for its copy to start may do so for ever.
const BLOCKED: Duration = Duration::from_millis(50);
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
    /// How often each thread had left a CPU when everything stood still.
    turns: HashMap<i32, u64>,
    /// The command has been stopped, and nobody has heard of it yet.
    expected: bool,
}

/// A process as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: i32,
    parent: i32,
    /// Those that live: the first one may end before the others.
    threads: Vec<Thread>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    id: i32,
    state: char,
    turns: u64,
}

impl Stillness {
    /// Stops every process that moves, parents first, so that no shell sees its job stop. What had stopped before
    /// stays as it is in [`Stillness::end`], too. False if some go on moving, as where they make more of themselves.
    pub(super) fn begin(&self, command: i32) -> bool {
        let begun = Instant::now();
        let mut stopped = lock(&self.stopped);
        let mut last = None;
        loop {
            let all = processes();
            let moving: HashSet<i32> =
                all.iter().filter(|process| process.moves()).map(|process| process.id).collect();
            for process in
                all.iter().filter(|process| !process.has_stopped() && !moving.contains(&process.parent))
            {
                if stopped.processes.insert(process.id) {
                    stopped.expected |= process.id == command;
                    // One that has ended needs no signal.
                    let _ = kill(Pid::from_raw(process.id), Signal::SIGSTOP);
                }
            }
            let is_waited_for = begun.elapsed() < BLOCKED && !all.iter().all(Process::has_stopped);
            let turns = turns(&all);
            // Twice the same: a thread says that it has stopped a moment before it leaves its CPU.
            if moving.is_empty() && !is_waited_for && last.as_ref() == Some(&turns) {
                stopped.turns = turns;
                break;
            }
            if begun.elapsed() > PATIENCE {
                return false;
            }
            last = Some(turns);
            // Only a moment: the kernel has to get each of them out of what it does.
            sleep(GLANCE);
        }
        // Else it could be heard of after the end, as a stop that somebody else meant.
        let wait = PATIENCE.saturating_sub(begun.elapsed());
        let heard = self.seen.wait_timeout_while(stopped, wait, |stopped| stopped.expected);
        drop(heard.unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// Whether everything has stood still since. A program can have the kernel let it go on, by a timer that sends
    /// SIGCONT (timer_create(2)); then it may have written over the question.
    pub(super) fn holds(&self) -> bool {
        let (stopped, all) = (lock(&self.stopped), processes());
        !all.iter().any(Process::moves) && turns(&all) == stopped.turns
    }

    /// Lets go on what was stopped: children first, so that no shell finds one that has stopped.
    pub(super) fn end(&self) {
        let mut stopped = lock(&self.stopped);
        stopped.expected = false;
        stopped.turns.clear();
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
    /// Neither stopped, nor waiting for a disk or for its own copy to start.
    fn moves(&self) -> bool {
        self.threads.iter().any(|thread| !matches!(thread.state, 'T' | 't' | 'D'))
    }

    /// Stopped by whomever, also in order to be traced.
    fn has_stopped(&self) -> bool {
        self.threads.iter().all(|thread| matches!(thread.state, 'T' | 't'))
    }
}

fn turns(processes: &[Process]) -> HashMap<i32, u64> {
    processes.iter().flat_map(|process| &process.threads).map(|thread| (thread.id, thread.turns)).collect()
}

/// All living processes of the jail but the first.
fn processes() -> Vec<Process> {
    let process = |id: i32| {
        let read = |thread: i32| {
            let status = fs::read_to_string(format!("/proc/{id}/task/{thread}/status")).ok()?;
            parse(thread, &status)
        };
        let read: Vec<(i32, Thread)> = numbers(&format!("/proc/{id}/task")).filter_map(read).collect();
        let parent = read.first()?.0;
        let threads = read.into_iter().map(|(_, thread)| thread);
        let threads: Vec<Thread> = threads.filter(|thread| !matches!(thread.state, 'Z' | 'X')).collect();
        (!threads.is_empty()).then_some(Process { id, parent, threads })
    };
    numbers("/proc").filter(|&id| id != FIRST).filter_map(process).collect()
}

/// The entries of a directory that are numbers.
fn numbers(directory: &str) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Reads a thread's file (proc_pid_status(5)), and of which process its own is a child.
fn parse(id: i32, status: &str) -> Option<(i32, Thread)> {
    let field = |name: &str| {
        let of =
            |line: &'_ str| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned());
        status.lines().find_map(of)
    };
    let turns = |name| field(name)?.parse::<u64>().ok();
    let turns = turns("voluntary_ctxt_switches")?.saturating_add(turns("nonvoluntary_ctxt_switches")?);
    let state = field("State")?.chars().next()?;
    Some((field("PPid")?.parse().ok()?, Thread { id, state, turns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_whatever_its_name() {
        let status = "Name:\ta\\nState:\tT\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\nPid:\t8\nPPid:\t3\n\
            Threads:\t2\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t2\n";
        let thread = Thread { id: 8, state: 'S', turns: 7 };
        assert_eq!(parse(8, status), Some((3, thread)));
        assert_eq!(parse(8, "Name:\tsh\n"), None);
        let with = |states: &str| Process {
            id: 7,
            parent: 3,
            threads: states.chars().map(|state| Thread { state, ..thread }).collect(),
        };
        for (states, moves, has_stopped) in
            [("S", true, false), ("TR", true, false), ("TD", false, false), ("Tt", false, true)]
        {
            let process = with(states);
            assert_eq!((process.moves(), process.has_stopped()), (moves, has_stopped), "{states}");
        }
    }
}
