//! What is read of the files that the settings name, before the start: users, certificates, parents' passwords.

use std::sync::Arc;

use crate::auth::Authenticator;
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::parent::Parents;
use crate::resolve::Resolver;
use crate::tls::{Files, Tls};
use crate::via::Via;

/// What clients say who they are to, if the settings want to know; never in plain text over a network by accident.
pub(super) fn authenticator(
    settings: &Settings,
    resolver: &Arc<Resolver>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Authenticator>>, Vec<Mistake>> {
    let Some(auth) = &settings.auth else { return Ok(None) };
    let authenticator = Authenticator::new(auth, Arc::clone(resolver), Arc::clone(metrics));
    match (authenticator, settings.credentials_in_the_open()) {
        (Ok(auth), None) => Ok(Some(Arc::new(auth))),
        (Ok(_), Some(mistake)) => Err(vec![mistake]),
        (Err(mistakes), mistake) => Err(mistake.into_iter().chain(mistakes).collect()),
    }
}

/// TLS of each explicit listener, in their order, or every mistake in their files.
pub(super) fn load_tls(settings: &Settings) -> Result<Vec<Option<Arc<Tls>>>, Vec<Mistake>> {
    let load = |files: &Files| Tls::load(files.clone()).map(Arc::new);
    let (mut loaded, mut mistakes) = (Vec::new(), Vec::new());
    for listener in &settings.listen.explicit {
        match listener.tls.as_ref().map(load).transpose() {
            Ok(tls) => loaded.push(tls),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(loaded) } else { Err(mistakes) }
}

/// The parents that flows may be sent through.
pub(super) fn parents(
    settings: &Settings,
    via: &Via,
    metrics: &Metrics,
) -> Result<Arc<Parents>, Vec<Mistake>> {
    Parents::load(&settings.parents, via, metrics).map(Arc::new)
}
