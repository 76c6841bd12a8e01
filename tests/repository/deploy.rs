//! The systemd unit and the image.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use exeat::config::Settings;

use crate::serving::{EXEAT, Serving};
use crate::{read, root};

/// The most that `systemd-analyze security` may find, in tenths: 0 is nothing to wish for, 100 no protection at all.
const EXPOSURE: &str = "15";

#[test]
fn the_program_runs_alone_in_a_read_only_root() {
    run(Command::new(root().join("tests/image.sh")).arg(EXEAT));
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("exeat.service");
    fs::write(&unit, read("deploy/exeat.service").replace("/usr/bin/exeat", EXEAT)).unwrap();
    let Output { stderr, .. } = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    let complaint = String::from_utf8(stderr).unwrap();
    assert!(!complaint.contains("exeat.service"), "{complaint}");
    let mut security = Command::new("systemd-analyze");
    run(security.args(["security", "--offline=true", "--threshold", EXPOSURE]).arg(&unit));
}

#[test]
fn the_unit_of_the_lockdown_is_one_that_systemd_takes() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("exeat-lockdown.service");
    fs::write(&unit, read("deploy/exeat-lockdown.service").replace("/usr/bin/exeat", EXEAT)).unwrap();
    let Output { stderr, .. } = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    let complaint = String::from_utf8(stderr).unwrap();
    assert!(!complaint.contains("exeat-lockdown.service"), "{complaint}");
}

#[test]
fn the_drop_ins_are_such_that_systemd_takes_them() {
    for name in ["exeat-tproxy.conf", "exeat-mark.conf"] {
        assert_drop_in(name);
    }
}

fn assert_drop_in(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (unit, drop_ins) = (directory.path().join("exeat.service"), directory.path().join("exeat.service.d"));
    fs::write(&unit, read("deploy/exeat.service").replace("/usr/bin/exeat", EXEAT)).unwrap();
    fs::create_dir(&drop_ins).unwrap();
    let drop_in = read(&format!("deploy/{name}"));
    fs::write(drop_ins.join(name), &drop_in).unwrap();
    let Output { stderr, .. } = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    let complaint = String::from_utf8(stderr).unwrap();
    assert!(!complaint.contains(name) && !complaint.contains("exeat.service"), "{complaint}");
    // Each of its lines overrules one of the unit's.
    for line in drop_in.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
        let (key, _) = line.split_once('=').unwrap();
        assert!(read("deploy/exeat.service").contains(&format!("\n{key}=")), "{key}");
    }
}

