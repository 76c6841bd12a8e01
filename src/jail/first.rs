//! The first process of the jail: lays everything out, gives up all power, starts the command, buries who dies, and
//! ends with the command. When it ends, the kernel ends every other process of the jail.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::sys::signal::killpg;
use nix::unistd::getpgid;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, wait};
use rustix::termios::tcgetpgrp;

use crate::jail::channel::{Change, Channel, Ending, Layout, News, Order, Standing};
use crate::jail::doors::Sockets;
use crate::jail::fault::{Fault, Step};
use crate::jail::masks::Masks;
use crate::jail::redirect::Redirect;
use crate::jail::stillness::Stillness;
use crate::jail::{calls, mounts, network, privileges, redirect};

/// How long a published port may take to answer: it is on the same machine.
const CONNECT: Duration = Duration::from_secs(5);

/// Runs as the first process, whose standard input is the way to the outside.
pub fn first(command: Vec<OsString>) -> ExitCode {
    // As lists of processes show it; a name is all that is lost.
    let _ = rustix::thread::set_name(c"exeat");
    let Ok(channel) = Channel::inherited().map(Arc::new) else { return ExitCode::FAILURE };
    let news = match live(&channel, command) {
        Ok(ending) => News::Ended(ending),
        Err(fault) => News::Failed(fault),
    };
    // If the outside is gone, nobody is left to hear it.
    let _ = channel.send(&news, &[]);
    ExitCode::SUCCESS
}

fn live(channel: &Arc<Channel>, command: Vec<OsString>) -> Result<Ending, Fault> {
    let (order, descriptors) = next(channel)?;
    let (Order::LayOut(layout), Ok([stdin, unix_sockets])) = (order, <[OwnedFd; 2]>::try_from(descriptors))
    else {
        return Err(Fault::gone());
    };
    lay_out(channel, &layout, File::from(unix_sockets))?;
    privileges::give_up().map_err(|error| Fault::new(Step::Privileges, error))?;
    calls::refuse().map_err(|error| Fault::new(Step::Privileges, io::Error::other(error)))?;
    let (Order::Begin, _) = next(channel)? else { return Err(Fault::gone()) };

    let pid = start(command, stdin)?;
    channel.send(&News::Begun, &[]).map_err(|error| Fault::new(Step::Channel, error))?;
    let failed = |error: io::Error| Fault::new(Step::Command, error);
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
    let orders = Arc::clone(channel);
    let stillness = Arc::new(Stillness::default());
    let still = Arc::clone(&stillness);
    thread::Builder::new().spawn(move || obey(&orders, pid, &handle, &still)).map_err(failed)?;
    // The command alone holds its input and output: whoever waits for their end must not wait for this process.
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .map_err(|errno| failed(errno.into()))?;
    Ok(bury(channel, pid, &stillness))
}

fn next(channel: &Channel) -> Result<(Order, Vec<OwnedFd>), Fault> {
    channel.receive().map_err(|error| Fault::new(Step::Channel, error))?.ok_or_else(Fault::gone)
}

/// Network, mounts, doors. The working directory is entered anew at the end: the old one could lie under a mask.
fn lay_out(channel: &Channel, layout: &Layout, unix_sockets: File) -> Result<(), Fault> {
    let directory = env::current_dir().map_err(|error| Fault::new(Step::Nowhere, error))?;
    mounts::begin()?;
    network::raise().map_err(|error| Fault::new(Step::Network, error))?;
    let masks = Masks { layout, unix_sockets };
    let warnings = masks.lay()?;
    let redirect = redirect::load();
    if redirect == Redirect::Nothing {
        network::answer_no_pings();
    }
    let sockets = Sockets::open(redirect, &layout.ports, layout.workers)
        .map_err(|error| Fault::new(Step::Doors, error))?;
    mounts::seal(layout.owns_sys)?;
    env::set_current_dir(&directory).map_err(Fault::at(Step::Directory, directory.display()))?;
    let standing = Standing {
        explicit: sockets.explicit.len(),
        transparent: sockets.transparent.len(),
        dns: sockets.dns.len(),
        redirect,
        warnings,
    };
    let descriptors = sockets.descriptors();
    channel.send(&News::Standing(standing), &descriptors).map_err(|error| Fault::new(Step::Channel, error))
}

