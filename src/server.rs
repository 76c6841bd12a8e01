//! Binds every listener, then serves until told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::{self, Access, Readiness};
use crate::client::Client;
use crate::config::{Expose, Settings};
use crate::dial::Dialer;
use crate::drain;
use crate::explicit;
use crate::flow::{self, Ledger};
use crate::gate::http::Pool;
use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::policy::document::Sources;
use crate::proxy::{Bounds, Proxy};
use crate::record::{Audit, Sink};
use crate::relay::{self, Relay};
use crate::reload::Reload;
use crate::resolve::{self, Resolver};
use crate::stream::Stream;
use crate::sys;
use crate::via::Via;

/// File descriptors kept for everything but connections: listeners, the record file, look-ups, admin.
const RESERVED_FILES: u64 = 256;
/// A tunnel has two sockets, and while bulk moves two ends of a pipe from a bounded pool.
const FILES_A_FLOW: u64 = 2;
/// After a failed accept: file descriptors don't come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long flows that were told to stop may take to end, and records to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// What a running exeat can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Read the policy again, and open the audit file anew.
    Reload,
    /// Stop: the first time after the open flows have ended, the second time at once.
    Stop,
}

/// Why exeat did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the policy has mistakes")]
    Policy(Vec<Mistake>),
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("can't open the audit file {}: {}", .0.display(), .1)]
    Audit(PathBuf, io::Error),
    #[error("names can't be resolved: {0}")]
    Resolve(#[from] resolve::FileError),
    #[error("the metrics can't be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// An exeat that is bound and has a policy, and serves nobody yet.
#[derive(Debug)]
pub struct Server {
    explicit: Vec<TcpListener>,
    admin: Option<TcpListener>,
    state: Arc<admin::State>,
    readiness: Arc<Readiness>,
    proxy: Arc<Proxy>,
    pool: Arc<Pool>,
    reload: Reload,
    connections: Arc<Semaphore>,
    drain: Duration,
}

impl Server {
    /// Loads the policy and binds every listener. Must be called on a tokio runtime.
    pub fn new(settings: &Settings, sources: Sources) -> Result<Self, StartError> {
        let files = sys::raise_file_limit();
        let loaded = sources.load().map_err(StartError::Policy)?;
        let metrics = Arc::new(Metrics::new()?);
        let explicit = bind(&settings.listen.explicit)?;
        let admin = bind(settings.listen.admin.as_slice())?.pop();
        let resolver = Arc::new(Resolver::new(resolver_settings(settings))?);
        let sink = Sink::open(&audit(settings), metrics.records_lost())
            .map_err(|error| StartError::Audit(settings.audit.path.clone(), error))?;
        let ledger = Arc::new(Ledger::new(metrics, sink, limits(settings, files)));
        let own = local_addresses(explicit.iter().chain(&admin));
        let policy = Arc::new(ArcSwap::from_pointee(loaded.builder.finish(Reload::FIRST)));
    }
}
