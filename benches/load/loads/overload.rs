//! Tunnels that come at a rate of their own, as those of many clients do: who can't take them, refuses them.
//!
//! The time of a step counts from when it was due, so that a proxy that stands still is seen to.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::connection::{Refusal, open};
use super::tally::{Report, Tally};
use super::{Load, wire};

const TICK: Duration = Duration::from_millis(1);

/// `Load::concurrency` bounds how many are under way; what comes beyond that is counted as not begun.
pub(crate) async fn run(load: Load, rate: f64, patience: Duration) -> io::Result<Report> {
    let hello: Rc<[u8]> = wire::client_hello(&load.to).into();
    let (load, tally) = (Rc::new(load), Rc::new(RefCell::new(Tally::default())));
    let under_way = Rc::new(Cell::new(0));
    let steps = LocalSet::new();
    let began = Instant::now();
    let start = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut started = 0;
        while began.elapsed() < load.seconds && started < load.count {
            ticks.tick().await;
            let due = (began.elapsed().as_secs_f64() * rate) as u64;
            for number in started..due.min(load.count) {
                if under_way.get() >= load.concurrency {
                    tally.borrow_mut().add("not begun");
                    continue;
                }
                under_way.set(under_way.get() + 1);
                let when = began + Duration::from_secs_f64(number as f64 / rate);
                let (load, hello) = (Rc::clone(&load), Rc::clone(&hello));
                let (tally, under_way) = (Rc::clone(&tally), Rc::clone(&under_way));
                tokio::task::spawn_local(async move {
                    step(&load, &hello, (when, began + load.seconds), patience, &tally).await;
                    under_way.set(under_way.get() - 1);
                });
            }
            started = started.max(due);
        }
        began.elapsed()
    };
    let took = steps.run_until(start).await;
    steps.await;
    Ok(tally.take().report("overload", took))
}

/// One tunnel, which is due at a time; what ends after the load ends too late for the rate.
async fn step(
    load: &Load,
    hello: &[u8],
    (due, end): (Instant, Instant),
    patience: Duration,
    tally: &RefCell<Tally>,
) {
    let result = timeout_at((due + patience).into(), open(load, hello)).await;
    let mut tally = tally.borrow_mut();
    match result {
        Ok(Ok(_)) => {
            tally.steps.push(due.elapsed());
            tally.late += usize::from(Instant::now() > end);
        }
        Ok(Err(Refusal::Status(status))) => tally.add(&status.to_string()),
        Ok(Err(Refusal::Broken(error))) => tally.add(&error.kind().to_string()),
        Err(_) => tally.add("given up"),
    }
}
