//! The users of a password file, and the passwords that they say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::client::User;
use crate::file;
use crate::identity::{Accounts, Groups};
use crate::mistake::{Mistake, Place};
use crate::yaml::Reader;

/// Largest file: a hundred thousand users have 10 MB.
const SIZE_MAX: u64 = 32 << 20;

/// The files of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFiles {
    /// `user:hash`, as htpasswd writes it.
    pub users: PathBuf,
    /// `group: user user`.
    pub groups: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Passwords {
    files: PasswordFiles,
    accounts: ArcSwap<Accounts>,
}

impl Passwords {
    pub(super) fn load(files: PasswordFiles) -> Result<Self, Vec<Mistake>> {
        let accounts = ArcSwap::from_pointee(files.read()?);
        Ok(Self { files, accounts })
    }

    /// Reads the files again; on any error nothing changes. Returns whether any account changed.
    pub(super) fn reload(&self) -> Result<bool, Vec<Mistake>> {
        let mut accounts = self.files.read()?;
        let is_new = accounts.keep(&self.accounts.load());
        if is_new {
            tracing::info!(users = accounts.len(), "a new file of users is in force");
            self.accounts.store(Arc::new(accounts));
        }
        Ok(is_new)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        [&self.files.users].into_iter().chain(&self.files.groups).cloned()
    }

    /// The user of that name.
    pub(super) fn user(&self, name: &str) -> Option<Arc<User>> {
        self.accounts.load().user(name).cloned()
    }

    /// Whether this is a user as the files have it now, with the password that it had.
    pub(super) fn holds(&self, user: &Arc<User>) -> bool {
        self.accounts.load().user(&user.name).is_some_and(|now| Arc::ptr_eq(now, user))
    }

    /// The user, if this is its password. Whether there is such a user does not show in how long it takes.
    pub(super) async fn prove(
        &self,
        user: &str,
        password: Zeroizing<Vec<u8>>,
        workers: &Arc<Semaphore>,
    ) -> Option<Arc<User>> {
        let (account, is_own) = self.accounts.load().compared(user)?;
        let permit = Arc::clone(workers).acquire_owned().await.ok()?;
        let proven = spawn_blocking(move || {
            let is_right = account.verify(&password);
            // Held until here even if nobody waits any more: as many cores are busy as were meant to be.
            drop(permit);
            (is_right && is_own).then_some(account.user)
        });
        proven.await.ok().flatten()
    }
}

impl PasswordFiles {
    fn read(&self) -> Result<Accounts, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let groups =
            self.groups.as_deref().and_then(|path| open(path, &mut mistakes).map(|text| (path, text)));
        let groups = groups.map_or_else(Groups::default, |(path, text)| {
            let mut reader = Reader::new(path.into());
            let groups = Groups::read(&mut reader, &text);
            mistakes.extend(reader.finish());
            groups
        });
        let mut accounts = Accounts::default();
        if let Some(text) = open(&self.users, &mut mistakes) {
            let mut reader = Reader::new(self.users.as_path().into());
            accounts = Accounts::read(&mut reader, &text, &groups);
            mistakes.extend(reader.finish());
        }
        match mistakes.iter().any(Mistake::is_error) {
            true => Err(mistakes),
            false => Ok(accounts),
        }
    }
}

fn open(path: &Path, mistakes: &mut Vec<Mistake>) -> Option<Zeroizing<String>> {
    match file::read(path, SIZE_MAX) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            mistakes.push(Mistake::error(Place::start(path), error.to_string()));
            None
        }
    }
}
