//! Tunnels that are opened and closed at once: the rate of set-ups, and how long one takes.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::connection::open;
use super::tally::Report;
use super::{Load, wire};

pub(crate) async fn run(load: Load) -> io::Result<Report> {
    let hello = Rc::new(wire::client_hello(&load.to));
    let work = |worker: super::Worker| {
        let hello = Rc::clone(&hello);
        async move {
            while worker.next() {
                let began = Instant::now();
                match open(&worker.load, &hello).await {
                    Ok(_) => worker.tally.borrow_mut().steps.push(began.elapsed()),
                    Err(_) => worker.failed(),
                }
            }
        }
    };
    Ok(super::run("tunnels", load, work).await)
}
