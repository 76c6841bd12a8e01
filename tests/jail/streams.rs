//! What a command is given as its standard input, output and error: none of it may be of the network or the files outside.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socketpair};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::servers::Web;
use crate::world::{self, DENIED, Ran, Who, World};

/// Both ends of a connection over the network outside.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Runs a script inside with something as its standard input; what it could do stands in the file `out`.
fn attack(world: &World, who: Who, input: impl Into<OwnedFd>, script: &str, argument: &str) -> String {
    let script = format!("import os, socket, sys\nout = open('out', 'w')\n{script}\n");
    let mut command = world.exeat(who, &[], &["/usr/bin/python3", "-c", &script, argument]);
    command.stdin(Stdio::from(input.into())).output().unwrap();
    fs::read_to_string(world.path("out")).unwrap_or_default()
}

#[test]
fn no_socket_or_directory_of_the_caller_is_a_way_out() {
    world::test("streams::no_socket_or_directory_of_the_caller_is_a_way_out", |who, world| {
        // A connection that is given up is a socket like any other.
        let web = Web::plain(&format!("{DENIED}:0"), &world.path("none"));
        let (near, _far) = connection();
        let elsewhere = "import ctypes\nctypes.CDLL(None).connect(0, bytes(16), 16)\ns = socket.socket(fileno=0)\n\
                         s.setblocking(True)\ns.connect(('93.184.216.66', int(sys.argv[1])))\nout.write('out')";
        assert_eq!(attack(world, who, near, elsewhere, &web.port.to_string()), "");
        assert_eq!(web.connections(), 0);

        let name = format!("exeat-test-streams-{}-{who:?}", std::process::id());
        let abroad = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        abroad.set_nonblocking(true).unwrap();
        let (near, _far) = UnixDatagram::pair().unwrap();
        let send = "socket.socket(fileno=0).sendto(b'out', '\\0' + sys.argv[1])\nout.write('out')";
        assert_eq!(attack(world, who, near, send, &name), "");
        assert!(abroad.recv(&mut [0; 9]).is_err(), "a datagram got out");

        fs::create_dir(world.path("sockets")).unwrap();
        let path = world.path("sockets/masked.sock");
        let masked = UnixListener::bind(&path).unwrap();
        masked.set_nonblocking(true).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let connect =
            "s = socket.socket(socket.AF_UNIX)\ns.connect('/proc/self/fd/0' + sys.argv[1])\nout.write('out')";
        let directory = File::open(world.path("sockets")).unwrap();
        assert_eq!(attack(world, who, directory, connect, "/masked.sock"), "");
        let itself = open(&path, OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(attack(world, who, itself, connect, ""), "");
        assert!(masked.accept().is_err(), "a masked socket was reached");
    });
}

#[test]
fn what_could_lead_out_is_refused_and_named() {
    world::test("streams::what_could_lead_out_is_refused_and_named", |who, world| {
        let listening = world.path("listening.sock");
        let unconnected = |family, kind| socket(family, kind, None).unwrap();
        let mut all: Vec<(&str, OwnedFd)> = vec![
            ("a socket of the network outside", connection().0.into()),
            ("a socket of the network outside", TcpListener::bind("[::1]:0").unwrap().into()),
            ("a socket of the network outside", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
            ("a socket of the network outside", unconnected(AddressFamily::NETLINK, SocketType::RAW)),
            ("a unix socket of datagrams", UnixDatagram::pair().unwrap().0.into()),
            ("a unix socket that is not connected", UnixListener::bind(listening).unwrap().into()),
            ("a unix socket that is not connected", unconnected(AddressFamily::UNIX, SocketType::STREAM)),
            ("a directory", File::open("/").unwrap().into()),
            ("a path", open("/etc/passwd", OFlags::PATH, Mode::empty()).unwrap()),
            ("a namespace", File::open("/proc/self/ns/net").unwrap().into()),
            ("neither", epoll::create(epoll::CreateFlags::empty()).unwrap()),
            ("neither", eventfd(0, EventfdFlags::empty()).unwrap()),
            ("neither", pidfd_open(getpid(), PidfdFlags::empty()).unwrap()),
        ];
        // Not every machine has them, nor lets everyone open them.
        let devices = ["/dev/net/tun", "/dev/fuse", "/dev/kmsg"].map(File::open);
        all.extend(devices.into_iter().flatten().map(|device| ("a device", device.into())));
        for (what, descriptor) in all {
            let mut command = world.exeat(who, &[], &["touch", "ran"]);
            let ran = Ran::new(command.stdin(Stdio::from(descriptor)).output().unwrap());
            assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
            assert!(ran.error.contains(&format!("its standard input is {what}")), "{what}: {ran:?}");
            assert!(ran.error.contains("cat | exeat run"), "{what}: {ran:?}");
        }

        let mut command = world.exeat(who, &[], &["touch", "ran"]);
        let ran = Ran::new(command.stdout(Stdio::from(OwnedFd::from(connection().0))).output().unwrap());
        assert!(ran.code == Some(1) && ran.error.contains("its standard output is a socket"), "{ran:?}");

        // As inetd starts a program.
        let (near, mut far) = connection();
        let mut command = world.exeat(who, &[], &["touch", "ran"]);
        let all = |command: &mut Command| {
            let copy = || Stdio::from(OwnedFd::from(near.try_clone().unwrap()));
            command.stdin(copy()).stdout(copy()).stderr(copy()).status().unwrap()
        };
        assert_eq!(all(&mut command).code(), Some(1));
        drop((near, command));
        let mut told = String::new();
        far.read_to_string(&mut told).unwrap();
        for name in ["input", "output", "error"] {
            assert!(told.contains(&format!("its standard {name} is a socket")), "{told}");
        }
        assert!(!world.path("ran").exists(), "the command was started");
    });
}

#[test]
fn what_leads_nowhere_is_the_commands_own() {
    world::test("streams::what_leads_nowhere_is_the_commands_own", |who, world| {
        let run = |input: OwnedFd, line: &str| {
            let mut command = world.exeat(who, &[], &["sh", "-c", line]);
            Ran::new(command.stdin(Stdio::from(input)).output().unwrap())
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"line\n").unwrap();
        file.rewind().unwrap();
        assert_eq!(run(file.into(), "cat").good(), "line");
        let mut memory = File::from(memfd_create("memory", MemfdFlags::CLOEXEC).unwrap());
        memory.write_all(b"line\n").unwrap();
        memory.rewind().unwrap();
        assert_eq!(run(memory.into(), "cat").good(), "line");
        for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            run(File::open(device).unwrap().into(), "exit 0").good();
        }

        // As sshd and node start programs: a connection for life, which can't become another.
        let script = "import socket\ns = socket.socket(fileno=0)\nheld = b''\n\
                      for attempt in [lambda: s.connect('\\0anywhere'), s.listen, s.accept]:\n \
                      try: attempt()\n except OSError: held += b'held '\ns.send(held)";
        for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
            let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
            let mut command = world.exeat(who, &[], &["/usr/bin/python3", "-c", script]);
            let copy = Stdio::from(near.try_clone().unwrap());
            assert!(command.stdin(Stdio::from(near)).stdout(copy).status().unwrap().success());
            drop(command);
            let mut told = [0; 99];
            let length = UnixStream::from(far).read(&mut told).unwrap();
            assert_eq!(&told[..length], b"held held held ", "{kind:?}");
        }

        // A terminal that hung up is one still, and what is closed is nothing.
        let lines = [
            "import os, pty, sys; far, near = pty.openpty(); os.dup2(near, 0); os.close(far); os.execvp(sys.argv[1], sys.argv[1:])",
            "import os, sys; os.close(0); os.execvp(sys.argv[1], sys.argv[1:])",
        ];
        for line in lines {
            let command = world.exeat(who, &[], &["echo", "ran"]);
            let mut python = Command::new("/usr/bin/python3");
            python.args(["-c", line]).args(world::words(&command)).current_dir(world.directory.path());
            assert_eq!(Ran::new(python.output().unwrap()).good(), "ran", "{line}");
        }
    });
}
