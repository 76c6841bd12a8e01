//! The keys of an issuer, from a file or its URL, and the tokens that they have signed.

mod fetch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::auth::tokens::fetch::{Fetch, FetchError};
use crate::file;
use crate::identity::{Key, Keys, KeysError, Proven, TokenError, TokenRules, check};
use crate::metrics::Metrics;
use crate::mistake::{Mistake, Place};
use crate::resolve::Resolver;

pub use self::fetch::KeyUrl;

/// Largest set of keys.
const SIZE_MAX: u64 = 1 << 20;
/// A key that is not known may be new: the issuer is asked for it, but not more often than that.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// After a failure the keys are asked for again so soon.
const RETRY: Duration = Duration::from_secs(30);
/// Keys that could not be asked for anew for so long count no more: their issuer may have withdrawn them.
const TOO_OLD: Duration = Duration::from_secs(24 * 3600);

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSettings {
    pub rules: TokenRules,
    pub keys: KeySource,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    File(PathBuf),
    Url {
        url: KeyUrl,
        /// Whose certificates the issuer's server may have; `None`: the system's.
        ca: Option<PathBuf>,
        /// How long keys are used before they are asked for anew, unless the answer says sooner.
        refresh: Duration,
    },
}

pub(super) struct Tokens {
    rules: Arc<TokenRules>,
    source: Source,
    keys: ArcSwap<Keys>,
    metrics: Arc<Metrics>,
}

enum Source {
    File(PathBuf),
    Issuer { fetch: Fetch, refresh: Duration, contact: Mutex<Contact> },
}

/// When the issuer was asked last, and what came of it.
#[derive(Clone, Copy, Default)]
struct Contact {
    last: Option<Instant>,
    /// When it last answered.
    answered: Option<Instant>,
    /// When its last answer wants to be asked for again.
    again: Option<Duration>,
}

impl Tokens {
    pub(super) fn load(
        settings: TokenSettings,
        resolver: Arc<Resolver>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Vec<Mistake>> {
        let (source, keys) = match settings.keys {
            KeySource::File(path) => {
                let keys = read(&path).map_err(|mistake| vec![mistake])?;
                tell_broken(&keys);
                (Source::File(path), keys)
            }
            KeySource::Url { url, ca, refresh } => {
                let fetch = Fetch::new(url, ca, resolver).map_err(|mistake| vec![mistake])?;
                (Source::Issuer { fetch, refresh, contact: Mutex::default() }, Keys::default())
            }
        };
        Ok(Self { rules: Arc::new(settings.rules), source, keys: ArcSwap::from_pointee(keys), metrics })
    }

    /// The file of keys, or of who may certify the server that they come from.
    pub(super) fn file(&self) -> PathBuf {
        match &self.source {
            Source::File(path) => path.clone(),
            Source::Issuer { fetch, .. } => fetch.file(),
        }
    }

    /// Reads the file again; what is wrong in it changes nothing.
    pub(super) fn reload(&self) {
        let path = match &self.source {
            Source::File(path) => path,
            Source::Issuer { fetch, .. } => {
                if let Err(mistake) = fetch.reload() {
                    self.metrics.auth().reloaded_keys(false);
                    tracing::error!("{mistake}; what the file said before stays in force");
                }
                return;
            }
        };
        match read(path) {
            Ok(keys) => self.put(keys),
            Err(mistake) => {
                self.metrics.auth().reloaded_keys(false);
                tracing::error!("{mistake}");
                tracing::error!("the file of keys has a mistake: the last good one stays in force");
            }
        }
    }

    /// Whether a token that was signed with this key still counts.
    pub(super) fn holds(&self, key: &Arc<Key>, until: u64) -> bool {
        now() <= until && self.keys.load().holds(key)
    }

    /// The keys that are known now.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// What a token proves by these keys.
    pub(super) async fn check(
        &self,
        token: &Arc<Zeroizing<String>>,
        keys: &Arc<Keys>,
        workers: &Arc<Semaphore>,
    ) -> Result<Proven, TokenError> {
        let (token, keys) = (Arc::clone(token), Arc::clone(keys));
        let rules = Arc::clone(&self.rules);
        let permit = Arc::clone(workers).acquire_owned().await.map_err(|_| TokenError::Malformed)?;
        let checked = spawn_blocking(move || {
            let checked = check(&token, &keys, &rules);
            drop(permit);
            checked
        });
        checked.await.unwrap_or(Err(TokenError::Malformed))
    }

    /// Keeps the keys of a URL fresh.
    pub(super) async fn refresh(&self) {
        let Source::Issuer { refresh, contact, .. } = &self.source else { return };
        loop {
            let mut contact = contact.lock().await;
            let answered = self.ask(&mut contact).await;
            let wait = contact.again.map_or(*refresh, |again| again.min(*refresh)).max(RETRY);
            let is_too_old = contact.answered.is_some_and(|answered| answered.elapsed() > TOO_OLD);
            drop(contact);
            if is_too_old && !self.keys.load().is_empty() {
                tracing::error!("the issuer's keys are older than a day and count no more");
                self.keys.store(Arc::default());
            }
            sleep(if answered { wait } else { RETRY.min(*refresh) }).await;
        }
    }

    /// Whether there are other keys than these, after asking the issuer unless it was asked just now.
    pub(super) async fn has_newer(&self, keys: &Arc<Keys>) -> bool {
        let Source::Issuer { contact, .. } = &self.source else { return false };
        // Whoever waits here for the same answer finds it.
        let mut contact = contact.lock().await;
        if contact.last.is_none_or(|last| last.elapsed() >= ASK_AGAIN) {
            self.ask(&mut contact).await;
        }
        !Arc::ptr_eq(keys, &self.keys.load())
    }

    /// Asks the issuer; a failure changes nothing.
    async fn ask(&self, contact: &mut Contact) -> bool {
        let Source::Issuer { fetch, .. } = &self.source else { return false };
        contact.last = Some(Instant::now());
        let answer = fetch.get().await.and_then(|answer| {
            Keys::parse(&answer.body).map(|keys| (keys, answer.max_age)).map_err(FetchError::Keys)
        });
        match answer {
            Ok((keys, max_age)) => {
                (contact.answered, contact.again) = (Some(Instant::now()), max_age);
                self.put(keys);
                true
            }
            Err(error) => {
                self.metrics.auth().reloaded_keys(false);
                tracing::error!("the issuer's keys can't be had from {}: {error}", fetch.url());
                false
            }
        }
    }

    fn put(&self, mut keys: Keys) {
        let older = self.keys.load();
        if keys.keep(&older) {
            tracing::info!(keys = keys.len(), "new keys of the issuer are in force");
            tell_broken(&keys);
            self.keys.store(Arc::new(keys));
        }
        self.metrics.auth().reloaded_keys(true);
    }
}

/// Says which keys no token can be proven by, once for each set.
fn tell_broken(keys: &Keys) {
    for key in keys.broken() {
        tracing::warn!("{key}; it is left out");
    }
}

fn read(path: &std::path::Path) -> Result<Keys, Mistake> {
    let mistake = |what: String| Mistake::error(Place::start(path), what);
    let text = file::read(path, SIZE_MAX).map_err(|error| mistake(error.to_string()))?;
    Keys::parse(text.as_bytes()).map_err(|error: KeysError| mistake(error.to_string()))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
