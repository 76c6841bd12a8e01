//! As many bytes as go through, one way.

use std::io;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;

use super::buffer::{self, FILLING};
use super::connection::ordered;
use super::tally::Report;
use super::wire::{self, Order};
use super::{Load, Worker};

pub(crate) async fn run(load: Load, upload: bool) -> io::Result<Report> {
    let hello = Rc::new(wire::client_hello(&load.to));
    let work = |worker: Worker| {
        let hello = Rc::clone(&hello);
        async move {
            if move_bytes(&worker, &hello, upload).await.is_err() {
                worker.failed();
            }
        }
    };
    Ok(super::run("bulk", load, work).await)
}

async fn move_bytes(worker: &Worker, hello: &[u8], upload: bool) -> io::Result<()> {
    let order = if upload { Order::Upload } else { Order::Download };
    let opened = ordered(&worker.load, hello, order).await;
    worker.ready().await;
    let mut stream = opened?;
    while worker.next() {
        let count = match upload {
            true => stream.write(&FILLING).await?,
            false => buffer::discard(&stream).await?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        worker.tally.borrow_mut().bytes += count as u64;
    }
    Ok(())
}
