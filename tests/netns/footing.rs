//! Whether the tests can stand here: as root, or as root of a user namespace.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

const TOOLS: [&str; 17] = [
    "ip",
    "git",
    "ssh",
    "sshd",
    "ssh-keygen",
    "iptables",
    "iptables-legacy",
    "ip6tables",
    "nft",
    "setpriv",
    "timeout",
    "curl",
    "dig",
    "socat",
    "ping",
    "openssl",
    "ss",
];

const UNSHARE: [&str; 9] = [
    "--user",
    "--map-root-user",
    "--map-auto",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
];
/// Where the tests are.
pub(crate) enum Footing {
    Root {
        /// Whether the kernel has the tables of iptables of old.
        legacy: bool,
    },
    /// The same tests have run in a user namespace, and this is how that went.
    Elsewhere(ExitCode),
    /// They can't run, and this is why.
    None(String),
}

pub(crate) fn find() -> Footing {
    let there = |tool: &&str| run("which", [tool]).is_some_and(|found| found.status.success());
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !there(tool)).collect();
    if !missing.is_empty() {
        return Footing::None(format!("{} missing", missing.join(", ")));
    }
    if !rustix::process::geteuid().is_root() {
        return as_root_of_a_user_namespace();
    }
    let name = format!("exeat-{}-probe", std::process::id());
    let made = run("ip", ["netns", "add", &name]).unwrap();
    let table = run("ip", ["netns", "exec", &name, "iptables-legacy", "-t", "nat", "-S"]).unwrap();
    run("ip", ["netns", "del", &name]);
    if !made.status.success() {
        return Footing::None(String::from_utf8_lossy(&made.stderr).trim().to_owned());
    }
    sweep();
    // The servers of each world stay until the end.
    exeat::sys::raise_file_limit();
    Footing::Root { legacy: table.status.success() }
}

/// Runs the tests that were asked for where this user is root. It needs a range of subordinate users (subuid(5)), as
/// the programs of the instance and exeat have users of their own.
fn as_root_of_a_user_namespace() -> Footing {
    let mount = "mount -t tmpfs tmpfs /run";
    let tried = run("unshare", UNSHARE.into_iter().chain(["sh", "-c", mount]));
    match tried {
        Some(output) if output.status.success() => {}
        Some(output) => return Footing::None(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        None => return Footing::None("no unshare(1)".to_owned()),
    }
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
    let passed = command.status().unwrap().success();
    Footing::Elsewhere(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes away what a killed run left behind.
fn sweep() {
    let listed = run("ip", ["netns", "list"]).unwrap();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let pid = name.strip_prefix("exeat-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            run("ip", ["netns", "del", name]);
        }
    }
}

fn run(program: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Option<Output> {
    Command::new(program).args(words).output().ok()
}
