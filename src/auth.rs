//! Who a client of the explicit door is: from the credentials of a request to a user, or to a 407.

mod cache;
mod challenge;
mod pace;
mod passwords;
mod recent;
mod settings;
mod tokens;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use hyper::header::{self, HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::auth::cache::{Cache, Digest, Known};
use crate::auth::pace::Pace;
use crate::auth::passwords::Passwords;
use crate::auth::tokens::Tokens;
use crate::client::{Client, Means, User};
use crate::error::{AuthFailure, Error};
use crate::identity::{Credentials, Keys, Proven, TokenError};
use crate::metrics::{AuthEvent, Metrics};
use crate::mistake::Mistake;
use crate::resolve::Resolver;

pub use self::challenge::challenges;
pub use self::passwords::PasswordFiles;
pub use self::settings::{Required, Settings};
pub use self::tokens::{KeySource, KeyUrl, TokenSettings};

/// Asks for credentials, and remembers those that were right.
pub struct Authenticator {
    required: Required,
    realm: String,
    passwords: Option<Passwords>,
    tokens: Option<Tokens>,
    cache: Cache,
    pace: Pace,
    /// Leave to use a core for a while.
    workers: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Authenticator {
    /// Reads the files; on any error, every mistake in them.
    pub fn new(
        settings: &Settings,
        resolver: Arc<Resolver>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Vec<Mistake>> {
        let passwords = settings.passwords.clone().map(Passwords::load).transpose();
        let tokens =
            settings.tokens.clone().map(|tokens| Tokens::load(tokens, resolver, Arc::clone(&metrics)));
        let (passwords, tokens) = match (passwords, tokens.transpose()) {
            (Ok(passwords), Ok(tokens)) => (passwords, tokens),
            (passwords, tokens) => {
                return Err([passwords.err(), tokens.err()].into_iter().flatten().flatten().collect());
            }
        };
        // Half of the cores at most: the others go on moving bytes, however many passwords come.
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            required: settings.required.clone(),
            realm: settings.realm.clone(),
            passwords,
            tokens,
            cache: Cache::new(),
            pace: Pace::new(),
            workers: Arc::new(Semaphore::new((cores / 2).max(1))),
            metrics,
        })
    }

    /// Who sent these headers; `None` for a client that need not say. What it does say has to be right.
    pub async fn identify(&self, client: &Client, headers: &HeaderMap) -> Result<Option<Arc<User>>, Error> {
        let mut values = headers.get_all(header::PROXY_AUTHORIZATION).iter();
        let Some(value) = values.next() else { return self.unnamed(client).map(|()| None) };
        if values.next().is_some() {
            return Err(self.failed(AuthFailure::Credentials("credentials came twice".into())));
        }
        let digest = self.cache.digest(value.as_bytes());
        if let Some(user) = self.known(digest) {
            return Ok(Some(user));
        }
        self.prove(client, value, digest).await.map(Some)
    }

