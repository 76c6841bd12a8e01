//! The limits on open flows: in all, and for each client.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::Counts;
use crate::destination::Destination;
use crate::error::Error;
use crate::flow::Flow;
use crate::flow::open::Facts;
use crate::policy::Seen;

/// Limits on open flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all. There always is one, since there are only so many file descriptors.
    pub flows: usize,
    /// Of one client; `None`: no limit of its own.
    pub flows_per_client: Option<NonZeroUsize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: usize::MAX, flows_per_client: None }
    }
}

#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    taken: AtomicUsize,
    /// Places taken by each client that has any; kept only if there is a limit.
    clients: Counts,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: AtomicUsize::new(0), clients: Counts::default() }
    }

    /// Takes a place. The client's own limit is asked first: it says more about what to do.
    pub(super) fn take(&self, client: IpAddr) -> Result<(), Error> {
        if !self.take_from_client(client) {
            return Err(Error::LimitClientFlows);
        }
        let take = |taken: usize| (taken < self.limits.flows).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.give_to_client(client);
            return Err(Error::LimitFlows);
        }
        Ok(())
    }

    pub(super) fn release(&self, client: IpAddr) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.give_to_client(client);
    }

    fn take_from_client(&self, client: IpAddr) -> bool {
        self.limits.flows_per_client.is_none_or(|limit| self.clients.add(client, limit).is_some())
    }

    fn give_to_client(&self, client: IpAddr) {
        if self.limits.flows_per_client.is_some() {
            self.clients.remove(client);
        }
    }
}

impl Flow {
    /// Takes one of the places for open flows, held until the flow ends. Asked once the head is read,
    /// so that a refusal can be answered.
    pub fn take_permit(&self) -> Result<(), Error> {
        self.open.facts(|facts| self.take_place(facts)).unwrap_or(Ok(()))
    }

    /// The same, told at once with what the client asks for.
    pub fn take_permit_for(&self, to: &Destination, seen: Seen<'_>) -> Result<(), Error> {
        let taken = self.open.facts(|facts| {
            facts.record.to = Some(to.clone());
            facts.record.inside = seen.into();
            self.take_place(facts)
        });
        taken.unwrap_or(Ok(()))
    }

    fn take_place(&self, facts: &mut Facts) -> Result<(), Error> {
        if self.ledger.sink().refuses() {
            return Err(Error::AuditUnavailable);
        }
        if !facts.permit {
            self.ledger.places().take(facts.record.client.ip())?;
            facts.permit = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn places_are_limited_in_all_and_for_each_client() {
        let places = Places::new(Limits { flows: 3, flows_per_client: NonZeroUsize::new(2) });
        assert!(places.take(A).is_ok() && places.take(A).is_ok());
        assert!(matches!(places.take(A), Err(Error::LimitClientFlows)));
        assert!(places.take(B).is_ok());
        assert!(matches!(places.take(B), Err(Error::LimitFlows)));
        places.release(A);
        assert!(places.take(B).is_ok(), "a place that was refused was not counted against the client");
    }

    #[test]
    fn no_limit_means_none() {
        let places = Places::new(Limits::default());
        (0..1000).for_each(|_| assert!(places.take(A).is_ok()));
    }
}
