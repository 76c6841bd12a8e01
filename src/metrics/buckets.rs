//! Bounds of the histograms' buckets, in seconds.

/// A decision takes hundreds of nanoseconds; one that takes a millisecond is a defect.
pub(super) const DECISION: &[f64] =
    &[100e-9, 250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3];

/// From a neighbour in the rack to time-outs.
pub(super) const DIAL: &[f64] = &[
    100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// From a refusal to a day's tunnel.
pub(super) const FLOW: &[f64] = &[
    1e-3, 5e-3, 10e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    14_400.0, 86_400.0,
];