    /// The same client as it would be known now; `None` if its user is no more.
    pub fn still<'c>(&self, client: &'c Client) -> Option<Cow<'c, Client>> {
        let Some(user) = client.user.as_ref().filter(|user| user.means == Means::Password) else {
            return Some(Cow::Borrowed(client));
        };
        let known = self.passwords.as_ref()?.user(&user.name)?;
        if Arc::ptr_eq(&known, user) {
            return Some(Cow::Borrowed(client));
        }
        Some(Cow::Owned(Client { user: Some(known), ..client.clone() }))
    }

    /// Whether a user is still one, and the same. Of a token's that is not known: it was proved for each request.
    pub fn has(&self, user: &Arc<User>) -> bool {
        user.means != Means::Password
            || self.passwords.as_ref().is_some_and(|passwords| passwords.holds(user))
    }

    /// What a client is told that has to say who it is, or said it wrongly.
    pub fn challenges(&self, error: &Error) -> Vec<HeaderValue> {
        challenges(&self.realm, self.passwords.is_some(), self.tokens.is_some(), error)
    }

    /// The files that it reads, for whoever watches them.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let passwords = self.passwords.iter().flat_map(Passwords::files);
        passwords.chain(self.tokens.iter().map(Tokens::file))
    }

    /// Reads the files again; what is wrong in one changes nothing of what it said before. Returns whether
    /// anything changed for users that are known. Not for an I/O thread.
    pub fn reload(&self) -> bool {
        if let Some(tokens) = &self.tokens {
            tokens.reload();
        }
        let Some(passwords) = &self.passwords else { return false };
        let reloaded = passwords.reload();
        self.metrics.auth().reloaded_passwords(reloaded.is_ok());
        reloaded.unwrap_or_else(|mistakes| {
            for mistake in &mistakes {
                tracing::error!("{mistake}");
            }
            tracing::error!("the file of users has mistakes: the last good one stays in force");
            false
        })
    }

    /// Keeps the issuer's keys fresh, where they come from the network; ends at once where they don't.
    pub async fn refresh(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.refresh().await;
        }
    }

    fn unnamed(&self, client: &Client) -> Result<(), Error> {
        let required = match &self.required {
            Required::Everyone => true,
            Required::Nobody => false,
            Required::From(networks) => networks.iter().any(|network| network.contains(&client.ip())),
        };
        // A certificate says who it is already.
        if !required || client.certificate.is_some() {
            return Ok(());
        }
        self.metrics.auth().count(AuthEvent::Required);
        Err(Error::AuthRequired)
    }

    /// The user of credentials that were right before, and still are.
    fn known(&self, digest: Option<Digest>) -> Option<Arc<User>> {
        let user = self.cache.find(&digest?, |known| match &known.key {
            None => self.passwords.as_ref().is_some_and(|passwords| passwords.holds(&known.user)),
            Some(key) => self.tokens.as_ref().is_some_and(|tokens| tokens.holds(key, known.until)),
        })?;
        self.metrics.auth().count(match user.means {
            Means::Token => AuthEvent::TokenKnown,
            Means::Password | Means::Supposed => AuthEvent::PasswordKnown,
        });
        Some(user)
    }

    async fn prove(
        &self,
        client: &Client,
        value: &HeaderValue,
        digest: Option<Digest>,
    ) -> Result<Arc<User>, Error> {
        let credentials = Credentials::parse(value.as_bytes());
        let credentials =
            credentials.map_err(|error| self.failed(AuthFailure::Credentials(error.to_string().into())))?;
        match (credentials, &self.passwords, &self.tokens) {
            (Credentials::Basic { user, password }, Some(passwords), _) => {
                let turn = self.pace.turn(client.ip(), Some(&user)).await;
                let turn = turn.inspect_err(|_| self.metrics.auth().count(AuthEvent::PasswordLimited))?;
                // Whoever waited for the same credentials need not ask again.
                if let Some(user) = self.known(digest) {
                    return Ok(user);
                }
                let Some(proven) = passwords.prove(&user, password, &self.workers).await else {
                    turn.failed();
                    return Err(self.failed(AuthFailure::Password));
                };
                self.metrics.auth().count(AuthEvent::PasswordProved);
                self.cache.keep(digest, Known { user: Arc::clone(&proven), key: None, until: u64::MAX });
                // Only now: whoever goes by the new lane, which is free, finds what is kept.
                turn.succeeded(client.ip(), &user);
                Ok(proven)
            }
            (Credentials::Bearer(token), _, Some(tokens)) => {
                let proven = self.prove_token(client, tokens, token).await?;
                self.metrics.auth().count(AuthEvent::TokenProved);
                let user = Arc::new(proven.user);
                self.cache.keep(
                    digest,
                    Known { user: Arc::clone(&user), key: Some(proven.key), until: proven.until },
                );
                Ok(user)
            }
            (Credentials::Basic { .. }, None, _) => {
                Err(self.failed(AuthFailure::Credentials("passwords are not taken here, tokens are".into())))
            }
            (Credentials::Bearer(_), _, None) => {
                Err(self.failed(AuthFailure::Credentials("tokens are not taken here, passwords are".into())))
            }
        }
    }

    async fn prove_token(
        &self,
        client: &Client,
        tokens: &Tokens,
        token: Zeroizing<String>,
    ) -> Result<Proven, Error> {
        let (token, mut keys) = (Arc::new(token), tokens.keys());
        let mut proven = self.check_token(client, tokens, &token, &keys).await?;
        // Perhaps signed with a key that came since. The turn is over: an issuer that is slow holds up nobody else.
        if matches!(proven, Err(TokenError::UnknownKey)) && tokens.has_newer(&keys).await {
            keys = tokens.keys();
            proven = self.check_token(client, tokens, &token, &keys).await?;
        }
        proven.map_err(|error| self.failed(AuthFailure::Token(error.to_string().into())))
    }

    /// Checks a token in the client's turn: nobody guesses one, but each costs some time.
    async fn check_token(
        &self,
        client: &Client,
        tokens: &Tokens,
        token: &Arc<Zeroizing<String>>,
        keys: &Arc<Keys>,
    ) -> Result<Result<Proven, TokenError>, Error> {
        let turn = self.pace.turn(client.ip(), None).await;
        let _turn = turn.inspect_err(|_| self.metrics.auth().count(AuthEvent::TokenLimited))?;
        Ok(tokens.check(token, keys, &self.workers).await)
    }

    fn failed(&self, failure: AuthFailure) -> Error {
        self.metrics.auth().count(match failure {
            AuthFailure::Password => AuthEvent::PasswordFailed,
            AuthFailure::Token(_) => AuthEvent::TokenFailed,
            AuthFailure::Credentials(_) => AuthEvent::Unreadable,
        });
        Error::AuthFailed(failure)
    }
}

/// Without anything that a client has said.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("required", &self.required).finish_non_exhaustive()
    }
}
