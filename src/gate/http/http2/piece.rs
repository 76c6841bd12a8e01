//! The parts of an answer that wait on a stream for a client to take them: few, however small they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;

/// So many wait at a time, as many as hyper lets wait. The h2 crate bounds their bytes alone, but of a single byte it keeps a
/// frame, and the whole buffer that it was read into.
const MOST: usize = 16;

/// Some bytes, counted from when they are made until they have left or are given up.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    waiting: Arc<Waiting>,
}

/// How many pieces of one stream wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    count: AtomicUsize,
    /// Who has the next one.
    sender: AtomicWaker,
}

impl Waiting {
    /// Ready while another piece may wait.
    pub(super) fn poll_place(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_place() {
            return Poll::Ready(());
        }
        self.sender.register(cx.waker());
        // One may have left before the waker was in place.
        if self.has_place() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn piece(self: &Arc<Self>, bytes: Bytes) -> Piece {
        self.count.fetch_add(1, Ordering::Relaxed);
        Piece { bytes, waiting: Arc::clone(self) }
    }

    fn has_place(&self) -> bool {
        self.count.load(Ordering::Acquire) < MOST
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.waiting.count.fetch_sub(1, Ordering::Release);
        self.waiting.sender.wake();
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Sender(AtomicBool);

    impl Wake for Sender {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_has_one_too_many_is_told_when_one_has_left() {
        let (waiting, sender) = (Arc::<Waiting>::default(), Arc::<Sender>::default());
        let waker = Waker::from(Arc::clone(&sender));
        let cx = &mut Context::from_waker(&waker);
        let mut pieces = Vec::new();
        for _ in 0..MOST {
            assert!(waiting.poll_place(cx).is_ready());
            pieces.push(waiting.piece(Bytes::from_static(b"7")));
        }
        assert!(waiting.poll_place(cx).is_pending());
        assert!(!sender.0.load(Ordering::Relaxed));
        pieces.pop();
        assert!(sender.0.load(Ordering::Relaxed));
        assert!(waiting.poll_place(cx).is_ready());
    }
}
