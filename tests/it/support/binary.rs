//! The real program, with real signals and exit codes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, Reach};

/// `exeat serve` in a process of its own, in a directory of its own.
pub struct Binary {
    child: Child,
    log: Arc<Log>,
    reach: Reach,
}

/// What it says on stderr.
#[derive(Default)]
struct Log {
    text: Mutex<String>,
    /// Nobody listens any more: stderr is closed at the next line.
    deaf: AtomicBool,
}

/// A directory with settings, a policy and a hosts file.
pub struct Files {
    pub directory: TempDir,
    /// How much it tells of itself, in the words of `EXEAT_LOG`.
    pub log: &'static str,
    /// What else its environment has.
    pub environment: &'static [(&'static str, &'static str)],
}

impl Files {
    /// Settings that listen on free ports, and whatever `more` adds to them.
    pub fn new(more: &str, policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("policies")).unwrap();
        fs::write(at("policies/policy.yaml"), policy).unwrap();
        fs::write(at("hosts"), "127.0.0.1 a.example b.example c.example\n").unwrap();
        let settings = format!(
            "listen: {{ explicit: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}\npolicy: [policies]\n\
             audit: {{ path: records.jsonl }}\ndns: {{ hosts: hosts }}\n{more}"
        );
        fs::write(at("exeat.yaml"), settings).unwrap();
        Self { directory, log: "info", environment: &[] }
    }

    /// The same with a DNS server to ask.
    pub fn asking(self, server: SocketAddr) -> Self {
        let path = self.directory.path().join("exeat.yaml");
        let settings = fs::read_to_string(&path).unwrap();
        let dns = format!("dns: {{ hosts: hosts, servers: ['{server}'] }}");
        fs::write(&path, settings.replace("dns: { hosts: hosts }", &dns)).unwrap();
        self
    }

    /// `exeat serve` with these files, as somebody types it who stands beside them; `limit` of open files.
    pub fn command(&self, limit: Option<u64>) -> Command {
        let exeat = env!("CARGO_BIN_EXE_exeat");
        let mut command = match limit {
            Some(limit) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={limit}:{limit}")).arg(exeat);
                command
            }
            None => Command::new(exeat),
        };
        command.env("EXEAT_LOG", self.log).envs(self.environment.iter().copied());
        command.args(["serve", "--config", "exeat.yaml"]).current_dir(self.directory.path());
        command
    }
}

impl Binary {
    /// Starts it and waits until it listens.
    pub async fn start(files: Files, limit: Option<u64>) -> Self {
        let mut child = files.command(limit).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, theirs) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if theirs.deaf.load(Ordering::Relaxed) {
                    return;
                }
                theirs.text.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let address = said(&log, "clients connect to http://").await;
        let admin = said(&log, "metrics and health are at http://").await;
        Self { child, log, reach: Reach { address, admin, directory: files.directory } }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets its files have so many bytes and no more; `None`: as many as there is room for.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// Waits for its end and returns its exit code; none if a signal ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it has said on stderr.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Closes the other end of its stderr when it says the next thing.
    pub fn stop_listening(&self) {
        self.log.deaf.store(true, Ordering::Relaxed);
    }

    /// How many file descriptors it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The memory it has in use, in bytes.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * kilobytes.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    }
}

impl Deref for Binary {
    type Target = Reach;

    fn deref(&self) -> &Reach {
        &self.reach
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that stands in the log behind these words.
async fn said(log: &Log, words: &str) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = log.text.lock().unwrap().clone();
        if let Some((_, rest)) = text.split_once(words)
            && let Some(address) = rest.lines().next()
        {
            return address.parse().unwrap();
        }
        assert!(Instant::now() < deadline, "{words}: {text}");
        sleep(Duration::from_millis(5)).await;
    }
}
