//! The loads, and what all of them need.

pub(crate) mod bare;
pub(crate) mod buffer;
pub(crate) mod bulk;
pub(crate) mod connection;
pub(crate) mod dns;
pub(crate) mod echo;
pub(crate) mod http;
pub(crate) mod idle;
pub(crate) mod origin;
pub(crate) mod overload;
pub(crate) mod tally;
pub(crate) mod tunnels;
pub(crate) mod wire;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, LocalSet};

use self::tally::{Report, Tally};

pub(crate) const PORTS: u16 = 16;

/// What every kind of load needs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// The proxy; left out, the origin itself is spoken to, which a firewall may redirect
    #[arg(long)]
    pub(crate) proxy: Option<SocketAddr>,
    /// The origin's address, for loads without a proxy
    #[arg(long, default_value = "127.0.0.1:9443")]
    pub(crate) origin: SocketAddr,
    /// The destination, as the proxy is asked for it
    #[arg(long, default_value = "origin.example")]
    pub(crate) to: String,
    /// The credentials that the proxy is shown with each CONNECT or plain request, like `Basic YWxpY2U6…`
    #[arg(long, value_name = "CREDENTIALS")]
    pub(crate) authorization: Option<String>,
    /// Go round this many ports of the origin: each pair of addresses and ports is out of use for a minute
    /// after its connection (RFC 9293 §3.4.2), and the search for a free one would be what is measured
    #[arg(long, default_value_t = PORTS)]
    pub(crate) ports: u16,
    #[arg(long, short, default_value_t = 64)]
    pub(crate) concurrency: usize,
    #[arg(long, value_parser = seconds, default_value = "3")]
    pub(crate) seconds: Duration,
    /// Stop after so many steps, if that comes first
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) count: u64,
}

/// What one worker of a load needs.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) load: Rc<Load>,
    pub(crate) tally: Rc<RefCell<Tally>>,
    began: Rc<Cell<Instant>>,
    left: Rc<Cell<u64>>,
    ready: Rc<Barrier>,
}

pub(crate) fn seconds(text: &str) -> Result<Duration, std::num::ParseFloatError> {
    text.parse().map(Duration::from_secs_f64)
}

/// Runs as many workers as the load says, and tells what they did.
pub(crate) async fn run<R>(what: &str, load: Load, work: impl Fn(Worker) -> R) -> Report
where
    R: Future<Output = ()> + 'static,
{
    let worker = Worker {
        began: Rc::new(Cell::new(Instant::now())),
        ready: Rc::new(Barrier::new(load.concurrency)),
        left: Rc::new(Cell::new(load.count)),
        tally: Rc::default(),
        load: Rc::new(load),
    };
    let set = async {
        let mut set = JoinSet::new();
        for _ in 0..worker.load.concurrency {
            set.spawn_local(work(worker.clone()));
        }
        set.join_all().await;
    };
    LocalSet::new().run_until(set).await;
    worker.tally.take().report(what, worker.began.get().elapsed())
}

impl Worker {
    /// Waits until every worker is here: where tunnels are opened first, the time of the load begins after that.
    pub(crate) async fn ready(&self) {
        if self.ready.wait().await.is_leader() {
            self.began.set(Instant::now());
        }
    }

    /// Whether another step is to be taken, which it then has to be.
    pub(crate) fn next(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0 && self.began.get().elapsed() < self.load.seconds
    }

    pub(crate) fn failed(&self) {
        self.tally.borrow_mut().add("failed");
    }
}

impl Load {
    /// The line of a head with the credentials, if there are any.
    pub(crate) fn authorization(&self) -> String {
        let line = |credentials: &String| format!("Proxy-Authorization: {credentials}\r\n");
        self.authorization.as_ref().map(line).unwrap_or_default()
    }

    /// The ports of the origin in turn.
    pub(crate) fn next_port(&self) -> u16 {
        thread_local!(static TURN: Cell<u16> = const { Cell::new(0) });
        let turn = TURN.get() % self.ports;
        TURN.set(turn + 1);
        self.origin.port() + turn
    }
}