fn start(command: Vec<OsString>, stdin: OwnedFd) -> Result<Pid, Fault> {
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    // Everything of this process is closed on exec already; this is for what nobody thought of.
    close_fds::set_fds_cloexec(3, &[]);
    let started = Command::new(&program).args(words).stdin(Stdio::from(stdin)).spawn();
    let child = started.map_err(Fault::at(Step::Command, program.display()))?;
    Ok(Pid::from_child(&child))
}

/// Waits until the command has ended, and meanwhile for every orphan of the jail; tells when the command stops.
fn bury(channel: &Channel, command: Pid, stillness: &Stillness) -> Ending {
    loop {
        match wait(WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == command => match Change::new(status, is_in_front) {
                Change::Stopped(stopped) if stillness.is_why(stopped.signal) => {}
                // If the outside is gone, the jail is about to end.
                Change::Stopped(stopped) => drop(channel.send(&News::Stopped(stopped), &[])),
                Change::Ended(ending) => return ending,
            },
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Without a child there is no command: it can't have ended unseen.
            Err(_) => return Ending::Exit(u8::MAX),
        }
    }
}

/// Whether the terminal's foreground is a group of the jail's processes: only such a one has a number in here.
fn is_in_front() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok())
}

/// Does what the outside asks for; when it is gone, the jail ends.
fn obey(channel: &Arc<Channel>, command: Pid, handle: &OwnedFd, stillness: &Stillness) {
    let (ports, wanted) = mpsc::channel();
    let news = Arc::clone(channel);
    // A port that does not answer must hold up no signal.
    let connecting = thread::Builder::new().spawn(move || connect_all(&news, &wanted));
    if connecting.is_err() {
        std::process::exit(1);
    }
    let mut stopped_alone = false;
    while let Ok(Some((order, _))) = channel.receive::<Order>() {
        let told = match order {
            Order::Signal(signal) => {
                stopped_alone |= signal == Signal::TSTP.as_raw();
                // A command that has ended has no use for it.
                let _ = Signal::from_named_raw(signal).map(|signal| pidfd_send_signal(handle, signal));
                Ok(())
            }
            Order::Resume => {
                resume(command, handle, std::mem::take(&mut stopped_alone));
                Ok(())
            }
            Order::Freeze { in_front } => {
                let still = (in_front || is_in_front()) && stillness.begin(command.as_raw_pid());
                channel.send(&News::Frozen(still), &[])
            }
            Order::Look => channel.send(&News::Frozen(stillness.holds()), &[]),
            Order::Thaw => {
                stillness.end();
                channel.send(&News::Thawed, &[])
            }
            Order::Connect(port) => {
                // If nobody takes it, the outside is gone.
                let _ = ports.send(port);
                Ok(())
            }
            _ => Ok(()),
        };
        if told.is_err() {
            break;
        }
    }
    std::process::exit(1);
}

/// Lets the command go on. Whoever lets exeat go on does so for its whole group of processes, mostly the command's as
/// well: that one is on its way already, and may have been stopped again by now. But a shell in here has a group of its
/// own, and what was sent to exeat alone stopped the command `alone`.
fn resume(command: Pid, handle: &OwnedFd, alone: bool) {
    let group = getpgid(Some(nix::unistd::Pid::from_raw(command.as_raw_pid())));
    // The group that came from outside has no number here. A command that has ended has no use for it.
    match group.ok().filter(|group| group.as_raw() > 0) {
        Some(group) => drop(killpg(group, nix::sys::signal::Signal::SIGCONT)),
        None if alone => drop(pidfd_send_signal(handle, Signal::CONT)),
        None => {}
    }
}

/// Connects to one port after the other, as the outside counts on the order.
fn connect_all(channel: &Channel, wanted: &mpsc::Receiver<u16>) {
    for port in wanted {
        let told = match connect(port) {
            Ok(stream) => channel.send(&News::Connected, &[stream.as_fd()]),
            Err(error) => channel.send(&News::NotConnected(error.to_string()), &[]),
        };
        if told.is_err() {
            // The outside is gone, and whoever hears its orders finds out.
            return;
        }
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let at = |address: SocketAddr| TcpStream::connect_timeout(&address, CONNECT);
    at((Ipv4Addr::LOCALHOST, port).into()).or_else(|_| at((Ipv6Addr::LOCALHOST, port).into()))
}
