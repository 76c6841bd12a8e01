//! Questions over UDP, one at a time from each of many addresses, as a server bounds what one client may ask.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::tally::Report;
use super::{Load, Worker};

const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) async fn run(load: Load, server: SocketAddr) -> io::Result<Report> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{}.", load.to)).map_err(io::Error::other)?;
    message.add_query(Query::query(name, RecordType::A));
    let question: Rc<[u8]> = message.to_vec().map_err(io::Error::other)?.into();
    let turn = Rc::new(Cell::new(0_u32));
    let work = |worker: Worker| {
        let (question, turn) = (Rc::clone(&question), Rc::clone(&turn));
        async move {
            let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 2, 0).to_bits() + turn.get());
            turn.set(turn.get() + 1);
            if ask(&worker, &question, from, server).await.is_err() {
                worker.failed();
            }
        }
    };
    Ok(super::run("dns", load, work).await)
}

async fn ask(worker: &Worker, question: &[u8], from: Ipv4Addr, server: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(server).await?;
    let mut answer = [0; 512];
    while worker.next() {
        let began = Instant::now();
        socket.send(question).await?;
        match timeout(PATIENCE, socket.recv(&mut answer)).await {
            // Its last four bits of flags are the code; an answer without a record is none (RFC 1035 §4.1.1).
            Ok(Ok(12..)) if answer[3] & 15 == 0 && answer[7] > 0 => {
                worker.tally.borrow_mut().steps.push(began.elapsed());
            }
            Ok(Ok(_)) => worker.tally.borrow_mut().add("refused"),
            Ok(Err(error)) => return Err(error),
            Err(_) => worker.tally.borrow_mut().add("lost"),
        }
    }
    Ok(())
}
