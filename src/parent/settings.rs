//! What the settings say of a parent.

use std::path::PathBuf;

use crate::mistake::Place;
use crate::parent::url::Url;

/// One parent.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// By which policies name it.
    pub name: String,
    /// Where the settings say so.
    pub place: Place,
    /// In the order in which they are tried.
    pub urls: Vec<Url>,
    pub resolve: Resolve,
    pub account: Option<Account>,
    /// The authorities that may certify it; `None`: those of this host.
    pub ca: Option<PathBuf>,
}

/// Who looks the names of destinations up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolve {
    /// exeat does, screens the addresses, and asks the parent for one of them.
    #[default]
    Here,
    /// The parent is asked for the name.
    Parent,
}

/// As whom exeat speaks to a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub username: String,
    pub password: PasswordSource,
    /// Where the settings name the source.
    pub place: Place,
}

impl Account {
    /// The variable of the environment that has the password.
    pub fn variable(&self) -> Option<&str> {
        match &self.password {
            PasswordSource::Environment(name) => Some(name),
            PasswordSource::File(_) => None,
        }
    }
}

/// Where a password is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// A variable of the environment.
    Environment(String),
    /// A file, of which the first line is the password.
    File(PathBuf),
}
