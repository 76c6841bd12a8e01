//! Tunnels in which nothing happens, unless it is asked for.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout_at};

use super::connection::ordered;
use super::tally::Report;
use super::wire::{self, Order};
use super::{Load, Worker};

const TOUCH: usize = 64 * 1024;
/// Set up and touched by so many at a time.
const AT_ONCE: usize = 64;

type Held = Rc<RefCell<Vec<TcpStream>>>;

/// Opens the tunnels and holds them until the orders end, or the time of the load. At each line of the orders it
/// moves bytes through each tunnel. What was done is told.
pub(crate) async fn run(
    load: Load,
    orders: impl AsyncRead + Unpin,
    mut tell: impl FnMut(Report),
) -> io::Result<()> {
    let deadline = Deadline::now() + load.seconds;
    let held = Held::default();
    tell(each("open", &load, |worker, hello| open(worker, hello, Rc::clone(&held))).await);
    let mut orders = BufReader::new(orders).lines();
    while let Ok(Some(_)) = timeout_at(deadline, orders.next_line()).await.unwrap_or(Ok(None)) {
        let tunnels = Rc::new(RefCell::new(held.take()));
        tell(each("touch", &load, |worker, _| touch(worker, Rc::clone(&tunnels), Rc::clone(&held))).await);
    }
    Ok(())
}

/// Does something once for each tunnel of the load.
async fn each<R>(what: &str, load: &Load, work: impl Fn(Worker, Rc<Vec<u8>>) -> R) -> Report
where
    R: Future<Output = ()> + 'static,
{
    let hello = Rc::new(wire::client_hello(&load.to));
    let count = load.concurrency as u64;
    let load = Load { concurrency: AT_ONCE, count, ..load.clone() };
    super::run(what, load, |worker| work(worker, Rc::clone(&hello))).await
}

async fn open(worker: Worker, hello: Rc<Vec<u8>>, held: Held) {
    while worker.next() {
        let began = Instant::now();
        match ordered(&worker.load, &hello, Order::Echo).await {
            Ok(stream) => {
                worker.tally.borrow_mut().steps.push(began.elapsed());
                held.borrow_mut().push(stream);
            }
            Err(_) => worker.failed(),
        }
    }
}

async fn touch(worker: Worker, tunnels: Held, held: Held) {
    let (message, mut answer) = (vec![0; TOUCH], vec![0; TOUCH]);
    while worker.next() {
        let Some(mut stream) = tunnels.borrow_mut().pop() else { return };
        let began = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let both = tokio::try_join!(writer.write_all(&message), reader.read_exact(&mut answer));
        match both {
            Ok(_) => {
                worker.tally.borrow_mut().steps.push(began.elapsed());
                held.borrow_mut().push(stream);
            }
            Err(_) => worker.failed(),
        }
    }
}
