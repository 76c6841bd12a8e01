//! Proof, from where it stands, that nothing gets out but what exeat lets out.
//!
//! A connection that the firewall redirects to exeat always succeeds, so a probe is judged by the bytes that
//! come back. And silence alone proves nothing: each probe has a control, which has to succeed by the same
//! means, or the probe is [unproven](Outcome::Unproven). So it is where somebody refuses: a firewall here may have done
//! it, but so may a host out there, and that was reached.

mod dns;
mod hello;
mod icmp;
mod plan;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
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
    /// Nothing came back, but nothing would have come back anyway; or somebody refused, who may be outside.
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
    /// An end, by a firewall here or by somebody who was reached.
    Ended(String),
    /// There is no way at all: no route, no such family, no permission.
    NoWay(String),
}

impl Seen {
    /// What an error says of a way out to this address.
    fn of(error: &io::Error, to: IpAddr) -> Self {
        use io::ErrorKind::{ConnectionRefused, TimedOut, UnexpectedEof, WouldBlock};
        match (Errno::from_io_error(error), error.kind()) {
            (Some(Errno::NETUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT), _) if !has_route(to) => {
                Self::NoWay(format!("no way there: {error}"))
            }
            (Some(Errno::NETUNREACH), _) => Self::Ended(error.to_string()),
            (_, ConnectionRefused | UnexpectedEof) => Self::Ended(error.to_string()),
            (_, WouldBlock | TimedOut) => Self::Nothing("silence".to_owned()),
            _ => Self::Nothing(error.to_string()),
        }
    }
}

/// Whether this host would send anything to an address. What is unreachable all the same, a router says so.
fn has_route(to: IpAddr) -> bool {
    // It looks the route up, and sends nothing.
    UdpSocket::bind((any(to), 0)).and_then(|socket| socket.connect((to, 9))).is_ok()
}

/// The unspecified address of an address's family.
fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Loopback of an address's family, where controls are made.
fn loopback(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_refuses_or_is_a_router_may_have_been_reached() {
        let (here, linked) = (Ipv4Addr::LOCALHOST.into(), "fe80::1".parse().unwrap());
        let ended = |error: &io::Error| Seen::Ended(error.to_string());
        let nothing = |error: &io::Error| Seen::Nothing(error.to_string());
        let silence = |_: &io::Error| Seen::Nothing("silence".to_owned());
        let no_way = |error: &io::Error| Seen::NoWay(format!("no way there: {error}"));
        for (to, errno, seen) in [
            (here, Errno::CONNREFUSED, &ended as &dyn Fn(&io::Error) -> Seen),
            (here, Errno::NETUNREACH, &ended),
            (linked, Errno::NETUNREACH, &no_way),
            (linked, Errno::AFNOSUPPORT, &no_way),
            // As the lockdown refuses what it does not redirect, and exeat what no rule is for.
            (here, Errno::HOSTUNREACH, &nothing),
            (here, Errno::PERM, &nothing),
            (here, Errno::CONNRESET, &nothing),
            (here, Errno::TIMEDOUT, &silence),
            (here, Errno::AGAIN, &silence),
        ] {
            let error = io::Error::from(errno);
            assert_eq!(Seen::of(&error, to), seen(&error), "{to}: {errno}");
        }
    }
}
