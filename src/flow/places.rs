//! The limits on open flows: in all, and for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::client::network;
use crate::error::Error;
use crate::lock::lock;

/// Limits on open flows; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub flows: usize,
    pub flows_per_client: usize,
}

#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    taken: AtomicUsize,
    /// Places taken by each client that has any; kept only if there is a limit.
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: AtomicUsize::new(0), clients: Mutex::default() }
    }

    /// Takes a place. The client's own limit is asked first: it says more about what to do.
    pub(super) fn take(&self, client: IpAddr) -> Result<(), Error> {
        if !self.take_from_client(client) {
            return Err(Error::LimitClient);
        }
        let limit = if self.limits.flows == 0 { usize::MAX } else { self.limits.flows };
        let take = |taken: usize| (taken < limit).then_some(taken + 1);
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
        if self.limits.flows_per_client == 0 {
            return true;
        }
        let mut clients = self.clients();
        let taken = clients.entry(network(client)).or_default();
        if *taken >= self.limits.flows_per_client {
            return false;
        }
        *taken += 1;
        true
    }

    fn give_to_client(&self, client: IpAddr) {
        if self.limits.flows_per_client == 0 {
            return;
        }
        let (mut clients, client) = (self.clients(), network(client));
        if let Some(taken) = clients.get_mut(&client) {
            *taken -= 1;
            if *taken == 0 {
                clients.remove(&client);
            }
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        lock(&self.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn places_are_limited_in_all_and_for_each_client() {
        let places = Places::new(Limits { flows: 3, flows_per_client: 2 });
        assert!(places.take(A).is_ok() && places.take(A).is_ok());
        assert!(matches!(places.take(A), Err(Error::LimitClient)));
        assert!(places.take(B).is_ok());
        assert!(matches!(places.take(B), Err(Error::LimitFlows)));
        places.release(A);
        assert!(places.take(B).is_ok(), "a place that was refused was not counted against the client");
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_client() {
        let places = Places::new(Limits { flows: 0, flows_per_client: 2 });
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(places.take(address("2001:db8::1")).is_ok() && places.take(address("2001:db8::2")).is_ok());
        assert!(matches!(places.take(address("2001:db8::3")), Err(Error::LimitClient)));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
        places.release(address("2001:db8::1"));
        assert!(places.take(address("2001:db8::3")).is_ok());
    }

    #[test]
    fn no_limit_means_none_and_no_client_is_remembered() {
        let places = Places::new(Limits::default());
        (0..1000).for_each(|_| assert!(places.take(A).is_ok()));
        assert!(places.clients().is_empty());
        let places = Places::new(Limits { flows: 0, flows_per_client: 5 });
        assert!(places.take(A).is_ok());
        places.release(A);
        assert!(places.clients().is_empty());
    }
}
