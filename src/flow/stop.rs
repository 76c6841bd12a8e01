//! Tells an open flow to end before its peers do.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::error::Error;
use crate::flow::Flow;

/// Why an open flow has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A new policy denies it.
    Revoked,
    /// exeat is stopping and the time to drain is over.
    Draining,
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Revoked => Self::Revoked,
            Stop::Draining => Self::Draining,
        }
    }
}

/// A switch that is thrown once: 32 bytes, no task and no timer, for flows are many and stops are rare.
#[derive(Debug, Default)]
pub(super) struct Switch {
    state: AtomicU8,
    waker: AtomicWaker,
}

const OPEN: u8 = 0;
const REVOKED: u8 = 1;
const DRAINING: u8 = 2;

impl Switch {
    /// Throws the switch; the first reason stays.
    pub(super) fn throw(&self, stop: Stop) -> bool {
        let state = match stop {
            Stop::Revoked => REVOKED,
            Stop::Draining => DRAINING,
        };
        let thrown = self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if thrown {
            self.waker.wake();
        }
        thrown
    }

    pub(super) fn thrown(&self) -> Option<Stop> {
        match self.state.load(Ordering::Acquire) {
            REVOKED => Some(Stop::Revoked),
            DRAINING => Some(Stop::Draining),
            _ => None,
        }
    }
}

impl Flow {
    /// Resolves when the flow has to end before its peers end it.
    pub fn stopped(&self) -> Stopped<'_> {
        Stopped(&self.open.switch)
    }

    /// What comes of a step, unless the flow has to end before it is done. A step that need not wait need not be called
    /// back either: only before a wait it costs more than a look.
    pub async fn unless_stopped<T>(&self, step: impl Future<Output = T>) -> Result<T, Stop> {
        let mut step = pin!(step);
        poll_fn(|context| {
            if let Some(stop) = self.open.switch.thrown() {
                return Poll::Ready(Err(stop));
            }
            match step.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Ok(done)),
                Poll::Pending => Pin::new(&mut self.stopped()).poll(context).map(Err),
            }
        })
        .await
    }
}

/// Resolves when the flow has to end. One task waits at a time: the flow's own.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Stopped<'a>(pub(super) &'a Switch);

impl Future for Stopped<'_> {
    type Output = Stop;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Stop> {
        if let Some(stop) = self.0.thrown() {
            return Poll::Ready(stop);
        }
        self.0.waker.register(context.waker());
        // The switch may have been thrown before the waker was in place.
        self.0.thrown().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_that_waited_last_is_woken() {
        let (switch, one, other) = (Switch::default(), Arc::<Task>::default(), Arc::<Task>::default());
        for task in [&one, &one, &other, &one, &other, &other] {
            let waker = Waker::from(Arc::clone(task));
            assert!(Pin::new(&mut Stopped(&switch)).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(switch.throw(Stop::Revoked));
        assert!(other.0.load(Ordering::Relaxed) && !one.0.load(Ordering::Relaxed));
    }
}
