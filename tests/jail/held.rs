//! What belongs to a command and is held by it: an ssh server to reach, ports that are published, paths that are shared.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::namespace::until;
use crate::world::{self, Who, World};

/// An ssh server for one key, which runs one command.
pub struct Sshd {
    child: Child,
    pub port: u16,
}

impl Sshd {
    pub fn start(world: &World, address: &str) -> Self {
        let at = |name: &str| world.path(name).to_str().unwrap().to_owned();
        for key in ["hostkey", "id"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status();
            assert!(made.unwrap().success());
        }
        fs::copy(at("id.pub"), at("authorized")).unwrap();
        // A port that was free a moment ago, in a namespace that nobody else is in.
        let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress {address}\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nForceCommand echo over ssh\nPidFile none\n",
            at("hostkey"),
            at("authorized")
        );
        fs::write(at("sshd_config"), config).unwrap();
        let sshd =
            ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| fs::exists(path).unwrap()).unwrap();
        // It insists on this directory.
        let _ = fs::create_dir_all("/run/sshd");
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f", &at("sshd_config")]).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        until("sshd does not listen", || TcpStream::connect((address, port)).is_ok());
        Self { child, port }
    }

    pub fn client_line(&self, world: &World, who: Who, host: &str) -> String {
        let at = |name: &str| world.path(name).to_str().unwrap().to_owned();
        format!(
            "cp {id} {id}-{who:?} && chmod 600 {id}-{who:?} && ssh -n -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 -F none -i {id}-{who:?} \
             -p {} {user}@{host}",
            self.port,
            id = readable(&at("id")),
            user = "root",
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets everyone read a file of a test.
fn readable(path: &str) -> &str {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn a_published_port_is_reached_from_this_host() {
    world::test("held::a_published_port_is_reached_from_this_host", |who, world| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = "import socket\ns = socket.create_server(('127.0.0.1', 8123))\nwhile True:\n c, _ = s.accept()\n \
            c.sendall(b'inside: ' + c.recv(100)); c.close()";
        let mut child = world
            .exeat(who, &["--publish", &format!("{port}:8123")], &["/usr/bin/python3", "-c", server])
            .spawn()
            .unwrap();
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.write_all(b"hello").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        };
        until("the port does not answer", || ask().as_deref() == Some("inside: hello"));
        assert!(TcpStream::connect("127.0.0.1:8123").is_err(), "what is not published is not there");
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(143));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    });
}

#[test]
fn a_published_port_that_nobody_answers_holds_up_no_signal() {
    world::test("held::a_published_port_that_nobody_answers_holds_up_no_signal", |who, world| {
        // It takes one connection; each further one has to be waited for until its time is over.
        let server = "import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', 8123))\ns.listen(0)\n\
                      open('ready', 'w').close()\ntime.sleep(600)";
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let publish = format!("{port}:8123");
        let mut exeat = world.exeat(who, &["--publish", &publish], &["/usr/bin/python3", "-c", server]);
        let child = exeat.spawn().unwrap();
        until("it does not listen", || world.path("ready").exists());
        let _open: Vec<_> = (0..30).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let child = std::cell::RefCell::new(child);
        until("the signal is held up", || child.borrow_mut().try_wait().unwrap().is_some());
        assert_eq!(child.borrow_mut().wait().unwrap().code(), Some(143));
    });
}

#[test]
fn what_is_shared_is_there_and_nothing_beside_it() {
    world::test("held::what_is_shared_is_there_and_nothing_beside_it", |who, world| {
        let directory = tempfile::Builder::new().prefix("exeat-test-").tempdir_in("/run").unwrap();
        open_to_all(directory.path());
        let (shared, other) = (directory.path().join("shared.sock"), directory.path().join("other.sock"));
        let elsewhere = world.path("elsewhere.sock");
        for path in [&shared, &other, &elsewhere] {
            let listener = UnixListener::bind(path).unwrap();
            open_to_all(path);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let _ = stream.unwrap().write_all(b"outside");
                }
            });
        }
        let ask = |flags: &[&str], path: &std::path::Path| {
            let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nprint(s.recv(9).decode())";
            world.run(who, flags, &["/usr/bin/python3", "-c", script, path.to_str().unwrap()])
        };
        for path in [&shared, &other, &elsewhere] {
            let ran = ask(&[], path);
            assert!(ran.code != Some(0) && ran.out.is_empty(), "{}: {ran:?}", path.display());
            assert_eq!(ask(&["--share", path.to_str().unwrap()], path).good(), "outside");
        }
        assert_eq!(ask(&["--share", "/run"], &shared).good(), "outside", "all of what else is empty");
        let share = ["--share", shared.to_str().unwrap()];
        assert_ne!(ask(&share, &other).code, Some(0));
        let missing = world.run(who, &["--share", "/run/not/there"], &["true"]);
        let (wrong, right) =
            ("'/run/not/there' for '--share <PATH>'", "name a socket or a directory that is there");
        assert!(
            missing.code == Some(2) && missing.error.contains(wrong) && missing.error.contains(right),
            "{missing:?}"
        );
        // A directory that was entered before it was masked would still lead to what is in it.
        let mut command = world.exeat(who, &[], &["sh", "-c", "ls"]);
        let inside = crate::world::Ran::new(command.current_dir(directory.path()).output().unwrap());
        assert!(inside.code == Some(1) && inside.error.contains("--share"), "{inside:?}");
    });
}

