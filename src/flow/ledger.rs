//! The ledger of flows: begins them, knows which are open, and can stop them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::boxed::in_box;
use crate::client::Client;
use crate::destination::Destination;
use crate::flow::judges::Judges;
use crate::flow::open::Open;
use crate::flow::places::{Limits, Places};
use crate::flow::registry::{Key, Registry};
use crate::flow::stop::Stop;
use crate::flow::words::{Citation, Citations};
use crate::ingress::Ingress;
use crate::metrics::Metrics;
use crate::policy::{Question, Rule};
use crate::record::{Ids, Record, Sink};

/// What all flows share: their metrics, their records' way out, the limits, and who is open.
#[derive(Debug)]
pub struct Ledger {
    metrics: Arc<Metrics>,
    sink: Sink,
    ids: Ids,
    places: Places,
    registry: Registry,
    judges: Judges,
    citations: Citations,
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
            judges: Judges::default(),
            citations: Citations::default(),
            stopping: AtomicBool::new(false),
        }
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

    /// Tells every open flow, and any that still begins, to end because exeat stops.
    pub fn stop_all(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.registry.each(|open| {
            open.switch.throw(Stop::Draining);
        });
    }

    /// Judges the open flows by a policy that is already in force: those that `keeps` does not keep are revoked, and
    /// so are those that are still being judged by an older one. Returns how many. A walk over every flow in small
    /// steps: not for an I/O thread.
    pub fn rejudge<F>(&self, keeps: F) -> usize
    where
        F: Fn(&Client, &Question<'_>) -> bool + Send + Sync + 'static,
    {
        self.judges.rejudge(&self.registry, Arc::new(keeps))
    }

    /// Takes a new flow in.
    pub(super) fn enter(
        &self,
        ingress: Ingress,
        client: Client,
        to: Option<Destination>,
    ) -> (Arc<Open>, Key) {
        let mut record = in_box(|| Record::new(self.ids.next(), ingress, client));
        record.to = to;
        let open = Arc::new(Open::new(record, self.judges.epoch()));
        self.metrics.begin(ingress);
        let key = self.registry.insert(Arc::clone(&open));
        // A flow that begins during `stop_all` is either seen by its walk or sees this.
        if self.stopping.load(Ordering::SeqCst) {
            open.switch.throw(Stop::Draining);
        }
        (open, key)
    }

    /// How a rule that decides is named.
    pub(super) fn cite(&self, rule: Rule<'_>) -> Citation {
        self.citations.cite(rule, self.metrics.rules())
    }

    pub(super) fn judges(&self) -> &Judges {
        &self.judges
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }
}