#[test]
fn the_files_that_cloud_init_writes_are_good() {
    let example = read("deploy/cloud-init.yaml");
    let content = |path: &str| -> String {
        let (_, after) = example.split_once(&format!("path: {path}\n    content: |\n")).unwrap();
        let lines = after.lines().map_while(|line| line.strip_prefix("      "));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let path = Path::new("/etc/exeat/exeat.yaml");
    let settings = Settings::parse(path, &content("/etc/exeat/exeat.yaml")).unwrap();
    assert!(!settings.listen.transparent.is_empty() && !settings.dns.servers.is_empty());
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("instance.yaml");
    fs::write(&policy, content("/etc/exeat/policies/instance.yaml")).unwrap();
    run(Command::new(EXEAT).arg("check").arg(&policy));
    // Whether exeat listens by then is a race, which must not leave the instance open.
    assert!(example.contains(&format!("\n  - exeat lockdown apply --ahead --config {}\n", path.display())));
}

#[test]
fn the_settings_of_the_unit_are_good() {
    let path = Path::new("/etc/exeat/exeat.yaml");
    let settings = Settings::parse(path, &read("deploy/exeat.yaml")).unwrap();
    let unit = read("deploy/exeat.service");
    assert!(unit.contains(&format!(" --config {}\n", path.display())));
    // What is not meant to be tried again ends with 2, which counts for ExecStart alone.
    assert!(unit.contains("\nRestartPreventExitStatus=2\n") && !unit.contains("\nExecStartPre="));
    assert_eq!(settings.policy, [Path::new("/etc/exeat/policies")]);
    let stop = unit.split("TimeoutStopSec=").nth(1).unwrap().lines().next().unwrap();
    assert!(stop.parse::<u64>().unwrap() > settings.timeouts.drain.as_secs() + 10);
}

#[test]
fn the_steps_of_the_readme_install_what_starts() {
    let directory = tempfile::tempdir().unwrap();
    let root_of_it = directory.path().to_str().unwrap();
    let readme = read("README.md");
    let steps = readme.split("```sh\n").find(|block| block.contains(" /usr/bin/exeat\n")).unwrap();
    let steps = steps.split("```").next().unwrap();
    // The same steps, in a root of its own and with the binary of the tests.
    let steps = steps
        .replace("target/release/exeat", EXEAT)
        .replace(" /usr/", &format!(" {root_of_it}/usr/"))
        .replace(" /etc/", &format!(" {root_of_it}/etc/"))
        .replace("systemd-sysusers\n", &format!("systemd-sysusers --root={root_of_it}\n"))
        .replace("systemctl daemon-reload\n", "")
        .replace("systemctl enable --now", &format!("systemctl --root={root_of_it} enable"));
    run(Command::new("sh").args(["-euc", &steps]).current_dir(root()));
    let at = |path: &str| directory.path().join(path);
    assert!(fs::read_to_string(at("etc/passwd")).unwrap().lines().any(|user| user.starts_with("exeat:")));
    assert!(fs::symlink_metadata(at("etc/systemd/system/multi-user.target.wants/exeat.service")).is_ok());
    let (config, policies) = (at("etc/exeat/exeat.yaml"), at("etc/exeat/policies"));
    Serving::start(&["--config", config.to_str().unwrap(), "--policy", policies.to_str().unwrap()]);
}

#[test]
fn systemd_hears_when_the_doors_are_bound_and_of_nothing_that_can_not_start() {
    assert!(read("deploy/exeat.service").contains("\nType=notify\n"));
    let directory = tempfile::tempdir().unwrap();
    let (path, policy) = (directory.path().join("notify"), directory.path().join("bad.yaml"));
    let path = path.to_str().unwrap();
    fs::write(&policy, "version: 2\n").unwrap();
    // A name of the kernel's own is written with an `@`; that of a file in a new directory is nobody else's.
    for (socket, name) in [
        (UnixDatagram::bind(path).unwrap(), path.to_owned()),
        (
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(path).unwrap()).unwrap(),
            format!("@{path}"),
        ),
    ] {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let exeat = Serving::run(Serving::command().env("NOTIFY_SOCKET", &name));
        let mut said = [0; 64];
        let length = socket.recv(&mut said).expect("it says nothing");
        assert_eq!(&said[..length], b"READY=1\n");
        TcpStream::connect(exeat.proxy.trim_start_matches("http://")).unwrap();

        let mut bad = Serving::command();
        let ended = bad.env("NOTIFY_SOCKET", &name).arg("--policy").arg(&policy).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv(&mut said).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn logrotate_rotates_the_records_and_none_is_lost_or_cut() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("exeat.yaml"), "audit: { path: flows.jsonl }\n").unwrap();
    let exeat = Serving::start(&["--config", at("exeat.yaml").to_str().unwrap()]);
    // The same rules, for this directory and its owner, and with what ExecReload says of the unit.
    let mut rules = read("deploy/exeat.logrotate");
    for (ours, theirs) in [
        ("/var/log/exeat/", format!("{}/", directory.path().display())),
        ("    su exeat exeat\n", String::new()),
        ("systemctl reload exeat.service", format!("kill -HUP {}", exeat.child.id())),
    ] {
        assert!(rules.contains(ours), "{ours}");
        rules = rules.replace(ours, &theirs);
    }
    fs::write(at("rules"), rules).unwrap();
    let ask = |name: &str| {
        let mut curl = Command::new("curl");
        curl.env_clear().args(["-sS", "--max-time", "10", "-o", "/dev/null", "-x", &exeat.proxy]);
        run(curl.arg(format!("http://{name}.example/")));
    };
    let rotate = || {
        let state = at("state");
        run(Command::new("logrotate").args(["--force", "--state"]).arg(&state).arg(at("rules")));
    };
    ask("first");
    wait_for(&at("flows.jsonl"), "first.example");
    rotate();
    wait_for(&at("flows.jsonl.1"), "first.example");
    wait_for(&at("flows.jsonl"), "");
    ask("second");
    wait_for(&at("flows.jsonl"), "second.example");
    rotate();
    wait_for(&at("flows.jsonl.1"), "second.example");
    let packed = run(Command::new("zcat").arg(at("flows.jsonl.2.gz"))).stdout;
    let (oldest, old) =
        (String::from_utf8(packed).unwrap(), fs::read_to_string(at("flows.jsonl.1")).unwrap());
    for text in [oldest, old] {
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    }
}

