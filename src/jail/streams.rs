//! The standard input, output and error that the caller gives the command. They are objects of the outside, and stay that
//! inside: a socket belongs to the network that it was made in and a directory to its tree of mounts, whoever holds them.
//! What is known to lead nowhere passes, and nothing else.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatfs, major, minor};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType, getpeername};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::tcgetattr;

use crate::jail::fault::{Fault, Step};

/// The type of the file system that namespaces are files of (statfs(2)).
const NAMESPACES: u64 = 0x6e73_6673;
/// Devices that no other can be reached by: null, zero, full, random and urandom, by the kernel's list of numbers.
const INERT_MAJOR: u32 = 1;
const INERT_MINORS: [u32; 5] = [3, 5, 7, 8, 9];

/// Refuses a command that one of them would lead out of the jail.
pub(super) fn look() -> Result<(), Fault> {
    let mut ways = Vec::new();
    for (name, stream) in [("input", stdin()), ("output", stdout()), ("error", stderr())] {
        let way = way_out(stream).map_err(Fault::at(Step::Streams, format_args!("standard {name}")))?;
        ways.extend(way.map(|way| format!("its standard {name} is {way}")));
    }
    if ways.is_empty() {
        return Ok(());
    }
    let remedy = "put a pipe or /dev/null in its place, as in: cat | exeat run … 2>&1 | cat";
    Err(Fault::new(Step::Streams, io::Error::other(format!("{}; {remedy}", ways.join("; ")))))
}

/// What it is, if that may lead anywhere.
fn way_out(stream: BorrowedFd<'_>) -> io::Result<Option<&'static str>> {
    // Of what was not opened the rest says what it would be.
    if fcntl_getfl(stream)?.contains(OFlags::PATH) {
        return Ok(Some("a path that is not open (O_PATH)"));
    }
    let found = fstat(stream)?;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if is_namespace(stream)? => Some("a namespace"),
        FileType::RegularFile | FileType::Fifo => None,
        FileType::CharacterDevice if is_terminal(stream) || is_inert(found.st_rdev) => None,
        FileType::CharacterDevice => Some("a device, and no terminal"),
        FileType::Socket => way_of_socket(stream)?,
        FileType::Directory => Some("a directory, from which nothing is masked"),
        _ => Some("neither a file nor a pipe nor a terminal"),
    })
}

/// A stream of unix sockets that is connected stays so for life: it can't be connected anew, can't listen, and sends to
/// no other address. Of datagrams, and of the streams of other families, none of this is so.
fn way_of_socket(socket: BorrowedFd<'_>) -> io::Result<Option<&'static str>> {
    if socket_domain(socket)? != AddressFamily::UNIX {
        return Ok(Some("a socket of the network outside"));
    }
    if !matches!(socket_type(socket)?, SocketType::STREAM | SocketType::SEQPACKET) {
        return Ok(Some("a unix socket of datagrams"));
    }
    let is_connected = !socket_acceptconn(socket)? && getpeername(socket).is_ok();
    Ok((!is_connected).then_some("a unix socket that is not connected"))
}

fn is_namespace(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(u64::try_from(fstatfs(file)?.f_type) == Ok(NAMESPACES))
}

/// Also one that has hung up, as that of who logged out: it answers nothing else (tty_ioctl(4)).
fn is_terminal(device: BorrowedFd<'_>) -> bool {
    matches!(tcgetattr(device), Ok(_) | Err(Errno::IO))
}

fn is_inert(device: u64) -> bool {
    major(device) == INERT_MAJOR && INERT_MINORS.contains(&minor(device))
}
