//! Small messages there and back, in tunnels that stay.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::ordered;
use super::tally::Report;
use super::wire::{self, Order};
use super::{Load, Worker};

pub(crate) async fn run(load: Load, size: usize) -> io::Result<Report> {
    let hello = Rc::new(wire::client_hello(&load.to));
    let work = |worker: Worker| {
        let hello = Rc::clone(&hello);
        async move {
            if round_trips(&worker, &hello, size).await.is_err() {
                worker.failed();
            }
        }
    };
    Ok(super::run("echo", load, work).await)
}

async fn round_trips(worker: &Worker, hello: &[u8], size: usize) -> io::Result<()> {
    let opened = ordered(&worker.load, hello, Order::Echo).await;
    worker.ready().await;
    let mut stream = opened?;
    let (message, mut answer) = (vec![1; size], vec![0; size]);
    while worker.next() {
        let began = Instant::now();
        stream.write_all(&message).await?;
        stream.read_exact(&mut answer).await?;
        worker.tally.borrow_mut().steps.push(began.elapsed());
    }
    Ok(())
}
