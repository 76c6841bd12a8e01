//! The Prometheus metrics.
