//! The files as they are read: what was in them, and what is wrong with them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use memchr::memmem;
use rustls::pki_types::pem::{self, PemObject};

use crate::file;
use crate::mistake::{Mistake, Place};

/// More than all public roots of the world in one file.
pub(super) const SIZE_MAX: u64 = 16 << 20;
/// The header that stands before a key with a passphrase where its label does not say so (RFC 1421 §4.6.1.1).
const ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) mistakes: Vec<Mistake>,
    content: DefaultHasher,
}

impl Reading {
    /// All of one kind that a PEM file holds; `what` says it in the plural.
    pub(super) fn all<T: PemObject>(&mut self, path: &Path, what: &str) -> Option<Vec<T>> {
        let bytes = self.bytes(path)?;
        match T::pem_slice_iter(&bytes).collect::<Result<Vec<T>, _>>() {
            Ok(items) if items.is_empty() => self.wrong(path, format!("it holds no {what} in PEM")),
            Ok(items) => return Some(items),
            Err(error) => self.wrong(path, unreadable(&error)),
        }
        None
    }

    /// The first of one kind that a PEM file holds.
    pub(super) fn first<T: PemObject>(&mut self, path: &Path, what: &str) -> Option<T> {
        let bytes = self.bytes(path)?;
        match T::from_pem_slice(&bytes) {
            Ok(item) => return Some(item),
            Err(error) => {
                let is_none =
                    matches!(error, pem::Error::NoItemsFound) || memmem::find(&bytes, ENCRYPTED).is_some();
                let what = if is_none { format!("it holds no {what} in PEM") } else { unreadable(&error) };
                self.wrong(path, what);
            }
        }
        None
    }

    /// Notes what is wrong with a file.
    pub(super) fn wrong(&mut self, path: &Path, what: impl Into<String>) {
        self.mistakes.push(Mistake::error(Place::start(path), what));
    }

    /// Notes what is wrong with a file, and what would be right.
    pub(super) fn hinted(&mut self, path: &Path, what: impl Into<String>, hint: &str) {
        self.mistakes.push(Mistake::error(Place::start(path), what).hint(hint));
    }

    /// A number that changes with what the files hold.
    pub(super) fn content(&self) -> u64 {
        self.content.finish()
    }

    fn bytes(&mut self, path: &Path) -> Option<Vec<u8>> {
        match file::read_bytes(path, SIZE_MAX) {
            Ok(bytes) => {
                bytes.hash(&mut self.content);
                Some(bytes)
            }
            Err(error) => {
                self.wrong(path, error.to_string());
                None
            }
        }
    }
}

fn unreadable(error: &pem::Error) -> String {
    format!("it is not good PEM: {error}")
}
