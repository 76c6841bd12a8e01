//! Names, help and labels of the metrics.

use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::ingress::Ingress;
use crate::reason::Reason;

/// Makes metrics and registers them in one go.
pub(super) struct Register<'a>(pub(super) &'a Registry);

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
        self.pair(opts, "direction", ["sent", "received"])
    }

    /// The counters for reloads that succeeded and failed.
    pub(super) fn reloads(&self) -> Result<(IntCounter, IntCounter), Error> {
        let opts =
            Opts::new("exeat_policy_reloads_total", "Attempts to load a changed policy, by their result.");
        self.pair(opts, "result", ["success", "failure"])
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

    /// The counters for files of users and for issuers' keys, each by success and failure.
    pub(super) fn auth_reloads(&self) -> Result<[[IntCounter; 2]; 2], Error> {
        let opts =
            Opts::new("exeat_auth_reloads_total", "Attempts to get users or keys anew, by their result.");
        let family = self.add(IntCounterVec::new(opts, &["of", "result"])?)?;
        let one = |of, result| family.get_metric_with_label_values(&[of, result]);
        let both = |of| Ok::<_, Error>([one(of, "success")?, one(of, "failure")?]);
        Ok([both("users")?, both("keys")?])
    }

    /// The same for certificates.
    pub(super) fn certificate_reloads(&self) -> Result<(IntCounter, IntCounter), Error> {
        let opts = Opts::new(
            "exeat_tls_reloads_total",
            "Attempts to put changed certificates or keys in force, by their result.",
        );
        self.pair(opts, "result", ["success", "failure"])
    }

    /// The same for the audit file.
    pub(super) fn audit_reopens(&self) -> Result<(IntCounter, IntCounter), Error> {
        let opts =
            Opts::new("exeat_audit_reopens_total", "Attempts to open the audit file anew, by their result.");
        self.pair(opts, "result", ["success", "failure"])
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

    fn pair(&self, opts: Opts, label: &str, values: [&str; 2]) -> Result<(IntCounter, IntCounter), Error> {
        let family = self.add(IntCounterVec::new(opts, &[label])?)?;
        let [first, second] = values;
        Ok((family.get_metric_with_label_values(&[first])?, family.get_metric_with_label_values(&[second])?))
    }

    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
