//! A timer that each step of a flow sets anew.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// How late a step may get, for one step of a flow after the other. To make a timer takes the runtime's lock and a place
/// in its wheel, and so does to drop it. Here one is made when the first step has to wait, and as nearly every step may
/// end later than the one before it, it is left as it is: if it ever rings, it is set for what is left.
#[derive(Debug, Default)]
pub struct Alarm(Option<Timer>);

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// The task that it wakes, once it was asked to.
    wakes: Option<Waker>,
}

impl Alarm {
    /// What comes of a step before that time; `None`: it is late.
    pub async fn before<T>(&mut self, time: Instant, mut step: impl Future<Output = T> + Unpin) -> Option<T> {
        poll_fn(|cx| match Pin::new(&mut step).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(time, cx).map(|()| None),
        })
        .await
    }

    /// Ready from that time on.
    pub fn poll(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let make = || Timer { sleep: Box::pin(sleep_until(time)), wakes: None };
        self.0.get_or_insert_with(make).poll(time, cx)
    }
}

impl Timer {
    fn poll(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.deadline() > time {
            self.sleep.as_mut().reset(time);
        } else if self.is_set_for(cx.waker()) {
            return Poll::Pending;
        }
        ready!(self.poll_sleep(cx));
        if self.sleep.deadline() < time {
            self.sleep.as_mut().reset(time);
            ready!(self.poll_sleep(cx));
        }
        Poll::Ready(())
    }

    /// Whether it is yet to ring, and wakes this task then: to say so anew each time something else has woken the task
    /// would cost more than all else that an alarm does.
    fn is_set_for(&self, waker: &Waker) -> bool {
        !self.sleep.is_elapsed() && self.wakes.as_ref().is_some_and(|wakes| wakes.will_wake(waker))
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // However long the task's turn has been: where tokio ends a turn, it does not set the timer.
        let rung = Pin::new(&mut unconstrained(self.sleep.as_mut())).poll(cx);
        self.wakes = rung.is_pending().then(|| cx.waker().clone());
        rung
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_step_has_its_own_time() {
        let mut alarm = Alarm::default();
        let begun = Instant::now();
        for (seconds, late) in [(10, 10), (30, 30), (20, 30), (40, 40), (35, 40)] {
            let time = begun + Duration::from_secs(seconds);
            assert_eq!(alarm.before(time, ready(7)).await, Some(7));
            assert_eq!(alarm.before(time, pending::<()>()).await, None);
            assert_eq!(begun.elapsed().as_secs(), late, "until {seconds}");
        }
        let (soon, later) = (Duration::from_secs(1), Instant::now() + Duration::from_secs(9));
        assert_eq!(alarm.before(later, pin!(sleep(soon))).await, Some(()));
        assert_eq!(alarm.before(later - soon, pending::<()>()).await, None);
        assert_eq!(Instant::now(), later - soon);
    }
}
