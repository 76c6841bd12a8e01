//! Small messages there and back, in tunnels that stay.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::buffer;
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
    let message = vec![1; size];
    let opened = async {
        let mut stream = ordered(&worker.load, hello, Order::Echo).await?;
        // The first one is part of the set-up: by it all who take part have made what they keep for the tunnel.
        round_trip(&mut stream, &message).await?;
        io::Result::Ok(stream)
    };
    let opened = opened.await;
    worker.ready().await;
    let mut stream = opened?;
    while worker.next() {
        let began = Instant::now();
        round_trip(&mut stream, &message).await?;
        worker.tally.borrow_mut().steps.push(began.elapsed());
    }
    Ok(())
}

async fn round_trip(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    let mut missing = message.len();
    while missing > 0 {
        match buffer::read(stream, <[u8]>::len).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => missing = missing.saturating_sub(count),
        }
    }
    Ok(())
}
