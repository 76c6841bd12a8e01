//! The certificates of the listeners, read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::reload::followed::{Cause, Kind};
use crate::tls::Tls;

/// TLS of every listener that has it.
#[derive(Debug)]
pub struct Certificates {
    listeners: Vec<Arc<Tls>>,
    metrics: Arc<Metrics>,
    /// What is wrong with the files now.
    broken: Vec<Mistake>,
}

impl Certificates {
    /// Those of these listeners.
    pub fn new(listeners: Vec<Arc<Tls>>, metrics: Arc<Metrics>) -> Self {
        let certificates = Self { listeners, metrics, broken: Vec::new() };
        certificates.measure();
        certificates
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    fn measure(&self) {
        self.metrics.certificates_expire(self.listeners.iter().map(|tls| tls.expires()).min());
    }
}

impl Kind for Certificates {
    fn files(&self) -> Vec<PathBuf> {
        self.listeners.iter().flat_map(|tls| tls.files()).map(Path::to_owned).collect()
    }

    fn are_refused(&self) -> bool {
        !self.broken.is_empty()
    }

    /// A listener whose files have a mistake goes on with what it has.
    fn reload(&mut self, cause: Cause) {
        let mut broken = Vec::new();
        for tls in &self.listeners {
            match tls.reload() {
                Ok(true) => {
                    self.metrics.certificates_reloaded(true);
                    let certificate = tls.files().next().unwrap_or(Path::new("a certificate"));
                    tracing::info!(
                        "{} or what belongs to it has changed, and is in force",
                        certificate.display()
                    );
                }
                Ok(false) => {}
                Err(mistakes) => broken.extend(mistakes),
            }
        }
        self.measure();
        // What is looked at again and again is told once.
        if !broken.is_empty() && (cause != Cause::Glance || broken != self.broken) {
            self.metrics.certificates_reloaded(false);
            broken.iter().for_each(|mistake| tracing::error!("{mistake}"));
            tracing::error!("certificates have mistakes: the last good ones stay in force");
        }
        self.broken = broken;
    }

    fn broke_off(&self) {
        self.metrics.certificates_reloaded(false);
    }
}
