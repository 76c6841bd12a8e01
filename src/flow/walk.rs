//! Looking at the open flows without holding them up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::flow::ledger::Ledger;
use crate::flow::open::{Facts, Open};
use crate::flow::registry::Cursor;
use crate::record::Profiles;

/// A walk over the open flows, a few hundred at a time, with no lock held between two steps.
#[derive(Debug)]
pub struct Walk {
    ledger: Arc<Ledger>,
    cursor: Cursor,
    step: Vec<Arc<Open>>,
}

/// An open flow as `/flows` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub flow: String,
    pub ingress: &'static str,
    pub client: SocketAddr,
    pub user: Option<String>,
    #[serde(serialize_with = "names")]
    pub profiles: Option<Profiles>,
    pub destination: Option<String>,
    pub server_name: Option<String>,
    pub address: Option<IpAddr>,
    pub parent: Option<Box<str>>,
    pub rule: Option<Box<str>>,
    pub started: String,
    pub duration_ms: u64,
    pub sent: u64,
    pub received: u64,
}

impl Ledger {
    /// Goes through the open flows in small steps.
    pub fn walk(self: &Arc<Self>) -> Walk {
        Walk { ledger: Arc::clone(self), cursor: Cursor::default(), step: Vec::new() }
    }
}

impl Walk {
    /// Adds the flows of the next step to `rows`; false at the end of the walk.
    pub fn rows(&mut self, rows: &mut Vec<Row>) -> bool {
        let more = self.ledger.registry().step(&mut self.cursor, &mut self.step);
        rows.extend(self.step.iter().filter_map(|open| open.facts(|facts| Row::new(open, facts))));
        more
    }

    /// Adds to the metrics what the flows of the next step have moved since they were last counted;
    /// false at the end of the walk.
    pub fn count_bytes(&mut self) -> bool {
        let more = self.ledger.registry().step(&mut self.cursor, &mut self.step);
        for open in &self.step {
            open.facts(|facts| {
                let (sent, received) = open.uncounted(facts);
                self.ledger.metrics().moved(sent, received);
            });
        }
        more
    }
}

impl Row {
    fn new(open: &Open, facts: &Facts) -> Self {
        let record = &facts.record;
        Self {
            flow: record.flow.to_string(),
            ingress: record.ingress.as_str(),
            client: record.client.address,
            user: record.client.name().map(str::to_owned),
            profiles: record.profiles.clone(),
            destination: record.to.as_ref().map(ToString::to_string),
            server_name: record.inside.server_name().map(ToString::to_string),
            address: record.address,
            parent: record.parent.as_deref().map(Box::from),
            rule: record.rule.as_deref().map(Box::from),
            started: format!("{:.3}", record.time),
            duration_ms: u64::try_from(open.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            sent: open.counters.sent.load(Ordering::Relaxed),
            received: open.counters.received.load(Ordering::Relaxed),
        }
    }
}

fn names<S: serde::Serializer>(profiles: &Option<Profiles>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(profiles.as_deref().unwrap_or_default())
}
