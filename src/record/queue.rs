//! The bounded queue between the flows and the thread that writes their records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::lock::lock;
use crate::reason::Reason;
use crate::record::Record;

/// Records that may wait before the sink counts as stalled: at 20,000 flows a second, more than a second's worth.
const QUEUE: usize = 32_768;
/// Records gather this long before they are written together: a system call and a wake-up for each
/// would cost more than the records.
const GATHER: Duration = Duration::from_millis(10);

/// Records on their way, as their flows had them: a copy of one is 300 bytes.
#[allow(clippy::vec_box, reason = "what is pushed is in a box already")]
pub(super) type Records = Vec<Box<Record>>;

/// What the flows and the writing thread share.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the last write failed.
    failing: AtomicBool,
    /// Whether the queue is past [`QUEUE`].
    full: AtomicBool,
    /// With `reserve`, how many records fit in all.
    capacity: usize,
    lost: IntCounter,
}

#[derive(Debug, Default)]
struct State {
    records: Records,
    /// The writer waits for the first record, and needs a wake-up when it comes.
    idle: bool,
    reopen: bool,
    closing: bool,
    closed: bool,
}

/// What the writing thread has to do next.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) records: Records,
    pub(super) reopen: bool,
    pub(super) closing: bool,
}

impl Queue {
    /// A queue with room for the records of a stall, and `reserve` more.
    pub(super) fn new(reserve: usize, lost: IntCounter) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            capacity: QUEUE.saturating_add(reserve),
            lost,
        }
    }

    /// Has the writer open its file anew.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_all();
    }

    /// Has the writer end once it has written what is left.
    pub(super) fn start_closing(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    pub(super) fn push(&self, record: Box<Record>) {
        let mut state = self.lock();
        // What a stalled sink refuses must not take the room of the flows that are open.
        let refusal = record.reason == Some(Reason::AuditUnavailable);
        let room = if refusal { QUEUE } else { self.capacity };
        if state.closed || state.records.len() >= room {
            drop(state);
            self.full.store(true, Ordering::Relaxed);
            self.lost.inc();
            return;
        }
        state.records.push(record);
        if state.records.len() >= QUEUE {
            self.full.store(true, Ordering::Relaxed);
        }
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    pub(super) fn stalled(&self) -> bool {
        self.failing.load(Ordering::Relaxed) || self.full.load(Ordering::Relaxed)
    }

    /// Waits for work. `batch` is an emptied buffer, given back to be filled.
    pub(super) fn next(&self, batch: Records) -> Work {
        let mut state = self.lock();
        while state.records.is_empty() && !state.reopen && !state.closing {
            state.idle = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        if !state.reopen && !state.closing {
            let gathered =
                self.changed.wait_timeout_while(state, GATHER, |state| !state.reopen && !state.closing);
            state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.full.store(false, Ordering::Relaxed);
        Work {
            records: std::mem::replace(&mut state.records, batch),
            reopen: std::mem::take(&mut state.reopen),
            closing: state.closing,
        }
    }

    /// Waits until a failed write is worth another try: after a while, or when told to reopen or close.
    pub(super) fn pause(&self, pause: Duration) -> Work {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, pause, |state| !state.reopen && !state.closing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        Work { records: Vec::new(), reopen: std::mem::take(&mut state.reopen), closing: state.closing }
    }

    pub(super) fn failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// How many records were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Ends the queue: `unwritten` records that were taken, and those that still wait, are lost.
    pub(super) fn end(&self, unwritten: usize) {
        let mut state = self.lock();
        self.lost.inc_by((unwritten + state.records.len()) as u64);
        state.records = Vec::new();
        state.closed = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the writer came to its end in time.
    pub(super) fn close(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.closing = true;
        self.changed.notify_all();
        let patience = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(state, patience, |state| !state.closed);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.closed {
            return true;
        }
        // The thread hangs in a write. What waits behind it is lost.
        self.lost.inc_by(state.records.len() as u64);
        state.records = Vec::new();
        state.closed = true;
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::ingress::Ingress;
    use crate::record::Ids;

    fn queue(reserve: usize) -> Queue {
        Queue::new(reserve, IntCounter::new("lost", "lost").unwrap())
    }

    fn record(reason: Reason) -> Box<Record> {
        let client = Client::new(([10, 0, 0, 1], 4000).into(), [10, 0, 0, 2].into());
        let mut record = Record::new(Ids::new().next(), Ingress::Connect, client);
        record.reason = Some(reason);
        Box::new(record)
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_sink_recovers() {
        let queue = queue(0);
        (0..QUEUE).for_each(|_| queue.push(record(Reason::Allowed)));
        assert!(queue.stalled() && queue.lost.get() == 0);
        (0..3).for_each(|_| queue.push(record(Reason::Allowed)));
        assert_eq!(queue.lost.get(), 3);
        assert_eq!(queue.next(Vec::new()).records.len(), QUEUE);
        assert!(!queue.stalled());
    }

    #[test]
    fn refusals_leave_the_reserve_to_the_flows_that_are_open() {
        let queue = queue(2);
        (0..QUEUE).for_each(|_| queue.push(record(Reason::Allowed)));
        queue.push(record(Reason::AuditUnavailable));
        assert_eq!(queue.lost.get(), 1);
        queue.push(record(Reason::Allowed));
        queue.push(record(Reason::Allowed));
        assert_eq!(queue.lost.get(), 1);
        queue.push(record(Reason::Allowed));
        assert_eq!(queue.lost.get(), 2);
    }

    #[test]
    fn a_writer_that_hangs_does_not_hold_up_the_end() {
        let queue = queue(0);
        queue.push(record(Reason::Allowed));
        assert!(!queue.close(Instant::now()));
        queue.push(record(Reason::Allowed));
        assert_eq!(queue.lost.get(), 2);
    }
}
