//! The limits on open flows: in all, and for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

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
        let taken = clients.entry(client).or_default();
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
        let mut clients = self.clients();
        if let Some(taken) = clients.get_mut(&client) {
            *taken -= 1;
            if *taken == 0 {
                clients.remove(&client);
            }
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
