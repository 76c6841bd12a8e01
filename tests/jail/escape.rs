//! Ways out of a network namespace, tried one by one.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::world::{self, Ran, Who, World};

/// Each line of what the probes print: what was tried, and how it went.
fn probe(world: &World, who: Who) -> Ran {
    let script = world.path("probe.py");
    fs::write(&script, include_str!("probe.py")).unwrap();
    let abstract_name = format!("exeat-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    // Held from the first call on.
    if let Ok(listener) = UnixListener::bind_addr(&address) {
        thread::spawn(move || {
            listener.incoming().for_each(|stream| drop(stream.unwrap().write_all(b"outside")));
        });
    }
    let outside = std::process::id().to_string();
    let abstract_name = abstract_name.as_str();
    world.run(who, &[], &["/usr/bin/python3", script.to_str().unwrap(), abstract_name, &outside])
}

#[test]
fn no_way_around_the_network_leads_out() {
    world::test("escape::no_way_around_the_network_leads_out", |who, world| {
        let ran = probe(world, who);
        ran.good();
        for line in ran.out.lines() {
            assert!(!line.contains("OUT"), "{line}\n{ran:#?}");
        }
        // Every probe was made.
        assert_eq!(ran.out.lines().filter(|line| line.contains("held")).count(), 22, "{ran:#?}");
    });
}

#[test]
fn nothing_inside_has_or_gets_power() {
    world::test("escape::nothing_inside_has_or_gets_power", |who, world| {
        let status = world.run(who, &[], &["grep", "-E", "^(Cap|NoNewPrivs|Seccomp:)", "/proc/self/status"]);
        for line in status.good().lines() {
            let (key, value) = line.split_once(':').unwrap();
            let wanted = match key {
                "NoNewPrivs" => "1",
                "Seccomp" => "2",
                _ => "0000000000000000",
            };
            assert_eq!(value.trim(), wanted, "{line}");
        }
        // A setuid program of root stays who it was started by.
        if who == Who::User {
            let id = world.path("id");
            fs::copy("/usr/bin/id", &id).unwrap();
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&id, fs::Permissions::from_mode(0o4755)).unwrap();
            assert_eq!(world.run(who, &[], &[id.to_str().unwrap(), "-u"]).good(), world::USER.to_string());
        }
        for command in [
            "mount -t tmpfs none /mnt",
            "umount /run",
            "nft list ruleset",
            "ip link set lo down",
            "ip route flush table local",
            "nsenter -t 1 -n true",
            "nsenter -t 1 -U true",
            "nsenter -t 1 -m true",
            "kill -9 1; kill -0 1 && exit 1; false",
            "echo x > /proc/sys/kernel/core_pattern",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ] {
            let ran = world.sh(who, &format!("PATH=$PATH:/usr/sbin:/sbin; {command}"));
            assert!(ran.code.is_some_and(|code| code != 0), "{command}: {ran:?}");
        }
    });
}

#[test]
fn a_user_namespace_inside_has_no_power_over_the_jail() {
    world::test("escape::a_user_namespace_inside_has_no_power_over_the_jail", |who, world| {
        let nested = |line: &str| {
            let script = format!("PATH=$PATH:/usr/sbin:/sbin; {line}");
            // The kernel lets nobody make root of a namespace who could not be it before (user_namespaces(7)).
            let map = if who == Who::User { "--map-root-user" } else { "--keep-caps" };
            world.run(who, &[], &["unshare", "--user", map, "--mount", "sh", "-c", &script])
        };
        nested("true").good();
        for command in [
            "ip link set lo down",
            "nft add table inet x",
            "umount /run",
            "umount /proc",
            "umount /proc/sys",
            "umount /etc/resolv.conf",
            "mount --bind / /mnt",
            "mount -o remount,rw,bind /proc/sys",
            "nsenter -t 1 -n true",
        ] {
            let ran = nested(command);
            assert!(ran.code.is_some_and(|code| code != 0), "{command}: {ran:?}");
        }
        // A network of its own leads nowhere at all.
        let ran = world.run(who, &[], &["unshare", "-Un", "sh", "-c", "tail -n +2 /proc/net/route | wc -l"]);
        assert_eq!(ran.good(), "0");
    });
}

