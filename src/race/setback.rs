//! Why an address did not do, and how much that says.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;

use crate::error::Error;

/// Why an address did not do.
#[derive(Debug)]
pub(crate) struct Setback<E> {
    pub(super) error: E,
    pub(super) says: Says,
}

/// What an error says. Of several the one that says most is told: what an upstream answered says more than why an address
/// was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    /// That there are no addresses, or no more.
    NoAddress,
    /// That this one can't be reached by the way that was to be taken.
    NotThisWay,
    /// That this one may not be dialled.
    Forbidden,
    /// That this host has no way there, as without IPv6.
    NoWay,
    /// That nobody listens there.
    Closed,
    /// Anything else that an upstream, or what is on the way there, has to tell.
    Failed,
    /// That no other address is to be tried.
    All,
}

impl<E> Setback<E> {
    pub(crate) fn new(says: Says, error: E) -> Self {
        Self { error, says }
    }

    /// Whether it is this one that is told of both. That an address may not be dialled is told of the first.
    pub(super) fn says_more_than(&self, before: &Self) -> bool {
        self.says > before.says || (self.says == before.says && self.says != Says::Forbidden)
    }
}

impl<E: From<Error>> Setback<E> {
    /// The address could not be connected to.
    pub(crate) fn connecting(address: SocketAddr, error: io::Error) -> Self {
        let says = match Errno::from_io_error(&error) {
            Some(Errno::NETUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Says::NoWay,
            Some(Errno::CONNREFUSED) => Says::Closed,
            _ => Says::Failed,
        };
        let error = match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::DialRefused(address),
            io::ErrorKind::TimedOut => Error::DialTimeout,
            _ => Error::DialFailed(address, error),
        };
        Self::new(says, error.into())
    }
}
