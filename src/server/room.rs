//! What the limit on open files leaves room for.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::Settings;
use crate::flow::{self, Connections};
use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::resolve;
use crate::server::StartError;
use crate::server::workers::Workers;
use crate::spares::Spares;

/// File descriptors kept for all but connections and look-ups: listeners, records, the admin door, and attempts to
/// connect, which have several for a moment.
const RESERVED_FILES: usize = 1024;
/// Open while nobody is served: the standard streams, the main event loop, signals, the admin door, records, and files that
/// are followed.
const ALWAYS: usize = 24;
/// Of a flow that is alone: two sockets, two of its look-up, and a pipe.
const ONE_FLOW: usize = 6;
/// A tunnel has two sockets.
const FILES_A_FLOW: usize = 2;
/// Of a worker's event loop.
const FILES_A_WORKER: usize = 4;
/// At most this part of the file descriptors is reserved, this part goes to look-ups, this part to pipes, which have
/// two each, and this part to idle connections to upstreams and, a quarter of it, to sockets that may be connected again.
const PART: usize = 8;
/// More idle connections than that do not make it faster.
const KEPT: usize = 4096;

/// What the limit on open files leaves room for.
pub(super) struct Room {
    pub(super) pipes: usize,
    /// Sockets that may be connected again.
    pub(super) spares: Arc<Spares>,
    /// Idle connections to upstreams.
    pub(super) kept: usize,
    /// Sockets of questions to DNS servers.
    pub(super) look_ups: usize,
    flows: usize,
}

impl Room {
    pub(super) fn of(files: u64, workers: &Workers, listeners: usize) -> Result<Self, StartError> {
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let for_workers = FILES_A_WORKER * workers.count() + listeners;
        let needed = ALWAYS + for_workers + ONE_FLOW;
        if files < needed {
            return Err(StartError::Files { limit: files, needed });
        }
        let part = files / PART;
        let (pipes, spares) = ((part / 2).min(Relay::PIPES), (part / 4).min(Spares::MOST));
        let kept = (part - spares).min(KEPT);
        let (reserved, look_ups) = (part.min(RESERVED_FILES), part.min(resolve::SOCKETS));
        let taken = reserved + look_ups + 2 * pipes + spares + kept + for_workers;
        // Each listener waits for its next connection with a permit in its hand.
        let flows = (files.saturating_sub(taken) / FILES_A_FLOW).max(1 + listeners);
        Ok(Self { pipes, spares: Arc::new(Spares::new(spares)), kept, look_ups, flows })
    }

    /// The limits of the settings, as far as there are file descriptors for them.
    pub(super) fn limits(&self, settings: &Settings) -> flow::Limits {
        let wanted = settings.limits.flows.map(NonZeroUsize::get);
        let flows = wanted.map_or(self.flows, |flows| flows.min(self.flows));
        if let Some(wanted) = wanted.filter(|wanted| *wanted > flows) {
            tracing::warn!(
                "limits.flows is {wanted}, but the limit on open files leaves room for {flows}: raise it (ulimit -n)"
            );
        }
        flow::Limits { flows, flows_per_client: settings.limits.flows_per_client }
    }

    /// As many connections as the settings and the file descriptors allow.
    pub(super) fn connections(
        &self,
        settings: &Settings,
        listeners: usize,
        metrics: &Arc<Metrics>,
    ) -> Connections {
        let limits = settings.limits;
        let wanted = limits.connections.map_or(self.flows, NonZeroUsize::get);
        if wanted > self.flows {
            tracing::warn!(
                "limits.connections is {wanted}, but the limit on open files leaves room for {}: raise it (ulimit -n)",
                self.flows
            );
        }
        let all = wanted.clamp(1 + listeners, self.flows);
        Connections::new(all, limits.connections_per_client, Arc::clone(metrics))
    }
}
