//! `nf_conntrack_tcp_loose`: whether conntrack takes up connections in their middle.
//!
//! While it is 1, a packet from the far side of a connection that was opened before anything was tracked
//! begins a new entry in which *that* side opened it. What this host sends then counts as an answer to a
//! connection from outside, and the old connection lives on under the lockdown. So it is 0 there.

use std::fs;
use std::io;

use crate::lockdown::commands;

/// What the rules say before the earlier value.
pub(super) const NOTE: &str = "nf_conntrack_tcp_loose was ";

const SETTING: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose";

/// The value in force; conntrack is loaded for the question if need be.
pub fn loose() -> io::Result<bool> {
    let text = match fs::read_to_string(SETTING) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Where it can't be loaded, reading again tells.
            let loaded = commands::run("modprobe", &["nf_conntrack"], "");
            drop(loaded);
            fs::read_to_string(SETTING)?
        }
        text => text?,
    };
    Ok(text.trim() != "0")
}

/// Sets it.
pub fn set_loose(loose: bool) -> io::Result<()> {
    fs::write(SETTING, if loose { "1\n" } else { "0\n" })
}

/// The earlier value as rules in force note it.
pub fn noted(rules: &str) -> Option<bool> {
    let (_, after) = rules.split_once(NOTE)?;
    Some(!after.starts_with('0'))
}
