//! Names, help and labels of the metrics.

use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::ingress::Ingress;
use crate::reason::Reason;

/// Makes metrics and registers them in one go.
pub(super) struct Register<'a>(pub(super) &'a Registry);

/// What was tried anew, by how it went; a copy counts the same.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    succeeded: IntCounter,
    failed: IntCounter,
}

impl Attempts {
    fn new(with_result: impl Fn(&str) -> Result<IntCounter, Error>) -> Result<Self, Error> {
        Ok(Self { succeeded: with_result("success")?, failed: with_result("failure")? })
    }

    pub(super) fn count(&self, success: bool) {
        if success { &self.succeeded } else { &self.failed }.inc();
    }
}

impl Register<'_> {
    pub(super) fn build(&self) -> Result<(), Error> {
        let opts = Opts::new("exeat_build_info", "Always 1; the labels tell the build.")
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("os", std::env::consts::OS)
            .const_label("arch", std::env::consts::ARCH);
        self.add(IntGauge::with_opts(opts)?)?.set(1);
        Ok(())
    }

    /// One counter for each ingress and reason, the verdict following from the reason.
    pub(super) fn flows(&self) -> Result<Vec<IntCounter>, Error> {
        let opts = Opts::new("exeat_flows_total", "Flows that ended, by the door and by why they ended.");
        let family = self.add(IntCounterVec::new(opts, &["ingress", "verdict", "reason"])?)?;
        let mut flows = Vec::with_capacity(Ingress::ALL.len() * Reason::ALL.len());
        for ingress in Ingress::ALL {
            for reason in Reason::ALL {
                let verdict = if reason.allows() { "allow" } else { "deny" };
                let labels = [ingress.as_str(), verdict, reason.as_str()];
                flows.push(family.get_metric_with_label_values(&labels)?);
            }
        }
        Ok(flows)
    }

    pub(super) fn active(&self) -> Result<Vec<IntGauge>, Error> {
        let opts = Opts::new("exeat_flows_active", "Flows that are open, by the door.");
        let family = self.add(IntGaugeVec::new(opts, &["ingress"])?)?;
        Ingress::ALL.iter().map(|ingress| family.get_metric_with_label_values(&[ingress.as_str()])).collect()
    }

    /// What there is room for: flows, and the threads that carry them.
    pub(super) fn sizes(&self) -> Result<[IntGauge; 2], Error> {
        let flows = self.gauge("exeat_limit_flows", "Flows that may be open at a time.")?;
        Ok([flows, self.gauge("exeat_threads", "Worker threads.")?])
    }

    /// How many connections of clients are open, and the counter for those that were refused.
    pub(super) fn connections(&self) -> Result<(IntGauge, IntCounter), Error> {
        let open = self.gauge("exeat_connections_active", "Connections of clients that are open.")?;
        let refused = self.counter(
            "exeat_connections_refused_total",
            "Connections that were refused because their client had as many as one may have, or the DNS door as many clients.",
        )?;
        Ok((open, refused))
    }

    /// The counters for bytes sent and received.
    pub(super) fn bytes(&self) -> Result<(IntCounter, IntCounter), Error> {
        let opts = Opts::new(
            "exeat_bytes_total",
            "Payload bytes moved: sent from client to upstream, received the other way.",
        );
        let family = self.add(IntCounterVec::new(opts, &["direction"])?)?;
        let count = |direction| family.get_metric_with_label_values(&[direction]);
        Ok((count("sent")?, count("received")?))
    }

    /// The counters for attempts that succeeded and failed.
    pub(super) fn attempts(&self, name: &str, help: &str) -> Result<Attempts, Error> {
        let family = self.add(IntCounterVec::new(Opts::new(name, help), &["result"])?)?;
        Attempts::new(|result| family.get_metric_with_label_values(&[result]))
    }

    /// One counter for each pair of a scheme and a result.
    pub(super) fn auth<const N: usize>(&self, pairs: [[&str; 2]; N]) -> Result<Vec<IntCounter>, Error> {
        let opts = Opts::new(
            "exeat_auth_total",
            "Requests to the explicit door by what became of their credentials, where settings have `auth`.",
        );
        let family = self.add(IntCounterVec::new(opts, &["scheme", "result"])?)?;
        pairs.iter().map(|labels| family.get_metric_with_label_values(labels)).collect()
    }

    /// The counters for files of users and for issuers' keys.
    pub(super) fn auth_reloads(&self) -> Result<[Attempts; 2], Error> {
        let opts =
            Opts::new("exeat_auth_reloads_total", "Attempts to get users or keys anew, by their result.");
        let family = self.add(IntCounterVec::new(opts, &["of", "result"])?)?;
        let of = |of| Attempts::new(|result| family.get_metric_with_label_values(&[of, result]));
        Ok([of("users")?, of("keys")?])
    }

    pub(super) fn rule_hits(&self) -> Result<IntCounterVec, Error> {
        let opts = Opts::new(
            "exeat_rule_hits_total",
            "Flows that a rule decided, by profile and pattern; rules beyond the bound share rule=\"\".",
        );
        self.add(IntCounterVec::new(opts, &["profile", "rule"])?)
    }

    /// What became of connections to parents, and which of these are up.
    pub(super) fn parents(&self) -> Result<(IntCounterVec, IntGaugeVec), Error> {
        let opts = Opts::new(
            "exeat_parent_connections_total",
            "Connections to parent proxies, by what became of them: opened, refused or failed.",
        );
        let connections = self.add(IntCounterVec::new(opts, &["parent", "url", "result"])?)?;
        let opts =
            Opts::new("exeat_parent_up", "Whether a parent proxy took the last connection to it: 1 or 0.");
        Ok((connections, self.add(IntGaugeVec::new(opts, &["parent", "url"])?)?))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::new(name, help)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::new(name, help)?)
    }

    pub(super) fn time(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.add(Gauge::new(name, help)?)
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
