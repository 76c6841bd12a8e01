//! What the outside and the inside of a jail tell each other: messages, and with them descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::WaitStatus;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::jail::fault::Fault;
use crate::jail::redirect::Redirect;

/// The longest message: what the kernel keeps for a socket by default is more (`net.core.wmem_default`).
const MESSAGE_MAX: usize = 128 * 1024;
/// The most descriptors that go with a message (`SCM_MAX_FD` of the kernel).
pub(super) const DESCRIPTORS_MAX: usize = 253;

/// One end of a socket pair that keeps messages apart.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// What the outside asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The user namespace has its identities: go on.
    Identified,
    /// Lay everything out. With it come the command's standard input and the outside's list of unix sockets.
    LayOut(Layout),
    /// The doors are served: start the command.
    Begin,
    /// Send the command a signal.
    Signal(i32),
    /// Let the command go on, which had stopped.
    Resume,
    /// Let nothing inside move, if the terminal's foreground is the jail's; that the outside has it itself is said here.
    Freeze { in_front: bool },
    /// Say whether nothing has moved since.
    Look,
    /// Let everything move again.
    Thaw,
    /// Connect to a port of the inside.
    Connect(u16),
}

/// What the inside has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// There is a user namespace, and it has no identities yet.
    Unshared,
    /// There is the jail's first process, of this number outside.
    First(u32),
    /// Everything stands. With it come the sockets of the doors, in this order.
    Standing(Standing),
    Failed(Fault),
    Begun,
    Stopped(Stopped),
    Ended(Ending),
    /// Nothing moves; false: something does or did, or the terminal is others'.
    Frozen(bool),
    Thawed,
    /// With it comes the connection.
    Connected,
    NotConnected(String),
}

/// What a jail is made of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Layout {
    /// Directories that hold nothing inside.
    pub(super) empty: Vec<PathBuf>,
    /// What of the masked places is there all the same.
    pub(super) share: Vec<PathBuf>,
    /// Files that are not there inside.
    pub(super) masked: Vec<PathBuf>,
    /// The lines of `/etc/resolv.conf` other than its servers.
    pub(super) resolv_conf: String,
    /// Ports to listen on where nothing can redirect.
    pub(super) ports: Vec<u16>,
    /// How many threads the outside has for the doors.
    pub(super) workers: usize,
    /// Whether the inside's `/sys` belongs to this user, who could change the host by it.
    pub(super) owns_sys: bool,
}

/// How many sockets each door has, and by what the jail's connections come to them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) explicit: usize,
    pub(super) transparent: usize,
    pub(super) dns: usize,
    pub(super) redirect: Redirect,
    pub(super) warnings: Vec<String>,
}

/// What became of a command that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has stopped, and may be told to go on.
    Stopped(Stopped),
    Ended(Ending),
}

/// How the command stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub signal: i32,
    /// Whether the terminal's foreground is then a group of processes that the command has made.
    pub in_front: bool,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Exit(u8),
    Signal(i32),
}

impl Change {
    pub fn new(status: WaitStatus, in_front: impl FnOnce() -> bool) -> Self {
        let exit = || status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        match (status.stopping_signal(), status.terminating_signal()) {
            (Some(signal), _) => Self::Stopped(Stopped { signal, in_front: in_front() }),
            (None, Some(signal)) => Self::Ended(Ending::Signal(signal)),
            (None, None) => Self::Ended(Ending::Exit(exit())),
        }
    }
}

impl Ending {
    /// The exit code that a shell would give it.
    pub fn code(self) -> u8 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

impl Channel {
    /// Both ends; neither is inherited by programs that are started.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that a stage was started with as its standard input.
    pub(super) fn inherited() -> io::Result<Self> {
        io::stdin().as_fd().try_clone_to_owned().map(Self)
    }

    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_MAX {
            return Err(Errno::MSGSIZE.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::MSGSIZE.into());
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; `None` once the other end is gone.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let slices = &mut [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                // An end that leaves messages unread is told before what it said itself, and once.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                received => break received?,
            }
        };
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(Errno::MSGSIZE.into());
        }
        // There is space for all that may be sent: what is missing found no place among the open files (unix(7)).
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Errno::MFILE.into());
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let descriptors = descriptors.collect();
        Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_together_and_an_end_is_an_end() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel(theirs);
        let file = tempfile::tempfile().unwrap();
        ours.send(&Order::Begin, &[]).unwrap();
        ours.send(&Order::Connect(80), &[file.as_fd(), file.as_fd()]).unwrap();
        drop(ours);
        let (order, descriptors) = theirs.receive::<Order>().unwrap().unwrap();
        assert!(matches!(order, Order::Begin) && descriptors.is_empty());
        let (order, descriptors) = theirs.receive::<Order>().unwrap().unwrap();
        assert!(matches!(order, Order::Connect(80)) && descriptors.len() == 2);
        assert!(theirs.receive::<Order>().unwrap().is_none());
    }

    #[test]
    fn what_was_said_before_the_end_is_heard_though_orders_were_left_unread() {
        let (inside, outside) = Channel::pair().unwrap();
        let outside = Channel(outside);
        outside.send(&Order::Connect(80), &[]).unwrap();
        inside.send(&News::Ended(Ending::Signal(15)), &[]).unwrap();
        drop(inside);
        let news = outside.receive::<News>().unwrap();
        assert!(matches!(news, Some((News::Ended(Ending::Signal(15)), _))));
        assert!(outside.receive::<News>().unwrap().is_none());
    }

    #[test]
    fn an_ending_is_told_as_a_shell_tells_it() {
        assert_eq!(Ending::Exit(7).code(), 7);
        assert_eq!(Ending::Signal(15).code(), 143);
    }
}