#[test]
fn what_the_caller_had_open_is_closed() {
    world::test("escape::what_the_caller_had_open_is_closed", |who, world| {
        let command = world.exeat(who, &[], &["sh", "-c", "ls /proc/self/fd; cat <&9"]);
        // The shell opens it for exeat as a careless caller would.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 9</etc/hostname; exec \"$@\"", "sh"]).args(world::words(&command));
        shell.current_dir(world.directory.path());
        let ran = Ran::new(shell.output().unwrap());
        assert_ne!(ran.code, Some(0));
        // The last one is the directory that is being listed.
        assert_eq!(ran.out.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{ran:?}");
    });
}

/// Started with a keyring of its own that has a key of the caller's in it.
const WITH_A_KEY: &str = r#"
import ctypes, os, sys
add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
join_session, session = 1, -3
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(keyctl, join_session, None) < 0:
    sys.exit("the kernel has no keyrings")
key = libc.syscall(add_key, b"user", b"ticket", b"from outside", 12, session)
os.environ["KEY"] = str(key)
os.execvp(sys.argv[1], sys.argv[1:])
"#;

/// Says of each way to the keys of the session what came of it.
const KEYS: &str = r#"
import ctypes, os
add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
read, session = 11, -3
libc, buffer = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(20)
print(libc.syscall(keyctl, read, int(os.environ["KEY"]), buffer, 20), buffer.value.decode())
print(libc.syscall(add_key, b"user", b"letter", b"from inside", 11, session) > 0)
"#;

#[test]
fn the_keys_of_the_session_are_neither_read_nor_added_to() {
    world::test("escape::the_keys_of_the_session_are_neither_read_nor_added_to", |who, world| {
        let keys = ["/usr/bin/python3", "-c", KEYS];
        let with_a_key = |command: &Command| {
            let mut python = Command::new("/usr/bin/python3");
            python.args(["-c", WITH_A_KEY]).args(world::words(command));
            Ran::new(python.current_dir(world.directory.path()).output().unwrap())
        };
        let outside = with_a_key(Command::new(keys[0]).args(&keys[1..]));
        assert_eq!(outside.good(), "12 from outside\nTrue", "{outside:?}");
        let inside = with_a_key(&world.exeat(who, &[], &keys));
        assert_eq!(inside.good(), "-1 \nFalse", "{inside:?}");
    });
}

#[test]
fn records_can_not_be_changed_by_whom_they_are_about() {
    world::test("escape::records_can_not_be_changed_by_whom_they_are_about", |who, world| {
        let before = "{\"earlier\":true}\n";
        fs::write(world.path("records.jsonl"), before).unwrap();
        if who == Who::User {
            chown(world.path("records.jsonl"), Some(world::USER), Some(world::USER)).unwrap();
        }
        let tried = "cat records.jsonl; echo forged >>records.jsonl; echo forged >other; mv -f other records.jsonl; \
                     ln -f records.jsonl link; rm -f records.jsonl; : >records.jsonl; \
                     curl -s -o reply http://denied.example/; true";
        let ran = world.run(who, &["--audit", "records.jsonl"], &["sh", "-c", tried]);
        assert_eq!(ran.good(), "", "it read them: {ran:#?}");
        let text = fs::read_to_string(world.path("records.jsonl")).unwrap();
        assert!(text.starts_with(before) && !text.contains("forged"), "{text}");
        let records = world.records("records.jsonl");
        assert!(records.len() == 2 && records[1]["host"] == "denied.example", "{text}");
        assert!(!world.path("link").exists());
    });
}

#[test]
fn a_named_pipe_of_records_is_not_written_to_by_whom_they_are_about() {
    world::test("escape::a_named_pipe_of_records_is_not_written_to_by_whom_they_are_about", |who, world| {
        let path = world.path("pipe");
        assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&path).status().unwrap().success());
        // Both ends, so that neither is waited for.
        let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
        let tried = "echo forged >pipe; curl -s -o reply http://denied.example/; true";
        world.run(who, &["--audit", "pipe"], &["sh", "-c", tried]).good();
        let mut told = vec![0; 1 << 16];
        let length = pipe.read(&mut told).unwrap();
        let record: Value = serde_json::from_slice(&told[..length]).unwrap();
        assert_eq!(record["host"], "denied.example");
    });
}

/// What is shared of a directory that else holds nothing is shared less the records.
#[test]
fn records_are_not_shared_with_the_directory_that_they_are_in() {
    world::test("escape::records_are_not_shared_with_the_directory_that_they_are_in", |who, world| {
        fs::create_dir(world.path("runtime")).unwrap();
        fs::set_permissions(world.path("runtime"), Permissions::from_mode(0o777)).unwrap();
        let tried = "cd runtime; curl -s -o reply http://denied.example/; sleep 0.1; cat records.jsonl; \
                     echo forged >>records.jsonl; : >records.jsonl; rm -f records.jsonl; true";
        let flags = ["--audit", "runtime/records.jsonl", "--share", "runtime"];
        let mut command = world.exeat(who, &flags, &["sh", "-c", tried]);
        command.env("XDG_RUNTIME_DIR", world.path("runtime"));
        let ran = Ran::new(command.output().unwrap());
        assert_eq!(ran.good(), "", "it read them: {ran:#?}");
        let records = world.records("runtime/records.jsonl");
        assert!(records.len() == 1 && records[0]["host"] == "denied.example", "{records:?}");
        assert!(world.path("runtime/reply").exists(), "it is shared");
    });
}

/// As of a chroot beside the jail, with what is mounted there below these two.
#[test]
fn the_kernel_is_not_set_by_a_second_proc_or_sys() {
    world::test("escape::the_kernel_is_not_set_by_a_second_proc_or_sys", |who, world| {
        // The kernel lists a mount with its spaces escaped.
        for directory in ["proc", "a proc", "sys", "beneath", "beneath/proc"] {
            fs::create_dir(world.path(directory)).unwrap();
        }
        let setting = "sys/kernel/core_pattern";
        let below = "binfmt_misc cgroup2 debugfs securityfs tracefs";
        let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        // What is written there is what is there already, lest a failure of this test be more than that.
        let write = format!(
            "p=$(cat proc/{setting}); for proc in proc 'a proc'; do echo \"$p\" >\"$proc\"/{setting} && echo written; done; \
             echo 0 >sys/kernel/profiling && echo written; test -w sys/kernel/mm && echo writable; \
             for kind in {below}; do test -w $kind && echo $kind; done; true"
        );
        let mount = format!(
            "mount -t proc none proc && mount -t proc none 'a proc' && mount -t sysfs none sys && \
             mount -t proc none beneath/proc && mount -t tmpfs none beneath && \
             for kind in {below}; do mkdir $kind; mount -t $kind none $kind || rmdir $kind; done"
        );
        let exeat = world.exeat(who, &[], &["sh", "-c", &write]);
        let ran = world.behind(&mount, "sh", &exeat);
        assert_eq!(ran.good(), "", "{ran:#?}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    });
}