/// As in a container into which a socket of its host was mounted: the kernel lists none there that was bound in another
/// network.
#[test]
fn a_socket_that_was_mounted_from_another_network_is_not_there() {
    world::test("held::a_socket_that_was_mounted_from_another_network_is_not_there", |who, world| {
        let (bound, mounted) = (world.path("bound.sock"), world.path("a mounted.sock"));
        let serve = "import os, socket, sys\nos.umask(0)\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n\
                     s.listen()\nprint('ready', flush=True)\nwhile True:\n s.accept()[0].send(b'outside')";
        // It ends with this test, however that ends.
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", "unshare", "--net", "/usr/bin/python3", "-c", serve]).arg(&bound);
        let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
        server.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        let listed = fs::read_to_string("/proc/net/unix").unwrap();
        assert!(!listed.contains(bound.to_str().unwrap()), "it is of this network");
        fs::write(&mounted, "").unwrap();

        let connect = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                       print(s.recv(9).decode())";
        let ask = |flags: &[&str]| {
            let inside = ["/usr/bin/python3", "-c", connect, mounted.to_str().unwrap()];
            let exeat = world.exeat(who, flags, &inside);
            world.behind("mount --bind bound.sock 'a mounted.sock'", "sh", &exeat)
        };
        assert_eq!(ask(&["--share", mounted.to_str().unwrap()]).good(), "outside");
        let ran = ask(&[]);
        assert!(ran.code != Some(0) && ran.out.is_empty(), "{ran:?}");
        server.kill().unwrap();
        server.wait().unwrap();
    });
}

/// The kernel lists a socket by the path that it was bound by; links and mounts make others.
#[test]
fn a_socket_is_found_by_no_path_at_all() {
    world::test("held::a_socket_is_found_by_no_path_at_all", |who, world| {
        let run = tempfile::Builder::new().prefix("exeat-test-").tempdir_in("/run").unwrap();
        open_to_all(run.path());
        for directory in ["real", "seen", "seen/there", "again"] {
            fs::create_dir(world.path(directory)).unwrap();
            open_to_all(&world.path(directory));
        }
        std::os::unix::fs::symlink(world.path("real"), run.path().join("link")).unwrap();
        let above = format!("/run/../{}", world.path("real/b.sock").display());
        let paths = [run.path().join("link/a.sock"), above.into(), world.path("seen/there/c.sock")];
        let _bound = paths.map(|path| {
            let listener = UnixListener::bind(&path).unwrap();
            open_to_all(&path);
            listener
        });
        fs::write(world.path("seen/records.jsonl"), "").unwrap();
        open_to_all(&world.path("seen/records.jsonl"));

        // The directory is seen in two places: whoever reaches the one should not reach the other.
        let connect = "import socket, sys\nfor path in sys.argv[1:]:\n try:\n  s = socket.socket(socket.AF_UNIX)\n  \
                       s.connect(path)\n  print('reached', path)\n except OSError: pass\n\
                       open('again/records.jsonl', 'w').write('forged')";
        let inside = ["/usr/bin/python3", "-c", connect, "real/a.sock", "real/b.sock"];
        let inside = [&inside[..], &["seen/there/c.sock", "again/there/c.sock"]].concat();
        // Once more with a mount in the way of its path that another one hides.
        let hidden = "mount --bind seen again && mount -t tmpfs none seen/there && mount --bind again seen";
        for mounts in ["mount --bind seen again", hidden] {
            let exeat = world.exeat(who, &["--audit", "seen/records.jsonl"], &inside);
            assert_eq!(world.behind(mounts, "sh", &exeat).good(), "", "{mounts}");
            let records = fs::read_to_string(world.path("seen/records.jsonl")).unwrap();
            assert_eq!(records, "", "{mounts}");
        }
    });
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}
