//! Real ssh and git: into the instance past the lock, and out of it through exeat.

use std::io::Write;
use std::process::{Child, Stdio};

use crate::exeat::Exeat;
use crate::internet::{EVIL, EVIL_V4, FORGE, FORGE_V4, FORGE_V6};
use crate::place::{As, Place, read_until};
use crate::world::{INSTANCE_V4, INSTANCE_V6, VISITOR_V4, World};

/// A server that lets the key of the test in.
struct Server {
    daemon: Child,
    key: String,
}

impl Server {
    fn start(world: &World, place: &Place, addresses: &[&str]) -> Self {
        let (key, host) = (world.path("key"), world.path("host"));
        for file in [&key, &host] {
            let words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file];
            place.run(As::Root, &words, "").good();
        }
        let keys = format!("AuthorizedKeysFile={key}.pub");
        let daemon = place.must("which sshd");
        // sshd wants to be called by its full name, a directory that its unit would have made, and to read whether root's
        // account is locked: in a user namespace that file is somebody else's.
        let (shadow, script) =
            (world.path("shadow"), "mkdir -p /run/sshd && mount --bind \"$0\" /etc/shadow && exec \"$@\"");
        std::fs::write(&shadow, "root:*:19000:0:99999:7:::\n").unwrap();
        let options = ["StrictModes=no", "UsePAM=no", "PidFile=none", "PermitRootLogin=yes", &keys];
        let mut words =
            vec!["sh", "-c", script, &shadow, daemon.trim(), "-D", "-e", "-f", "/dev/null", "-h", &host];
        words.extend(options.iter().flat_map(|option| ["-o", option]));
        let at: Vec<String> = addresses.iter().map(|address| format!("ListenAddress={address}")).collect();
        words.extend(at.iter().flat_map(|at| ["-o", at]));
        let mut daemon = place.command(As::Root, &words).stderr(Stdio::piped()).spawn().unwrap();
        for _ in addresses {
            read_until(daemon.stderr.as_mut().unwrap(), "Server listening on ");
        }
        Self { daemon, key }
    }

    /// The words of a client that believes whoever answers.
    fn client(&self) -> Vec<&str> {
        let mut words = vec!["ssh", "-T", "-F", "none", "-i", &self.key, "-o", "BatchMode=yes"];
        words.extend(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        words
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub(crate) fn a_login_from_outside_lives_through_it_all() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let server = Server::start(&world, &world.instance, &[INSTANCE_V4]);
    let to = format!("root@{INSTANCE_V4}");
    let mut words = server.client();
    words.extend(["-b", VISITOR_V4, &to, "cat"]);
    let mut client = world.internet.start(As::Root, &words);
    let (mut typed, mut shown) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut echoes = |text: &str| {
        typed.write_all(text.as_bytes()).unwrap();
        read_until(&mut shown, text);
    };
    echoes("before\n");
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format]).good();
        echoes(&format!("under {format}\n"));
    }
    world.exeat(&["lockdown", "remove"]).good();
    echoes("after\n");
    client.kill().unwrap();
    client.wait().unwrap();
}

/// Clones and logs in by name, which only the rule of that name and port lets through.
fn clone_and_log_in(world: &World) {
    let server = Server::start(world, &world.internet, &[FORGE_V4, FORGE_V6]);
    let (here, there, copy) = (world.path("here"), world.path("there.git"), world.path("copy"));
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "safe.directory=*"];
        world.internet.run(As::Root, &[&["git"], &who[..], words].concat(), "").good()
    };
    git(&["init", "-q", &here]);
    git(&["-C", &here, "commit", "-q", "--allow-empty", "-m", "what was cloned"]);
    git(&["clone", "-q", "--bare", &here, &there]);
    let upload = world.internet.must("git --exec-path").trim().to_owned() + "/git-upload-pack";
    let ssh = format!("GIT_SSH_COMMAND={}", server.client().join(" "));
    let clone = |host: &str, to: &str| {
        let url = format!("ssh://root@{host}{there}");
        let words = ["env", &ssh, "git", "clone", "-q", "-u", &upload, &url, to];
        world.instance.run(As::Root, &words, "")
    };
    clone(FORGE, &copy).good();
    let log = world.instance.run(As::Root, &["git", "-C", &copy, "log", "--format=%s"], "").good();
    assert_eq!(log, "what was cloned\n");
    let said = |host: &str| {
        let to = format!("root@{host}");
        world.instance.run(As::Root, &[&server.client()[..], &[&to, "echo", "inside"]].concat(), "").out
    };
    assert_eq!(said(FORGE), "inside\n");
    // The same port of another name, of another address, and another port of that address.
    assert_eq!((said(EVIL), said(EVIL_V4)), (String::new(), String::new()));
    let elsewhere = format!("TCP4:{FORGE_V4}:2222,connect-timeout=3");
    let reset = world.instance.run(As::Root, &["socat", "-t1", "-T2", "-", &elsewhere], "x");
    assert_eq!(reset.out, "");
    assert_eq!(world.leaks(), []);
}

pub(crate) fn git_and_ssh_reach_the_name_of_their_rule_from_the_instance() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    world.apply(&[]).good();
    clone_and_log_in(&world);
}

pub(crate) fn git_and_ssh_reach_the_name_of_their_rule_through_the_gateway() {
    let world = World::gateway();
    let exeat = Exeat::start_as(&world, As::Taker);
    world.apply(&["--gateway", "--interface", "in0", "--tproxy"]).good();
    clone_and_log_in(&world);
    let clients: Vec<_> = exeat
        .records_when(|records| !records.is_empty())
        .iter()
        .map(|record| record["client"].clone())
        .collect();
    assert!(clients.iter().all(|at| at == INSTANCE_V4 || at == INSTANCE_V6), "{clients:?}");
}
