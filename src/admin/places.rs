//! The places of the admin door: when all are taken, whoever has asked for nothing for longest makes room.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::lock::lock;

/// Connections at a time; a Prometheus server needs one.
const PLACES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// `PLACES` at most.
    by: Vec<Guest>,
}

/// A connection that has a place.
#[derive(Debug)]
struct Guest {
    id: u64,
    /// When it came, or asked last.
    since: Instant,
    /// Dropped to make it leave.
    _stay: oneshot::Sender<()>,
}

/// A place, until it is dropped or somebody else needs it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    id: u64,
    stay: oneshot::Receiver<()>,
}

impl Places {
    /// Takes a place, and another's if there is none left. So nobody can hold the door shut: a probe comes in whoever
    /// has connected before it, and has to wait for none of them.
    pub(super) fn take(&self) -> Place<'_> {
        let (sender, stay) = oneshot::channel();
        let mut taken = self.taken();
        if taken.by.len() >= PLACES
            && let Some((longest, _)) = taken.by.iter().enumerate().min_by_key(|(_, guest)| guest.since)
        {
            taken.by.swap_remove(longest);
        }
        let id = taken.next;
        taken.next += 1;
        taken.by.push(Guest { id, since: Instant::now(), _stay: sender });
        Place { places: self, id, stay }
    }

    /// Whoever has this place asks for something.
    pub(super) fn asks(&self, id: u64) {
        if let Some(guest) = self.taken().by.iter_mut().find(|guest| guest.id == id) {
            guest.since = Instant::now();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        lock(&self.0)
    }
}

impl Place<'_> {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Resolves once somebody else has the place.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.stay).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.taken().by.retain(|guest| guest.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_asked_last_stays_longest() {
        let places = Places::default();
        let mut all = Vec::new();
        for _ in 0..PLACES {
            all.push(places.take());
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        places.asks(all[0].id());
        let newest = places.take();
        assert_eq!(places.taken().by.len(), PLACES);
        all[1].lost().await;
        assert!(futures_util::poll!(std::pin::pin!(all[0].lost())).is_pending());
        drop(newest);
        assert_eq!(places.taken().by.len(), PLACES - 1);
        drop(all);
        assert!(places.taken().by.is_empty());
    }
}
