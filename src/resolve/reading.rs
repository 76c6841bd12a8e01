//! The files that the settings name, or those of this host in their place.

use std::path::Path;

use rustls::RootCertStore;

use crate::resolve::files::{self, FileError, Hosts};
use crate::resolve::{Server, Settings};
use crate::tls::trust::{self, TrustError};

pub(super) fn hosts_path(settings: &Settings) -> &Path {
    settings.hosts.as_deref().unwrap_or(Path::new("/etc/hosts"))
}

pub(super) fn read_hosts(settings: &Settings) -> Result<Hosts, FileError> {
    let path = hosts_path(settings);
    match Hosts::read(path) {
        Err(error) if settings.hosts.is_none() && error.is_not_found() => Ok(Hosts::default()),
        result => result,
    }
}

pub(super) fn read_servers(settings: &Settings) -> Result<Vec<Server>, FileError> {
    if settings.servers.is_empty() {
        let servers = files::read_resolv_conf(&settings.resolv_conf)?;
        return Ok(servers.into_iter().map(Server::from).collect());
    }
    Ok(settings.servers.clone())
}

/// The authorities, if any server needs them.
pub(super) fn read_roots(list: &[Server], settings: &Settings) -> Result<Option<RootCertStore>, TrustError> {
    if list.iter().all(|server| server.certified.is_none()) {
        return Ok(None);
    }
    trust::read(settings.ca.as_deref()).map(Some)
}
