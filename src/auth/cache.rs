//! Credentials that were right, by a keyed hash: nobody who reads this memory learns them.

use std::sync::{Arc, Mutex};

use ring::hmac;
use ring::rand::SystemRandom;

use crate::auth::recent::Recent;
use crate::client::User;
use crate::identity::Key;
use crate::lock::lock;

/// Apart from each other, so that cores don't wait for one another.
const SHARDS: usize = 16;
/// Credentials in each generation of a shard: 131,072 in all at most, about 16 MB.
const ROOM: usize = 4096;

pub(super) struct Cache {
    /// Of this run alone. `None` where the system has no random numbers: then nothing is remembered.
    secret: Option<hmac::Key>,
    shards: [Mutex<Recent<Digest, Known>>; SHARDS],
}

/// What stands for credentials. As nobody knows the key, nobody can make two that are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

/// Who they are of, and what that rests on.
pub(super) struct Known {
    pub(super) user: Arc<User>,
    /// What the token was signed with; `None`: a password.
    pub(super) key: Option<Arc<Key>>,
    /// In seconds since 1970.
    pub(super) until: u64,
}

impl Cache {
    pub(super) fn new() -> Self {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).inspect_err(|_| {
            tracing::error!("the system has no random numbers: each request's credentials are proved anew");
        });
        Self { secret: secret.ok(), shards: std::array::from_fn(|_| Mutex::new(Recent::new(ROOM))) }
    }

    pub(super) fn digest(&self, credentials: &[u8]) -> Option<Digest> {
        let tag = hmac::sign(self.secret.as_ref()?, credentials);
        tag.as_ref().try_into().ok().map(Digest)
    }

    /// The user of these credentials, if what they rest on is `still` so.
    pub(super) fn find(&self, digest: &Digest, still: impl FnOnce(&Known) -> bool) -> Option<Arc<User>> {
        let mut shard = lock(self.shard(digest));
        let known = shard.find(digest)?;
        if still(known) {
            return Some(Arc::clone(&known.user));
        }
        shard.remove(digest);
        None
    }

    pub(super) fn keep(&self, digest: Option<Digest>, known: Known) {
        if let Some(digest) = digest {
            lock(self.shard(&digest)).insert(digest, known);
        }
    }

    fn shard(&self, digest: &Digest) -> &Mutex<Recent<Digest, Known>> {
        &self.shards[usize::from(digest.0[0]) % SHARDS]
    }
}
