//! A place with files, servers behind the gate, and commands that are run in jails.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::namespace;

/// Where servers are; the namespace gives loopback these addresses.
pub const ALLOWED: &str = "93.184.216.34";
pub const DENIED: &str = "93.184.216.66";
pub const ALLOWED_V6: &str = "2606:2800::34";

/// Who runs exeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    /// Whoever runs the tests.
    Myself,
    /// A user without any power.
    User,
}

/// A user of every system without any power there. It has to have a name, or ssh won't run.
pub const USER: u32 = 1;

pub struct World {
    pub directory: TempDir,
}

/// The program of a command and its arguments, for another to start.
pub fn words(command: &Command) -> impl Iterator<Item = &OsStr> {
    std::iter::once(command.get_program()).chain(command.get_args())
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

/// Runs a test in a namespace of its own, as everyone in turn.
pub fn test(name: &str, body: impl Fn(Who, &World)) {
    namespace::run(name, async {
        let world = World::new();
        body(Who::Myself, &world);
        if geteuid().is_root() && !is_root_of_a_user_namespace() {
            body(Who::User, &World::new());
        }
    });
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let world = Self { directory };
        let addresses = format!(
            "127.0.0.1 localhost\n{ALLOWED} a.example b.example git.example\n{ALLOWED_V6} six.example\n\
             {DENIED} evil.example\n127.0.0.1 inner.example\n"
        );
        fs::write(world.path("hosts"), addresses).unwrap();
        let settings =
            format!("dns: {{ hosts: {}, servers: ['{ALLOWED}:1'] }}\n", world.path("hosts").display());
        fs::write(world.path("exeat.yaml"), settings).unwrap();
        world.policy(&[]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the policy by one profile for everyone with these rules.
    pub fn policy(&self, allow: &[&str]) {
        let rules: String = allow.iter().map(|rule| format!("      - {rule}\n")).collect();
        let text =
            format!("version: 1\nprofiles:\n  - name: everyone\n    allow:\n      - x.example\n{rules}");
        fs::write(self.path("policy.yaml"), text).unwrap();
    }

    /// `exeat run` with the policy, and flags before the command.
    pub fn exeat(&self, who: Who, flags: &[&str], command: &[impl AsRef<OsStr>]) -> Command {
        let policy = self.path("policy.yaml");
        self.exeat_alone(who, &[&["--policy", policy.to_str().unwrap()], flags].concat(), command)
    }

    /// `exeat run` without a policy.
    pub fn exeat_alone(&self, who: Who, flags: &[&str], command: &[impl AsRef<OsStr>]) -> Command {
        // What was started in the background ignores some signals, and so would everything that it starts.
        let mut exeat = Command::new("env");
        exeat.arg("--default-signal");
        if let Who::User = who {
            let id = USER.to_string();
            exeat.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        exeat.arg(binary());
        exeat.args(["run", "--config"]).arg(self.path("exeat.yaml"));
        exeat.args(flags).arg("--").args(command);
        exeat.current_dir(self.directory.path()).env("HOME", self.directory.path()).env("LC_ALL", "C");
        exeat.env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        exeat
    }

    /// Runs a command to its end.
    pub fn run(&self, who: Who, flags: &[&str], command: &[impl AsRef<OsStr>]) -> Ran {
        Ran::new(self.exeat(who, flags, command).output().unwrap())
    }

    /// Runs a command behind mounts that nobody else sees, laid by lines of a shell, to which `$0` is `given`. It needs root.
    pub fn behind(&self, mounts: &str, given: impl AsRef<OsStr>, command: &Command) -> Ran {
        let mut unshare = Command::new("unshare");
        let lines = format!("{mounts} && exec \"$@\"");
        unshare.args(["--mount", "sh", "-c", &lines]).arg(given).args(words(command));
        unshare.current_dir(self.directory.path()).env_remove("XDG_RUNTIME_DIR");
        Ran::new(unshare.output().unwrap())
    }

    /// Runs a line of a shell.
    pub fn sh(&self, who: Who, line: &str) -> Ran {
        self.run(who, &[], &["sh", "-c", line])
    }

    /// The records in a file.
    pub fn records(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Ran {
    pub fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
    }

    #[track_caller]
    pub fn good(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out.trim()
    }
}

/// The binary where everyone gets at it, for as long as this process lives.
fn binary() -> &'static Path {
    static BINARY: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _) = BINARY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap().keep();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let (built, path) = (env!("CARGO_BIN_EXE_exeat"), directory.join("exeat"));
        // It is large: a second name costs nothing.
        fs::hard_link(built, &path).or_else(|_| fs::copy(built, &path).map(drop)).unwrap();
        // Nobody drops a static: what reads to the end of this process tidies up after it.
        let mut sweeper = Command::new("sh");
        sweeper.args(["-c", "trap '' INT TERM HUP; read -r _; rm -rf \"$1\"", "sh"]).arg(&directory);
        (path, sweeper.stdin(Stdio::piped()).spawn().unwrap())
    });
    path
}

fn is_root_of_a_user_namespace() -> bool {
    !fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
}
