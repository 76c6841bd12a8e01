//! How a command lives and dies in its jail: input, output, signals, terminals, and what is left.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::namespace::until;
use crate::servers::Web;
use crate::world::{self, ALLOWED, DENIED, Ran, Who};

#[test]
fn exit_codes_and_signals_are_the_commands_own() {
    world::test("life::exit_codes_and_signals_are_the_commands_own", |who, world| {
        assert_eq!(world.sh(who, "exit 0").code, Some(0));
        assert_eq!(world.sh(who, "exit 7").code, Some(7));
        assert_eq!(world.sh(who, "kill -TERM $$").code, Some(128 + 15));
        assert_eq!(world.sh(who, "kill -KILL $$").code, Some(128 + 9));
        let missing = world.run(who, &[], &["/no/such/command"]);
        assert!(missing.code == Some(127) && missing.error.contains("/no/such/command"), "{missing:?}");
        assert_eq!(world.run(who, &[], &["/etc/passwd"]).code, Some(126));
        // Where no path leads, none can be masked or shared.
        let exeat = world.exeat(who, &[], &["true"]);
        let mut nowhere = Command::new("sh");
        nowhere.args(["-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"", "sh"]);
        nowhere.arg(exeat.get_program()).args(exeat.get_args()).current_dir(world.path(""));
        let output = nowhere.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the working directory has no path, enter another: No such file"), "{said}");
        if let Who::User = who {
            fs::create_dir(world.path("closed")).unwrap();
            fs::set_permissions(world.path("closed"), Permissions::from_mode(0o700)).unwrap();
            let mut exeat = world.exeat(who, &[], &["true"]);
            let closed = Ran::new(exeat.current_dir(world.path("closed")).output().unwrap());
            assert!(
                closed.error.contains("the working directory is closed to this user, enter another: "),
                "{closed:?}"
            );
        }
        // A signal to exeat is one to the command, which may do with it what it likes.
        for (signal, name) in
            [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::USR1, "USR1"), (Signal::HUP, "HUP")]
        {
            let line =
                format!("trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
            let mut child =
                world.exeat(who, &[], &["sh", "-c", &line]).stdout(Stdio::piped()).spawn().unwrap();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            kill_process(Pid::from_child(&child), signal).unwrap();
            out.read_to_string(&mut line).unwrap();
            assert_eq!(line, format!("ready\ngot {name}\n"));
            assert_eq!(child.wait().unwrap().code(), Some(5));
        }
    });
}

#[test]
fn input_and_output_are_the_commands_own() {
    world::test("life::input_and_output_are_the_commands_own", |who, world| {
        let mut child =
            world.exeat(who, &[], &["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = "line\n".repeat(100_000);
        let expected = text.clone();
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        writer.join().unwrap();
        assert!(child.wait().unwrap().success() && out == expected);
        // What exeat has to say is not in it, and the command's end of the output is the only one.
        let mut child = world
            .exeat(who, &[], &["sh", "-c", "echo out; exec >&-; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(out, "out\n");
        drop(child.stdin.take());
        child.wait().unwrap();
        let ran = world.sh(who, "pwd; id -u; id -g");
        let (user, group) = match who {
            Who::User => (world::USER, world::USER),
            Who::Myself => (geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        let expected = format!("{}\n{user}\n{group}", world.directory.path().display());
        assert_eq!(ran.good(), expected);
    });
}

#[test]
fn whatever_the_command_leaves_ends_with_it_and_with_exeat() {
    world::test("life::whatever_the_command_leaves_ends_with_it_and_with_exeat", |who, world| {
        let mark = |name: &str| format!("{name}{}{who:?}", std::process::id());
        let daemon = mark("EXEAT_TEST_DAEMON");
        let line = "setsid sh -c 'trap \"\" HUP TERM; sleep 1000' >/dev/null 2>&1 & sleep 0.1; exit 3";
        let mut command = world.exeat(who, &[], &["sh", "-c", line]);
        assert_eq!(command.env(&daemon, "1").status().unwrap().code(), Some(3));
        assert_eq!(marked(&daemon), 0, "nothing of the jail is left when exeat ends");
        let killed = mark("EXEAT_TEST_KILLED");
        let mut command = world.exeat(who, &[], &["sh", "-c", "sleep 1000 & echo ready; sleep 1000"]);
        let mut child = command.env(&killed, "1").stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        assert!(marked(&killed) >= 3);
        child.kill().unwrap();
        child.wait().unwrap();
        until("the jail outlives exeat", || marked(&killed) == 0);
    });
}

#[test]
fn what_a_shell_had_started_before_it_became_exeat_is_not_waited_for() {
    world::test("life::what_a_shell_had_started_before_it_became_exeat_is_not_waited_for", |who, world| {
        for (command, code) in [("true", 0), ("/no/such/command", 127)] {
            let exeat = world.exeat(who, &[], &[command]);
            let mut shell = Command::new("sh");
            shell.args(["-c", "sleep 20 >/dev/null 2>&1 & echo $!; exec \"$@\"", "sh"]);
            let ran = Ran::new(shell.args(world::words(&exeat)).output().unwrap());
            let other = ran.out.trim().parse().ok().and_then(Pid::from_raw).unwrap();
            assert!(kill_process(other, Signal::KILL).is_ok(), "exeat outlived it: {ran:?}");
            assert_eq!(ran.code, Some(code), "{ran:?}");
        }
    });
}

#[test]
fn what_others_leave_is_not_inherited() {
    world::test("life::what_others_leave_is_not_inherited", |who, world| {
        let exeat = world.exeat(who, &[], &["sh", "-c", "echo ready; cat"]);
        let go = world.path("go");
        assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
        let leaving = "sh -c 'read -r _ <go; sleep 20 >/dev/null 2>&1 & echo $$ $! >left' & exec \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", leaving, "sh"]).args(world::words(&exeat)).current_dir(world.path(""));
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        fs::write(go, "\n").unwrap();
        let left = || fs::read_to_string(world.path("left")).unwrap_or_default();
        until("nothing is left", || left().ends_with('\n'));
        let numbers: Vec<i32> = left().split_whitespace().map(|number| number.parse().unwrap()).collect();
        let status = || fs::read_to_string(format!("/proc/{}/status", numbers[1])).unwrap();
        until("its parent lives on", || !status().contains(&format!("PPid:\t{}\n", numbers[0])));
        assert!(!status().contains(&format!("PPid:\t{}\n", child.id())), "{}", status());
        kill_process(Pid::from_raw(numbers[1]).unwrap(), Signal::KILL).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
    });
}

#[test]
fn a_caller_that_ignores_the_end_of_children_hears_how_the_command_ended() {
    world::test(
        "life::a_caller_that_ignores_the_end_of_children_hears_how_the_command_ended",
        |who, world| {
            for flags in [&[][..], &["--explicit-only"]] {
                let exeat = world.exeat(who, flags, &["sh", "-c", "exit 7"]);
                let mut words: Vec<&OsStr> = world::words(&exeat).collect();
                words.insert(2, "--ignore-signal=CHLD".as_ref());
                let ran = Command::new(words[0]).args(&words[1..]).current_dir(world.path("")).output();
                let ran = Ran::new(ran.unwrap());
                assert_eq!(ran.code, Some(7), "{ran:?}");
                assert!(!ran.error.contains("iptables"), "what redirects is heard to end too: {ran:?}");
            }
        },
    );
}

#[test]
fn the_limit_on_open_files_is_the_callers() {
    world::test("life::the_limit_on_open_files_is_the_callers", |who, world| {
        for flags in [&[][..], &["--explicit-only"]] {
            let exeat = world.exeat(who, flags, &["sh", "-c", "ulimit -Sn"]);
            let limited = |limit: &str| {
                let mut prlimit = Command::new("prlimit");
                prlimit.args([limit, "--"]).args(world::words(&exeat)).current_dir(world.path(""));
                Ran::new(prlimit.output().unwrap())
            };
            assert_eq!(limited("--nofile=777:").good(), "777");
            for few in (12..64).step_by(4) {
                let ran = limited(&format!("--nofile={few}:{few}"));
                let is_told = ["Too many open files (os error 24)", "raise the limit (ulimit -n)"]
                    .iter()
                    .any(|words| ran.error.contains(words));
                assert!(is_told || ran.good() == few.to_string(), "{ran:?}");
            }
        }
    });
}

/// How many processes have a variable in their environment.
fn marked(variable: &str) -> usize {
    let has = |environment: &Vec<u8>| {
        environment.split(|&byte| byte == 0).any(|one| one.starts_with(variable.as_bytes()))
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    // One that ends meanwhile is no longer there.
    processes.filter_map(|process| fs::read(process.join("environ")).ok()).filter(has).count()
}

#[test]
fn two_hundred_jails_leave_nothing_behind() {
    world::test("life::two_hundred_jails_leave_nothing_behind", |who, world| {
        let mark = format!("EXEAT_TEST_MANY{}{who:?}", std::process::id());
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let files = || -> HashSet<_> {
            fs::read_dir(world.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let before = (mounts(), files());
        for _ in 0..200 {
            let mut command = world.exeat(who, &[], &["sh", "-c", "sleep 1000 & exit 0"]);
            assert!(command.env(&mark, "1").status().unwrap().success());
        }
        assert_eq!(marked(&mark), 0);
        assert_eq!((mounts(), files()), before);
        // A namespace lives as long as a process is in it or something holds it: here nothing does.
        let held = fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
            let target = fs::read_link(entry.as_ref().unwrap().path()).unwrap_or_default();
            target.to_string_lossy().starts_with("net:")
        });
        assert_eq!(held.count(), 0);
    });
}

#[test]
fn a_terminal_is_the_commands_own() {
    world::test("life::a_terminal_is_the_commands_own", |who, world| {
        let script = world.path("terminal.py");
        fs::write(&script, include_str!("terminal.py")).unwrap();
        let exeat = world.exeat(who, &[], &[] as &[&str]);
        let mut python = Command::new("/usr/bin/python3");
        python.arg(&script).arg(exeat.get_program()).args(exeat.get_args());
        let ran = Ran::new(python.current_dir(world.directory.path()).output().unwrap());
        ran.good();
    });
}

#[test]
fn a_flood_of_connections_is_held_and_the_next_one_passes() {
    world::test("life::a_flood_of_connections_is_held_and_the_next_one_passes", |who, world| {
        let files = world.path("none");
        let (web, evil) =
            (Web::plain(&format!("{ALLOWED}:0"), &files), Web::plain(&format!("{DENIED}:0"), &files));
        world.policy(&[&format!("{{ host: a.example, ports: [{}], protocol: http }}", web.port)]);
        let flood = "import socket, sys, urllib.request\nheld = []\nfor i in range(900):\n s = socket.socket()\n \
            s.setblocking(False)\n s.connect_ex((sys.argv[1], int(sys.argv[2])))\n held.append(s)\n\
            print(urllib.request.urlopen(sys.argv[3], timeout=20).read().decode())";
        let url = format!("http://a.example:{}/", web.port);
        let command = ["/usr/bin/python3", "-c", flood, DENIED, &evil.port.to_string(), &url];
        let ran = world.run(who, &[], &command);
        assert!(ran.good().starts_with("hello from a.example"), "{ran:?}");
        assert_eq!(evil.connections(), 0);
    });
}
