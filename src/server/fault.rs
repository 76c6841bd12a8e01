//! Why exeat did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mistake::Mistake;
use crate::resolve;

/// Why exeat did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the policy has mistakes")]
    Policy(Vec<Mistake>),
    #[error("can't start threads: {0}")]
    Threads(io::Error),
    #[error(
        "there may be {limit} open files, and one flow needs {needed}: raise the limit (ulimit -n), or have fewer threads"
    )]
    Files { limit: usize, needed: usize },
    #[error("the settings of parent proxies have mistakes")]
    Parents(Vec<Mistake>),
    #[error("the users, the keys or the settings for them have mistakes")]
    Users(Vec<Mistake>),
    #[error("the certificates have mistakes")]
    Tls(Vec<Mistake>),
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("can't use the sockets of the jail: {0}")]
    Doors(#[from] io::Error),
    #[error("can't open the audit file {}: {}", .0.display(), .1)]
    Audit(PathBuf, io::Error),
    #[error("names can't be resolved: {0}")]
    Resolve(#[from] resolve::Fault),
    #[error("the metrics can't be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    /// The mistakes in files that are the reason, if they are.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Policy(mistakes)
            | Self::Parents(mistakes)
            | Self::Users(mistakes)
            | Self::Tls(mistakes) => mistakes,
            Self::Threads(_)
            | Self::Files { .. }
            | Self::Listen(..)
            | Self::Doors(_)
            | Self::Audit(..)
            | Self::Resolve(_)
            | Self::Metrics(_) => &[],
        }
    }

    /// Whether a file is bad. Where names lead is said by files alone: by the hosts file, `resolv.conf`, the
    /// authorities of DNS servers, and by the settings.
    pub fn is_bad_file(&self) -> bool {
        matches!(self, Self::Resolve(_)) || !self.mistakes().is_empty()
    }
}
