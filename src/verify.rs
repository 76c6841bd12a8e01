//! Proof, from where it stands, that nothing gets out but what exeat lets out.
//!
//! A connection that the firewall redirects to exeat always succeeds, so a probe is judged by the bytes that
//! come back. And silence alone proves nothing: each probe has a control, which has to succeed by the same
//! means, or the probe is [unproven](Outcome::Unproven).

mod dns;
mod hello;
mod icmp;
mod plan;
mod tcp;
mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::host::Name;

pub use plan::run;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// A name that the policy allows, with its port: it must work.
    pub allowed: Option<(Name, u16)>,
    /// A name that exists and that the policy does not allow.
    pub unlisted: Name,
    /// Servers on the internet that would answer.
    pub probes: Vec<SocketAddr>,
    /// For each step of each probe.
    pub patience: Duration,
}

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried.
    pub probe: String,
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
    /// What had to succeed for silence to mean something, and how it went.
    pub control: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The allowed name answers.
    Works,
    /// Nothing came back from outside.
    Blocked,
    /// Something did.
    GotOut,
    /// Nothing came back, but nothing would have come back anyway.
    Unproven,
    /// The allowed name does not answer.
    Broken,
}

impl Outcome {
    /// Whether enforcement is as it should be, as far as this goes.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Works | Self::Blocked)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Blocked => "blocked",
            Self::GotOut => "GOT OUT",
            Self::Unproven => "unproven",
            Self::Broken => "BROKEN",
        }
    }
}

/// What one attempt saw.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// An answer from outside.
    Answer(String),
    /// No answer, or one of exeat's own.
    Nothing(String),
    /// There is no way at all: no route, no such family, no permission.
    NoWay(String),
}

impl Seen {
    /// What an error says of a way out.
    fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, Unsupported};
        let unsupported = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
        match error.kind() {
            NetworkUnreachable | AddrNotAvailable | Unsupported => {
                Self::NoWay(format!("no way there: {error}"))
            }
            _ if unsupported => Self::NoWay(format!("no way there: {error}")),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                Self::Nothing("silence".to_owned())
            }
            _ => Self::Nothing(error.to_string()),
        }
    }
}

/// Loopback of an address's family, where controls are made.
fn loopback(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}
