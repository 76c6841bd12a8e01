//! A histogram of durations, which each flow adds to several times.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::Error;
use prometheus::core::{Atomic, AtomicF64, Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

/// Counts durations by their size. Prometheus' own histogram shows a sum that fits its count to the last observation, for
/// which each one takes four atomic operations. Here it takes two: while it is counted, the sum may be without it.
#[derive(Clone, Debug)]
pub(super) struct Durations(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    desc: Desc,
    /// Upper ones, in seconds and in order.
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond them all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicF64,
}

impl Durations {
    pub(super) fn new(name: &str, help: &str, bounds: &'static [f64]) -> Result<Self, Error> {
        let desc = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())?;
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Ok(Self(Arc::new(Counts { desc, bounds, buckets, sum: AtomicF64::new(0.0) })))
    }

    pub(super) fn observe(&self, took: Duration) {
        let Counts { bounds, buckets, sum, .. } = &*self.0;
        let seconds = took.as_secs_f64();
        let bucket = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        buckets[bucket].fetch_add(1, Ordering::Relaxed);
        sum.inc_by(seconds);
    }
}

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Counts { desc, bounds, buckets, sum } = &*self.0;
        let mut count = 0;
        let mut cumulative = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let within = bounds.iter().zip(buckets).map(|(bound, bucket)| {
            let mut shown = Bucket::default();
            shown.set_upper_bound(*bound);
            shown.set_cumulative_count(cumulative(bucket));
            shown
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(within.collect());
        histogram.set_sample_count(buckets.last().map_or(0, cumulative));
        histogram.set_sample_sum(sum.get());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn durations_are_shown_as_prometheus_expects() {
        let durations = Durations::new("a_seconds", "A.", &[0.25, 1.0]).unwrap();
        for milliseconds in [0, 250, 500, 1000, 2000] {
            durations.observe(Duration::from_millis(milliseconds));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&durations.collect(), &mut text).unwrap();
        let lines = [
            "# HELP a_seconds A.",
            "# TYPE a_seconds histogram",
            "a_seconds_bucket{le=\"0.25\"} 2",
            "a_seconds_bucket{le=\"1\"} 4",
            "a_seconds_bucket{le=\"+Inf\"} 5",
            "a_seconds_sum 3.75",
            "a_seconds_count 5",
        ];
        assert_eq!(String::from_utf8(text).unwrap().lines().collect::<Vec<_>>(), lines);
    }
}
