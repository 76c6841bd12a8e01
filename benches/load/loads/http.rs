//! Plain requests on connections that are kept.

use std::io;
use std::time::Instant;

use super::connection::{connect, exchange};
use super::tally::Report;
use super::{Load, Worker};

pub(crate) async fn run(load: Load, hosts: usize) -> io::Result<Report> {
    let work = |worker: Worker| async move {
        // A proxy may end a connection between two requests; a client then opens another one.
        while requests(&worker, hosts).await.is_err() {
            worker.failed();
        }
    };
    Ok(super::run("http", load, work).await)
}

async fn requests(worker: &Worker, hosts: usize) -> io::Result<()> {
    let load = &worker.load;
    let port = load.next_port();
    let mut stream = connect(load, port).await?;
    let mut answer = vec![0; 4096];
    for turn in 0.. {
        if !worker.next() {
            break;
        }
        let to = match hosts {
            1 => format!("{}:{port}", load.to),
            _ => format!("{}-{}:{port}", turn % hosts, load.to),
        };
        let target = if load.proxy.is_some() { format!("http://{to}/") } else { "/".to_owned() };
        let credentials = load.authorization();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nAccept: */*\r\n{credentials}\r\n");
        let began = Instant::now();
        match exchange(&mut stream, request.as_bytes(), &mut answer).await? {
            200 => worker.tally.borrow_mut().steps.push(began.elapsed()),
            status => worker.tally.borrow_mut().add(&status.to_string()),
        }
    }
    Ok(())
}
