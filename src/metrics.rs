//! What exeat counts: one struct, passed down, with its own registry and every label resolved beforehand.

mod auth;
mod buckets;
mod parents;
mod records;
mod register;
mod rules;

use std::time::Duration;

use jiff::Timestamp;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use crate::ingress::Ingress;
use crate::metrics::register::{Attempts, Register};
use crate::reason::Reason;

pub use self::auth::{AuthCounters, AuthEvent};
pub use self::parents::{MemberCounters, ParentCounters};
pub use self::records::RecordCounters;
pub use self::rules::{RuleHits, SERIES_MAX};

/// Every metric of exeat. `docs/metrics.md` says what each one means.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By ingress, then by reason.
    flows: Vec<IntCounter>,
    active: Vec<IntGauge>,
    connections: IntGauge,
    connections_refused: IntCounter,
    sent: IntCounter,
    received: IntCounter,
    rules: RuleHits,
    decision: Histogram,
    dns: Histogram,
    dial: Histogram,
    flow: Histogram,
    /// How many flows may be open, and how many threads carry them.
    sizes: [IntGauge; 2],
    policy_rules: IntGauge,
    policy_loaded: prometheus::Gauge,
    reloads: Attempts,
    certificate_reloads: Attempts,
    certificates_expire: prometheus::Gauge,
    records: RecordCounters,
    auth: AuthCounters,
    parents: ParentCounters,
}

impl Metrics {
    /// Registers everything; counters exist at 0 from here on. Fails only if two metrics share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let register = Register(&registry);
        register.build()?;
        let (sent, received) = register.bytes()?;
        let (connections, connections_refused) = register.connections()?;
        Ok(Self {
            flows: register.flows()?,
            active: register.active()?,
            connections,
            connections_refused,
            sent,
            received,
            rules: RuleHits::new(register.rule_hits()?),
            decision: register.histogram(
                "exeat_decision_seconds",
                "Time to ask the policy once.",
                buckets::DECISION,
            )?,
            dns: register.histogram(
                "exeat_dns_seconds",
                "Time to look names up, for flows that were connected and for all DNS questions that were looked up.",
                buckets::DIAL,
            )?,
            dial: register.histogram(
                "exeat_dial_seconds",
                "Time to connect to the upstream after the look-up, for flows that were connected.",
                buckets::DIAL,
            )?,
            flow: register.histogram(
                "exeat_flow_seconds",
                "Time from a flow's start to its end.",
                buckets::FLOW,
            )?,
            sizes: register.sizes()?,
            policy_rules: register.gauge("exeat_policy_rules", "Rules in the policy in force.")?,
            policy_loaded: register.time(
                "exeat_policy_loaded_timestamp_seconds",
                "When the policy in force was loaded, in seconds since 1970; 0 before the first.",
            )?,
            reloads: register
                .attempts("exeat_policy_reloads_total", "Attempts to load a changed policy, by their result.")?,
            certificate_reloads: register.attempts(
                "exeat_tls_reloads_total",
                "Attempts to put changed certificates or keys in force, by their result.",
            )?,
            certificates_expire: register.time(
                "exeat_tls_certificate_expiry_timestamp_seconds",
                "When the first of the listeners' certificates expires, in seconds since 1970; 0 without TLS.",
            )?,
            records: RecordCounters::new(&register)?,
            auth: AuthCounters::new(&register)?,
            parents: ParentCounters::new(&register)?,
            registry,
        })
    }

    /// Notes how many flows may be open, and how many threads carry them.
    pub fn sized(&self, flows: usize, threads: usize) {
        for (gauge, size) in self.sizes.iter().zip([flows, threads]) {
            gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
        }
    }

    /// Counts a flow that begins.
    pub fn begin(&self, ingress: Ingress) {
        self.active[ingress as usize].inc();
    }

    /// Counts a flow that ends.
    pub fn end(&self, ingress: Ingress, reason: Reason, took: Duration) {
        self.active[ingress as usize].dec();
        self.flows[ingress as usize * Reason::ALL.len() + reason as usize].inc();
        self.flow.observe(took.as_secs_f64());
    }

    /// Counts a connection of a client that opens.
    pub fn connection_opens(&self) {
        self.connections.inc();
    }

    /// Counts a connection of a client that closes.
    pub fn connection_closes(&self) {
        self.connections.dec();
    }

    /// Counts a connection of a client that has too many.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// Counts bytes of flows, open or ended.
    pub fn moved(&self, sent: u64, received: u64) {
        self.sent.inc_by(sent);
        self.received.inc_by(received);
    }

    /// Notes how long one decision took.
    pub fn decided(&self, took: Duration) {
        self.decision.observe(took.as_secs_f64());
    }

    /// Notes how long a look-up took that no connect followed.
    pub fn looked_up(&self, dns: Duration) {
        self.dns.observe(dns.as_secs_f64());
    }

    /// Notes how long a look-up and a connect took.
    pub fn dialled(&self, dns: Duration, connect: Duration) {
        self.dns.observe(dns.as_secs_f64());
        self.dial.observe(connect.as_secs_f64());
    }

    /// How often each rule decided.
    pub fn rules(&self) -> &RuleHits {
        &self.rules
    }

    /// What becomes of records, for the thread that writes them.
    pub fn records(&self) -> RecordCounters {
        self.records.clone()
    }

    /// How credentials fared.
    pub fn auth(&self) -> &AuthCounters {
        &self.auth
    }

    /// How parents fare.
    pub fn parents(&self) -> &ParentCounters {
        &self.parents
    }

    /// Notes the policy that is now in force.
    pub fn policy_in_force(&self, rules: usize, loaded: Timestamp) {
        self.policy_rules.set(i64::try_from(rules).unwrap_or(i64::MAX));
        self.policy_loaded.set(loaded.as_millisecond() as f64 / 1000.0);
    }

    /// When the policy in force was loaded.
    pub fn policy_loaded(&self) -> Option<Timestamp> {
        let milliseconds = (self.policy_loaded.get() * 1000.0).round() as i64;
        if milliseconds == 0 { None } else { Timestamp::from_millisecond(milliseconds).ok() }
    }

    /// Counts an attempt to load a changed policy.
    pub fn reloaded(&self, success: bool) {
        self.reloads.count(success);
    }

    /// Counts an attempt to put changed certificates in force.
    pub fn certificates_reloaded(&self, success: bool) {
        self.certificate_reloads.count(success);
    }

    /// Notes when the first certificate of a listener expires.
    pub fn certificates_expire(&self, first: Option<Timestamp>) {
        self.certificates_expire.set(first.map_or(0.0, |time| time.as_second() as f64));
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
