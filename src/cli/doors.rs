//! The doors that flags say over those of the settings.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::address;
use crate::config::{Listen, Listener};

#[derive(Args, Clone, Debug)]
pub(super) struct DoorArgs {
    /// Where clients connect to; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Where the firewall redirects connections to; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    transparent: Vec<SocketAddr>,
    /// Where DNS questions are answered, over UDP and TCP; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    dns: Vec<SocketAddr>,
    /// Where metrics and health are served; only the settings can turn that off
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    admin: Option<SocketAddr>,
}

impl DoorArgs {
    /// Puts the doors that were given in the place of those of the settings.
    pub(super) fn over(&self, listen: &mut Listen) {
        for (given, place) in [
            (&self.listen, &mut listen.explicit),
            (&self.transparent, &mut listen.transparent),
            (&self.dns, &mut listen.dns),
        ] {
            if !given.is_empty() {
                *place = given.iter().copied().map(Listener::from).collect();
            }
        }
        listen.admin = self.admin.or(listen.admin);
    }
}
