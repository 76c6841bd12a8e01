//! Settings: what exeat does when nobody says otherwise, and what `exeat.yaml` says.

mod credentials;
mod listeners;
mod parents;
mod reading;
mod values;

use std::net::{AddrParseError, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth;
use crate::dns::{Denied, Https, Manners};
use crate::file;
use crate::host::Name;
use crate::mistake::{Mistake, Place};
use crate::parent;
use crate::policy::document::Known;
use crate::policy::outgoing::Outgoing;
use crate::resolve::Server;
use crate::tls;
use crate::yaml::SIZE_MAX;

pub use values::ADDRESS;

/// Everything that can be set, in its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub listen: Listen,
    /// Files and directories; empty: the built-in policy.
    pub policy: Vec<PathBuf>,
    pub audit: Audit,
    /// Worker threads; `None`: one for each core.
    pub threads: Option<usize>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub dns: Dns,
    /// How connections to upstreams leave this host, where the policy says nothing of it; `None`: as the kernel likes.
    pub outgoing: Option<Arc<Outgoing>>,
    /// The proxies that policies may send flows through.
    pub parents: Vec<parent::Settings>,
    /// How clients of the explicit door say who they are; `None`: they need not.
    pub auth: Option<auth::Settings>,
    pub admin_expose: Expose,
    /// Names by which the admin door may be addressed, besides `localhost` and its addresses.
    pub admin_names: Vec<Name>,
}

/// Where exeat listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub explicit: Vec<Listener>,
    /// For connections that a firewall redirects.
    pub transparent: Vec<Listener>,
    /// For DNS questions, over UDP and TCP.
    pub dns: Vec<Listener>,
    pub admin: Option<SocketAddr>,
}

/// One listener, and what comes on its connections before what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub address: SocketAddr,
    /// Those whose connections begin with a PROXY header, over TCP.
    pub senders: Vec<IpNet>,
    /// `None`: clients speak to it in the clear.
    pub tls: Option<tls::Files>,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// `-` is stdout.
    pub path: PathBuf,
    /// Also write a record when a flow starts.
    pub opened: bool,
    /// Refuse new flows while records can't be written.
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Open flows; `None`: no limit.
    pub flows: Option<NonZeroUsize>,
    /// Open flows of one client address; `None`: no limit.
    pub flows_per_client: Option<NonZeroUsize>,
    /// Open connections of clients, with or without a flow; `None`: no limit.
    pub connections: Option<NonZeroUsize>,
    /// Open connections of one client address; `None`: no limit.
    pub connections_per_client: Option<NonZeroUsize>,
    /// The size of a request's head.
    pub head_bytes: usize,
}

/// Each is for the whole of its step, never for each read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    pub head: Duration,
    pub dial: Duration,
    pub keepalive: Duration,
    pub idle: Duration,
    pub half_closed: Duration,
    pub drain: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Empty: those of `/etc/resolv.conf`.
    pub servers: Vec<Server>,
    /// The authorities that may certify servers over TLS; `None`: those of this host.
    pub ca: Option<PathBuf>,
    /// `None`: `/etc/hosts`, if there is one.
    pub hosts: Option<PathBuf>,
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    /// How the DNS door answers where there is a choice.
    pub manners: Manners,
}

/// What the admin listener shows to others than this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expose {
    /// `/metrics`, `/healthz` and `/readyz`.
    Metrics,
    All,
}

impl Listen {
    /// No listener at all.
    pub fn nowhere() -> Self {
        Self { explicit: Vec::new(), transparent: Vec::new(), dns: Vec::new(), admin: None }
    }

    /// Whether clients could connect anywhere.
    fn has_door(&self) -> bool {
        !(self.explicit.is_empty() && self.transparent.is_empty() && self.dns.is_empty())
    }
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self { address, senders: Vec::new(), tls: None }
    }
}

impl FromStr for Listener {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse().map(SocketAddr::into)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: Listen {
                explicit: vec![loopback(3128).into()],
                transparent: Vec::new(),
                dns: Vec::new(),
                admin: Some(loopback(3130)),
            },
            policy: Vec::new(),
            audit: Audit { path: PathBuf::from("-"), opened: false, required: false },
            threads: None,
            limits: Limits {
                flows: NonZeroUsize::new(100_000),
                flows_per_client: None,
                connections: None,
                connections_per_client: None,
                head_bytes: 32_768,
            },
            timeouts: Timeouts {
                head: seconds(10),
                dial: seconds(10),
                keepalive: seconds(75),
                idle: seconds(3600),
                half_closed: seconds(300),
                drain: seconds(30),
            },
            dns: Dns {
                servers: Vec::new(),
                ca: None,
                hosts: None,
                min_ttl: seconds(1),
                max_ttl: seconds(300),
                manners: Manners { denied: Denied::NoSuchName, https: Https::Empty },
            },
            outgoing: None,
            parents: Vec::new(),
            auth: None,
            admin_expose: Expose::Metrics,
            admin_names: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads a settings file, and with it every mistake in it.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        Self::load_over(Self::default(), path)
    }

    /// The same for a command that has defaults of its own: they hold where the file says nothing.
    pub fn load_over(defaults: Self, path: &Path) -> Result<Self, Vec<Mistake>> {
        let text = file::read(path, SIZE_MAX);
        let text = text.map_err(|error| vec![Mistake::error(Place::start(path), error.to_string())])?;
        reading::settings(defaults, path, &text)
    }

    /// The parents that policies may name.
    pub fn known_parents(&self) -> Known {
        Some(self.parents.iter().map(|parent| parent.name.as_str().into()).collect())
    }

    /// The mistake, if it is one, that the settings of this file leave no door, which flags could have given.
    pub fn no_door(&self, file: &Path) -> Option<Mistake> {
        let mistake = Mistake::error(Place::start(file), "`listen` has no door: no client could connect");
        let hint = "name an address in `explicit`, `transparent` or `dns`, like [\"127.0.0.1:3128\"]";
        (!self.listen.has_door()).then(|| mistake.hint(hint))
    }

    /// The mistake, if it is one, that credentials would cross a network in plain text.
    pub fn credentials_in_the_open(&self) -> Option<Mistake> {
        let plain = self.listen.explicit.iter().filter(|listener| listener.tls.is_none());
        self.auth.as_ref()?.refuse_plaintext(plain.map(|listener| &listener.address))
    }

    /// The variables of the environment that hold secrets.
    pub fn secret_variables(&self) -> Vec<String> {
        let accounts = self.parents.iter().filter_map(|parent| parent.account.as_ref());
        accounts.filter_map(|account| account.variable()).map(str::to_owned).collect()
    }

    /// Reads the text of a settings file; paths in it are relative to its directory.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        reading::settings(Self::default(), path, text)
    }
}

#[cfg(test)]
mod tests;
