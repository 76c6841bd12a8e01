//! Why there is no jail, and what would have to change on this machine so that there is one.

use std::fmt;
use std::fs;
use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A step of the way into the jail that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub step: Step,
    error: String,
    errno: Option<i32>,
}

/// The steps that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The command's standard input, output or error is none for a jail.
    Streams,
    /// Namespaces, and the powers in them that they need.
    Namespaces,
    Network,
    Mounts,
    /// The working directory has no path: it was removed, perhaps.
    Nowhere,
    /// The working directory is not there inside.
    Directory,
    Doors,
    Privileges,
    /// The command itself can't be started.
    Command,
    /// The other side is gone or does not make sense.
    Channel,
}

/// A setting of the kernel that forbids namespaces to users, its value that does, and what would allow them.
struct Forbids {
    key: &'static str,
    value: &'static str,
    allows: &'static str,
}

const FORBIDS: [Forbids; 4] = [
    Forbids { key: "user.max_user_namespaces", value: "0", allows: "15000" },
    Forbids { key: "user.max_net_namespaces", value: "0", allows: "15000" },
    Forbids { key: "kernel.unprivileged_userns_clone", value: "0", allows: "1" },
    Forbids { key: "kernel.apparmor_restrict_unprivileged_userns", value: "1", allows: "0" },
];

impl Fault {
    pub(super) fn new(step: Step, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        Self { step, errno: error.raw_os_error(), error: error.to_string() }
    }

    /// For `map_err`: what was tried, and how it failed.
    pub(super) fn at<E: Into<io::Error>>(step: Step, what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| {
            let error = error.into();
            Self { step, errno: error.raw_os_error(), error: format!("{what}: {error}") }
        }
    }

    /// The doors can't be opened.
    pub fn doors(error: io::Error) -> Self {
        Self::new(Step::Doors, error)
    }

    /// The command can't be started.
    pub fn command(error: io::Error) -> Self {
        Self::new(Step::Command, error)
    }

    pub(super) fn gone() -> Self {
        let error = "the other side of the jail is gone".to_owned();
        Self { step: Step::Channel, errno: None, error }
    }

    /// The exit code of a shell for a command that can't be started: 127 if there is none, else 126. `None` where
    /// the command was not what failed.
    pub fn command_code(&self) -> Option<u8> {
        let missing = self.errno == Some(Errno::NOENT.raw_os_error());
        (self.step == Step::Command).then_some(if missing { 127 } else { 126 })
    }

    /// Whether the kernel would not give what a jail needs.
    fn is_forbidden(&self) -> bool {
        let refusals = [Errno::PERM, Errno::ACCESS, Errno::NOSPC, Errno::INVAL, Errno::NOSYS, Errno::USERS];
        let refused = refusals.iter().any(|errno| self.errno == Some(errno.raw_os_error()));
        refused && matches!(self.step, Step::Namespaces | Step::Network | Step::Mounts)
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        if !self.is_forbidden() {
            return None;
        }
        let set = |forbids: &&Forbids| {
            let path = format!("/proc/sys/{}", forbids.key.replace('.', "/"));
            fs::read_to_string(path).is_ok_and(|value| value.trim() == forbids.value)
        };
        let found: Vec<String> = FORBIDS
            .iter()
            .filter(set)
            .map(|Forbids { key, value, allows }| {
                format!("{key} is {value}: as root, sysctl -w {key}={allows}")
            })
            .collect();
        if !found.is_empty() {
            return Some(found.join("; "));
        }
        let unset = match self.step {
            // There are namespaces by then.
            Step::Mounts => {
                "the runtime of a container may forbid mounts, and a /proc of which it masks a part forbids a fresh one \
                 (Docker: --security-opt systempaths=unconfined)"
            }
            _ => {
                "the kernel gives this user no namespaces of its own; in a chroot it gives nobody any, and in a container \
                 its runtime may forbid them"
            }
        };
        Some(unset.to_owned())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Streams => "the command could leave the jail",
            Step::Namespaces => "can't make the namespaces of a jail",
            Step::Network => "can't make the network of the jail",
            Step::Mounts => "can't mask what leads out of the jail",
            Step::Nowhere => "the working directory has no path, enter another",
            Step::Directory if self.errno == Some(Errno::ACCESS.raw_os_error()) => {
                "the working directory is closed to this user, enter another"
            }
            Step::Directory => "the working directory is masked in the jail, --share it",
            Step::Doors => "can't open the doors of the jail",
            Step::Privileges => "can't give up what the command must not have",
            Step::Command => "can't start the command",
            Step::Channel => "can't speak with the jail",
        };
        write!(f, "{step}: {}", self.error)
    }
}

impl std::error::Error for Fault {}
