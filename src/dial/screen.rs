//! Which addresses may be dialled for a flow.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::dial::{Dialer, Failed, Reached, Through, Upstream, Won};
use crate::error::Error;
use crate::policy::outgoing::Outgoing;
use crate::policy::{Admission, Verdict};
use crate::race::{Says, Setback};
use crate::reason::Reason;
use crate::stream::Stream;
use crate::sys;

/// An address that may be dialled for a flow. Only the screen makes one, and nothing else is raced for a flow.
pub(super) struct Screened<'a> {
    address: SocketAddr,
    /// The verdict on it.
    verdict: Verdict<'a>,
    /// How the connection leaves this host.
    outgoing: Option<Arc<Outgoing>>,
}

impl<'a> Screened<'a> {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn outgoing(&self) -> Option<&Arc<Outgoing>> {
        self.outgoing.as_ref()
    }

    /// A connection to it stands, which goes that way.
    pub(super) fn won(self, stream: Stream, through: Option<Through>) -> Won<'a> {
        let reached = Reached { address: Some(self.address), through, outgoing: self.outgoing };
        Won { upstream: Upstream::new(stream, reached), verdict: self.verdict }
    }
}

impl Dialer {
    /// Whether one address may be dialled: by the policy, and lest exeat proxies to itself.
    pub(super) fn screen<'a>(
        &self,
        admission: &Admission<'a>,
        address: SocketAddr,
    ) -> Result<Screened<'a>, Setback<Failed<'a>>> {
        let verdict = admission.accepts(address.ip());
        if !verdict.is_allow() {
            let error = match verdict.special {
                Some(special) if verdict.reason == Reason::AddressProhibited => {
                    Error::AddressProhibited { address: address.ip(), what: special.what() }
                }
                _ => Error::Denied(verdict.reason),
            };
            return Err(Setback::new(Says::Forbidden, Failed { error, rule: verdict.rule }));
        }
        self.screen_own(address)?;
        Ok(Screened { address, verdict, outgoing: self.outgoing(&verdict).cloned() })
    }

    /// Lest exeat proxies to itself.
    pub(super) fn screen_own<E: From<Error>>(&self, address: SocketAddr) -> Result<(), Setback<E>> {
        match self.is_own(address) {
            true => Err(Setback::new(Says::Forbidden, Error::SelfConnect(address).into())),
            false => Ok(()),
        }
    }

    /// Whether a connection to this address would come out at exeat itself. A listener's port on another
    /// address of this host counts too: redirection and listeners on every address make one of the other.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        // The port comes first, as the rest costs system calls.
        self.own_ports.binary_search(&address.port()).is_ok() && sys::is_local(address.ip())
    }
}
