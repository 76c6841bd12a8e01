//! The open flows: found, added and removed at the same cost whatever their number.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::flow::open::Open;
use crate::lock::lock;

/// Locks among which the flows are spread.
const SHARDS: usize = 32;
/// Flows that a walk takes at a time: the lock is held for as many reference counts.
const STEP: usize = 256;

#[derive(Debug)]
pub(super) struct Registry {
    shards: Box<[Shard]>,
}

/// On a cache line of its own, lest neighbours wait for each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Slots>);

/// A vector whose entries never move, so that a walk may pause at an index.
#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    /// The first free slot, or the length.
    free: usize,
    open: usize,
}

#[derive(Debug)]
enum Slot {
    Open(Arc<Open>),
    /// The next free slot.
    Free(usize),
}

/// Where a flow stands in the registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    shard: u32,
    slot: u32,
}

/// Where a walk stands. Flows that begin meanwhile may be missed, those that end are.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    shard: usize,
    slot: usize,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    pub(super) fn insert(&self, flow: Arc<Open>) -> Key {
        // Ids are consecutive: each shard has its turn.
        let shard = flow.id.0 as usize % SHARDS;
        let mut slots = self.shards[shard].lock();
        let slot = slots.free;
        if let Some(free) = slots.slots.get_mut(slot) {
            if let Slot::Free(next) = std::mem::replace(free, Slot::Open(flow)) {
                slots.free = next;
            }
        } else {
            slots.slots.push(Slot::Open(flow));
            slots.free = slots.slots.len();
        }
        slots.open += 1;
        Key { shard: shard as u32, slot: slot as u32 }
    }

    pub(super) fn remove(&self, key: Key) {
        let mut slots = self.shards[key.shard as usize].lock();
        let free = Slot::Free(slots.free);
        if let Some(slot) = slots.slots.get_mut(key.slot as usize) {
            *slot = free;
            slots.free = key.slot as usize;
            slots.open -= 1;
        }
    }

    pub(super) fn open(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().open).sum()
    }

    /// Visits every flow, with no lock held meanwhile.
    pub(super) fn each(&self, mut visit: impl FnMut(&Open)) {
        let (mut cursor, mut step) = (Cursor::default(), Vec::new());
        while self.step(&mut cursor, &mut step) {
            step.iter().for_each(|open| visit(open));
        }
    }

    /// Puts the next flows of a walk into `step`; false at the end of the walk. No lock is held when it returns.
    pub(super) fn step(&self, cursor: &mut Cursor, step: &mut Vec<Arc<Open>>) -> bool {
        step.clear();
        let Some(shard) = self.shards.get(cursor.shard) else { return false };
        let slots = shard.lock();
        let end = slots.slots.len().min(cursor.slot + STEP);
        let flows = slots.slots.get(cursor.slot..end).unwrap_or_default();
        step.extend(flows.iter().filter_map(|slot| match slot {
            Slot::Open(flow) => Some(Arc::clone(flow)),
            Slot::Free(_) => None,
        }));
        *cursor = if end < slots.slots.len() {
            Cursor { shard: cursor.shard, slot: end }
        } else {
            Cursor { shard: cursor.shard + 1, slot: 0 }
        };
        true
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::ingress::Ingress;
    use crate::record::{Ids, Record};

    fn flow(ids: &Ids) -> Arc<Open> {
        let client = Client::new(([10, 0, 0, 1], 4000).into(), [10, 0, 0, 2].into());
        Arc::new(Open::new(Box::new(Record::new(ids.next(), Ingress::Connect, client)), 0))
    }

    fn walked(registry: &Registry) -> usize {
        let mut seen = 0;
        registry.each(|_| seen += 1);
        seen
    }

    #[test]
    fn a_walk_sees_every_open_flow_once_and_slots_are_used_again() {
        let (registry, ids) = (Registry::new(), Ids::new());
        let keys: Vec<Key> = (0..20_000).map(|_| registry.insert(flow(&ids))).collect();
        assert_eq!((registry.open(), walked(&registry)), (20_000, 20_000));
        for &key in &keys[..SHARDS * 300] {
            registry.remove(key);
        }
        assert_eq!((registry.open(), walked(&registry)), (10_400, 10_400));
        for _ in 0..SHARDS * 300 {
            registry.insert(flow(&ids));
        }
        assert_eq!((registry.open(), walked(&registry)), (20_000, 20_000));
        let slots: usize = registry.shards.iter().map(|shard| shard.lock().slots.len()).sum();
        assert_eq!(slots, 20_000);
    }

    #[test]
    fn flows_that_end_during_a_walk_do_not_hide_others() {
        let (registry, ids) = (Registry::new(), Ids::new());
        let keys: Vec<Key> = (0..SHARDS * STEP * 3).map(|_| registry.insert(flow(&ids))).collect();
        let (mut cursor, mut step, mut seen) = (Cursor::default(), Vec::new(), 0);
        while registry.step(&mut cursor, &mut step) {
            seen += step.len();
            for &key in keys.iter().filter(|key| seen == STEP && key.slot % 2 == 0) {
                registry.remove(key);
            }
        }
        assert!(seen >= SHARDS * STEP * 3 / 2, "{seen}");
    }
}
