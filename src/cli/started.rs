//! Tells who started exeat that its doors are bound, where they asked to be told (sd_notify(3)).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket of those who asked: a path, or behind an `@` a name of the kernel's own.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells it. Others don't listen for it.
pub(super) fn tell() -> io::Result<()> {
    let Some(name) = env::var_os(SOCKET) else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address).map(drop)
}