/// Waits until a file has a whole line with these words, or is there at all where there are none.
fn wait_for(path: &Path, words: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match fs::read_to_string(path) {
            Ok(text) if words.is_empty() || text.contains(words) && text.ends_with('\n') => return,
            read => assert!(Instant::now() < deadline, "{}: {words:?}: {read:?}", path.display()),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_policy_whose_tests_fail_by_now_keeps_nothing_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    let expired = "version: 1\nprofiles:\n  - name: a\n    allow:\n      - { host: a.example, until: 2020-01-31 }\n      - b.example\n\
                   tests:\n  - { to: a.example, expect: allow }\n";
    fs::write(&policy, expired).unwrap();
    let check = Command::new(EXEAT).arg("check").arg(&policy).output().unwrap();
    assert_eq!(check.status.code(), Some(3), "{check:?}");
    Serving::start(&["--policy", policy.to_str().unwrap()]);
}

#[test]
fn the_image_is_one_static_binary_for_no_one() {
    let dockerfile = read("Dockerfile");
    let steps: Vec<(&str, &str)> = dockerfile
        .lines()
        .filter(|line| !line.starts_with(['#', ' ']) && !line.is_empty())
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let of = |name: &str| -> Vec<&str> {
        steps.iter().filter(|(step, _)| *step == name).map(|(_, rest)| *rest).collect()
    };
    let known = [
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "RUN",
        "STOPSIGNAL",
        "USER",
        "WORKDIR",
    ];
    assert!(
        steps.iter().all(|(step, _)| known.contains(step)),
        "ADD could fetch what nobody has seen: {steps:?}"
    );
    assert_eq!(of("FROM").len(), 2);
    assert_eq!(of("FROM")[1], "scratch");
    let numbers: Vec<u32> = of("USER")[0].split(':').map(|id| id.parse().unwrap()).collect();
    assert!(of("USER").len() == 1 && numbers.iter().all(|id| *id > 0));
    assert_eq!(of("ENTRYPOINT"), ["[\"/exeat\"]"]);
    let ports: BTreeSet<&str> = of("EXPOSE")[0].split(' ').collect();
    for port in ports {
        assert!(of("CMD")[0].contains(&format!(":{port}\"")), "{port} is exposed, and nobody listens");
    }

    // The compiler is the repository's own, and static linking stands where `make image` has it from too.
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).unwrap();
    let minor = channel.rsplit_once('.').unwrap().0;
    assert!(of("FROM")[0].starts_with(&format!("rust:{minor}-")), "{channel}");
    assert!(
        dockerfile.contains("--config deploy/static.toml")
            && read("Makefile").contains("--config deploy/static.toml")
    );
}

#[test]
fn what_the_build_of_the_image_copies_is_enough() {
    let sent: Vec<String> =
        read(".dockerignore").lines().filter_map(|line| Some(line.strip_prefix('!')?.to_owned())).collect();
    for path in &sent {
        assert!(root().join(path).exists(), "{path} is not there");
    }
    for needed in ["Cargo.toml", "Cargo.lock", "src", "benches", "policies", "deploy/static.toml"] {
        assert!(sent.iter().any(|path| path == needed), "{needed} is not sent");
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run tests/need.sh"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}
