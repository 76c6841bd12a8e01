//! What is asked of clients, and where.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::auth::{PasswordFiles, TokenSettings};
use crate::mistake::{Mistake, Place};

/// How clients of the explicit door prove who they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the settings say so.
    pub place: Place,
    /// What clients are told that the credentials are for (RFC 9110 §11.5).
    pub realm: String,
    pub required: Required,
    /// Whether credentials may cross a network in plain text.
    pub allow_plaintext: bool,
    pub passwords: Option<PasswordFiles>,
    pub tokens: Option<TokenSettings>,
}

/// Who has to prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Required {
    Everyone,
    Nobody,
    /// Whoever comes from these networks.
    From(Vec<IpNet>),
}

impl Settings {
    /// The mistake, if it is one, that credentials would cross a network in plain text on the way to one of these
    /// listeners.
    pub fn refuse_plaintext<'l>(&self, plain: impl Iterator<Item = &'l SocketAddr>) -> Option<Mistake> {
        let is_near = |ip: IpAddr| ip.to_canonical().is_loopback();
        let far =
            plain.into_iter().find(|listener| !is_near(listener.ip())).filter(|_| !self.allow_plaintext)?;
        let what = format!("`auth` lets credentials come to {far}, where anyone on the way can read them");
        let hint = "let clients speak TLS there (`tls`), listen on a loopback address, or say `allow_plaintext_auth: true` if nobody else is on that network";
        Some(Mistake::error(self.place.clone(), what).hint(hint))
    }
}
