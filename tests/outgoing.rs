//! Connections that leave by an interface, a mark or an address of their own, over a real network of two ways.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test that can't run has to say so")]
#![allow(unreachable_pub, dead_code, reason = "what the tests stand on is shared between binaries")]

#[path = "doors/namespace.rs"]
mod namespace;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::namespace::{sh, until};

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// The namespace is the test's own, so the port is free.
const EXEAT: &str = "127.0.0.1:3128";

/// Says to each connection where it comes from, and keeps it open. It begins once it is told to, and ends with the test.
const SERVER: &str = r#"
import socket, sys, threading
sys.stdin.readline()
def serve(family, address):
    listener = socket.create_server((address, 80), family=family)
    while True:
        connection, peer = listener.accept()
        connection.sendall(peer[0].encode() + b"\n")
        kept.append(connection)
kept = []
for family, address in [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]:
    threading.Thread(target=serve, args=(family, address), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

/// The internet, in a namespace of its own, which two ways lead to: `eth0` by default, `eth1` for those who ask for it.
struct Internet(Child);

impl Internet {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "/usr/bin/python3", "-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        until("no namespace", || {
            fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|theirs| theirs != own)
        });
        let there = format!("nsenter -t {id} -n");
        for (interface, network) in [("eth0", 1), ("eth1", 2)] {
            let far = format!("far{network}");
            sh(&format!("ip link add {interface} type veth peer name {far} && ip link set {far} netns {id}"));
            for number in [2, 7] {
                sh(&format!("ip addr add 10.{network}.0.{number}/24 dev {interface}"));
                sh(&format!("ip addr add fd0{network}::{number}/64 dev {interface} nodad"));
            }
            sh(&format!("{there} ip addr add 10.{network}.0.1/24 dev {far}"));
            sh(&format!("{there} ip addr add fd0{network}::1/64 dev {far} nodad"));
            sh(&format!("ip link set {interface} up && {there} ip link set {far} up"));
            sh(&format!("ip route add default via 10.{network}.0.1 dev {interface} metric {network}00"));
            sh(&format!("ip -6 route add default via fd0{network}::1 dev {interface} metric {network}00"));
        }
        sh("ip rule add fwmark 7 lookup 107 && ip route add default via 10.2.0.1 dev eth1 table 107");
        sh(&format!("{there} ip link set lo up"));
        for address in ["93.184.216.98/32", "93.184.216.99/32", "2606:2800::99/128"] {
            sh(&format!("{there} ip addr add {address} dev lo"));
        }
        child.stdin.as_mut().unwrap().write_all(b"begin\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `exeat serve` with one profile for each client, by its address and `outgoing`.
struct Exeat {
    child: Child,
    directory: TempDir,
}

impl Exeat {
    /// Starts it, through `wrapper`, and waits until it listens.
    fn start(wrapper: &[&str], profiles: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut policy = "version: 1\nprofiles:\n".to_owned();
        for (client, outgoing) in profiles {
            policy += &format!(
                "  - name: p{}\n    clients: [{client}]\n    outgoing: {outgoing}\n    allow:\n      \
                 - {{ cidr: 0.0.0.0/0, ports: [80], protocol: tcp }}\n      \
                 - {{ cidr: \"::/0\", ports: [80], protocol: tcp }}\n",
                client.replace('/', "-")
            );
        }
        fs::write(at("policy.yaml"), policy).unwrap();
        let settings = format!("listen: {{ explicit: ['{EXEAT}'], admin: null }}\npolicy: [policy.yaml]\n");
        fs::write(at("exeat.yaml"), settings + "audit: { path: records.jsonl }\n").unwrap();
        // Whoever it becomes has to read it, and to write beside it.
        fs::copy(env!("CARGO_BIN_EXE_exeat"), at("exeat")).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let program = at("exeat");
        let words =
            wrapper.iter().map(|word| (*word).to_owned()).chain([program.to_str().unwrap().to_owned()]);
        let words: Vec<String> = words.collect();
        let log = fs::File::create(at("log")).unwrap();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["serve", "--config", "exeat.yaml"])
            .current_dir(directory.path())
            .stderr(log)
            .spawn()
            .unwrap();
        let exeat = Self { child, directory };
        // Its own word: a connection could be with itself, where nobody listens on a port that clients have too.
        until("it does not listen", || exeat.read("log").contains("clients connect to http://"));
        exeat
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

impl Drop for Exeat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to exeat from this address of the client.
fn client(from: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&EXEAT.parse::<SocketAddr>().unwrap().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Opens a tunnel, and returns the first line of what comes through it; of a refusal, all of it.
fn source_of(mut stream: &TcpStream, to: &str) -> String {
    let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(connect.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let mut rest = String::new();
    match head.starts_with("HTTP/1.1 200") {
        true => reader.read_line(&mut rest).unwrap(),
        false => reader.read_to_string(&mut rest).unwrap(),
    };
    rest.trim_end().to_owned()
}

#[test]
fn each_tenant_leaves_by_its_address_its_interface_or_its_mark() {
    namespace::run("each_tenant_leaves_by_its_address_its_interface_or_its_mark", async {
        let _internet = Internet::new();
        let _exeat = Exeat::start(
            &[],
            &[
                ("127.0.0.1", "{}"),
                ("127.0.0.2", "{ source: [10.1.0.7, \"fd01::7\"] }"),
                ("127.0.0.3", "{ interface: eth1 }"),
                ("127.0.0.4", "{ mark: 0x7 }"),
                ("127.0.0.5", "{ interface: eth1, mark: 9, source: [10.2.0.7] }"),
                ("127.0.0.6", "{ mark: 8 }"),
            ],
        );
        for (from, to, source) in [
            ("127.0.0.1", "93.184.216.99:80", "10.1.0.2"),
            ("127.0.0.2", "93.184.216.99:80", "10.1.0.7"),
            ("127.0.0.2", "[2606:2800::99]:80", "fd01::7"),
            ("127.0.0.3", "93.184.216.99:80", "10.2.0.2"),
            ("127.0.0.4", "93.184.216.99:80", "10.2.0.2"),
            ("127.0.0.5", "93.184.216.99:80", "10.2.0.7"),
            ("127.0.0.6", "93.184.216.99:80", "10.1.0.2"),
        ] {
            assert_eq!(source_of(&client(from), to), source, "{from} to {to}");
        }
        let v6: IpAddr = source_of(&client("127.0.0.3"), "[2606:2800::99]:80").parse().unwrap();
        assert!(["fd02::2", "fd02::7"].contains(&v6.to_string().as_str()), "{v6}");
    });
}

#[test]
fn a_mark_is_on_every_packet() {
    namespace::run("a_mark_is_on_every_packet", async {
        let _internet = Internet::new();
        let _exeat = Exeat::start(&[], &[("127.0.0.1", "{ mark: 9 }")]);
        sh("iptables -A OUTPUT -p tcp --dport 80 -m mark ! --mark 9 -j DROP");
        sh("iptables -A OUTPUT -p tcp --dport 80 -m mark --mark 9 -j ACCEPT");
        assert_eq!(source_of(&client("127.0.0.1"), "93.184.216.99:80"), "10.1.0.2");
        sh("iptables -vnxL OUTPUT | awk '/DROP/ { exit $1 != 0 }'");
    });
}

#[test]
fn without_the_privilege_a_mark_fails_and_an_interface_does_not() {
    namespace::run("without_the_privilege_a_mark_fails_and_an_interface_does_not", async {
        let _internet = Internet::new();
        let bare = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ];
        let exeat =
            Exeat::start(&bare, &[("127.0.0.1", "{ mark: 7 }"), ("127.0.0.3", "{ interface: eth1 }")]);
        assert_eq!(source_of(&client("127.0.0.3"), "93.184.216.99:80"), "10.2.0.2");
        let refusal = source_of(&client("127.0.0.1"), "93.184.216.99:80");
        let why = "the mark 0x7 needs CAP_NET_ADMIN";
        assert!(refusal.contains("dial_failed") && refusal.contains(why), "{refusal}");
        let log = exeat.read("log");
        let warned = format!("`outgoing` of the profile p127.0.0.1: {why}");
        assert!(log.contains(&warned) && !log.contains("p127.0.0.3"), "{log}");
    });
}

#[test]
fn an_interface_that_comes_later_works_from_then_on() {
    namespace::run("an_interface_that_comes_later_works_from_then_on", async {
        let _internet = Internet::new();
        let exeat = Exeat::start(&[], &[("127.0.0.1", "{ interface: way1 }")]);
        let why = "the interface way1 is not there";
        assert!(source_of(&client("127.0.0.1"), "93.184.216.99:80").contains(why));
        assert!(exeat.read("log").contains(why), "{}", exeat.read("log"));
        sh("ip link set eth1 down && ip link set eth1 name way1 && ip link set way1 up");
        sh("ip route add default via 10.2.0.1 dev way1 metric 200");
        assert_eq!(source_of(&client("127.0.0.1"), "93.184.216.99:80"), "10.2.0.2");
    });
}

#[test]
fn connections_from_one_address_share_its_ports_among_destinations() {
    namespace::run("connections_from_one_address_share_its_ports_among_destinations", async {
        let _internet = Internet::new();
        let _exeat = Exeat::start(&[], &[("127.0.0.0/8", "{ source: [10.1.0.7] }")]);
        let clients: Vec<_> = (1..=16).map(|number| client(&format!("127.0.1.{number}"))).collect();
        sh("sysctl -qw net.ipv4.ip_local_port_range='40000 40009'");
        for (number, client) in clients.iter().enumerate() {
            let to = ["93.184.216.98:80", "93.184.216.99:80"][number % 2];
            assert_eq!(source_of(client, to), "10.1.0.7", "connection {number}");
        }
    });
}
