//! The certificates of the listeners, read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;

use crate::file::directory;
use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::reload::Cause;
use crate::tls::Tls;

/// TLS of every listener that has it.
#[derive(Debug)]
pub struct Certificates {
    listeners: Vec<Arc<Tls>>,
    /// When their files were last read.
    pub(super) read: SystemTime,
    /// What is wrong with the files now.
    pub(super) broken: Vec<Mistake>,
}

impl Certificates {
    /// Those of these listeners, which were read not before `read`.
    pub fn new(listeners: Vec<Arc<Tls>>, read: SystemTime, metrics: &Metrics) -> Self {
        let certificates = Self { listeners, read, broken: Vec::new() };
        certificates.measure(metrics);
        certificates
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.listeners.iter().flat_map(|tls| tls.files())
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.files().map(directory)
    }

    /// Reads them all again. A listener whose files have a mistake goes on with what it has.
    pub(super) async fn reload(&mut self, cause: Cause, metrics: &Metrics) {
        if self.listeners.is_empty() {
            return;
        }
        self.read = SystemTime::now();
        let listeners = self.listeners.clone();
        let read = move || listeners.iter().map(|tls| (certificate(tls), tls.reload())).collect::<Vec<_>>();
        let Ok(results) = spawn_blocking(read).await else {
            metrics.certificates_reloaded(false);
            return tracing::error!("the certificates can't be read: the last good ones stay in force");
        };
        let mut broken = Vec::new();
        for (certificate, result) in results {
            match result {
                Ok(true) => {
                    metrics.certificates_reloaded(true);
                    tracing::info!(
                        "{} or what belongs to it has changed, and is in force",
                        certificate.display()
                    );
                }
                Ok(false) => {}
                Err(mistakes) => broken.extend(mistakes),
            }
        }
        self.measure(metrics);
        // What is looked at again and again is told once.
        if !broken.is_empty() && (cause != Cause::Glance || broken != self.broken) {
            metrics.certificates_reloaded(false);
            broken.iter().for_each(|mistake| tracing::error!("{mistake}"));
            tracing::error!("certificates have mistakes: the last good ones stay in force");
        }
        self.broken = broken;
    }

    fn measure(&self, metrics: &Metrics) {
        metrics.certificates_expire(self.listeners.iter().map(|tls| tls.expires()).min());
    }
}

fn certificate(tls: &Tls) -> PathBuf {
    tls.files().next().map(Path::to_owned).unwrap_or_default()
}
