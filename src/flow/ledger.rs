//! The ledger of flows: begins them, knows which are open, and can stop them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::Client;
use crate::flow::Flow;
use crate::flow::open::Open;
use crate::flow::places::{Limits, Places};
use crate::flow::registry::{Cursor, Registry};
use crate::flow::rejudge::Bench;
use crate::flow::stop::Stop;
use crate::flow::walk::Walk;
use crate::ingress::Ingress;
use crate::metrics::Metrics;
use crate::policy::Question;
use crate::record::{Ids, Record, Sink};

/// What all flows share: their metrics, their records' way out, the limits, and who is open.
#[derive(Debug)]
pub struct Ledger {
    metrics: Arc<Metrics>,
    sink: Sink,
    ids: Ids,
    places: Places,
    registry: Registry,
    bench: Bench,
    stopping: AtomicBool,
}

impl Ledger {
    pub fn new(metrics: Arc<Metrics>, sink: Sink, limits: Limits) -> Self {
        Self {
            metrics,
            sink,
            ids: Ids::new(),
            places: Places::new(limits),
            registry: Registry::new(),
            bench: Bench::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Begins a flow. Load the policy that will judge it only after this: see [`Ledger::rejudge`].
    pub fn begin(self: &Arc<Self>, ingress: Ingress, client: Client) -> Flow {
        let record = Record::new(self.ids.next(), ingress, client);
        let open = Arc::new(Open::new(record, self.bench.epoch()));
        self.metrics.begin(ingress);
        let key = self.registry.insert(Arc::clone(&open));
        // A flow that begins during `stop_all` is either seen by its walk or sees this.
        if self.stopping.load(Ordering::SeqCst) {
            open.switch.throw(Stop::Draining);
        }
        Flow::new(Arc::clone(self), open, key)
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where the records go.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// How many flows are open.
    pub fn open(&self) -> usize {
        self.registry.open()
    }

    /// Goes through the open flows in small steps.
    pub fn walk(self: &Arc<Self>) -> Walk {
        Walk::new(Arc::clone(self))
    }

    /// Tells every open flow, and any that still begins, to end because exeat stops.
    pub fn stop_all(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let (mut cursor, mut step) = (Cursor::default(), Vec::new());
        while self.registry.step(&mut cursor, &mut step) {
            for open in &step {
                open.switch.throw(Stop::Draining);
            }
        }
    }

    /// Judges the open flows by a policy that is already in force: those that `keeps` does not keep are revoked, and
    /// so are those that are still being judged by an older one. Returns how many. A walk over every flow in small
    /// steps: not for an I/O thread.
    pub fn rejudge<F>(&self, keeps: F) -> usize
    where
        F: Fn(&Client, &Question<'_>) -> bool + Send + Sync + 'static,
    {
        self.bench.rejudge(&self.registry, Arc::new(keeps))
    }

    pub(super) fn bench(&self) -> &Bench {
        &self.bench
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }
}
