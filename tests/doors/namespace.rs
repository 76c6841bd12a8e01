//! A network of the test's own: everything on one loopback interface, and a real firewall in between.
//!
//! The client has addresses of its own, from which alone connections are redirected, so that what exeat
//! dials is not. The test runs itself again inside; without leave to make a namespace it says so, and CI requires it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};

/// Where the client connects from.
pub const CLIENT_V4: &str = "10.9.0.1";
pub const CLIENT_V6: &str = "fd09::1";
/// Where servers are, each but one a public address.
const SERVERS: [&str; 7] = [
    "93.184.216.34",
    "93.184.216.35",
    "93.184.216.53",
    "93.184.216.66",
    "10.8.0.34",
    "2606:2800::34",
    "2606:2800::66",
];

const INSIDE: &str = "EXEAT_TEST_NAMESPACE";
/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test of this binary, by its name, in a namespace.
pub fn run(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        set_up();
        return tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(body);
    }
    let is_root = rustix::process::geteuid().is_root();
    // What others mount meanwhile is not seen.
    let flags: &[&str] =
        if is_root { &["--net", "--mount"] } else { &["--net", "--mount", "--map-root-user"] };
    let allowed = Command::new("unshare").args(flags).args(["iptables", "-t", "nat", "-L"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI has to let tests make network namespaces with iptables in them"
        );
        eprintln!("NOT RUN: {test} needs leave to make a network namespace, and iptables");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(flags)
        .arg(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
}

/// Redirects what the client connects to, in both families, to a listener of exeat.
pub fn redirect(listener: SocketAddr) {
    let port = listener.port().to_string();
    for (tool, client) in [("iptables", CLIENT_V4), ("ip6tables", CLIENT_V6)] {
        sh(&format!("{tool} -t nat -A OUTPUT -s {client} -p tcp -j REDIRECT --to-ports {port}"));
    }
}

/// Sends the client's DNS questions, to whichever server, to a listener of exeat.
pub fn redirect_questions(listener: SocketAddr) {
    let port = listener.port();
    sh(&format!("iptables -t nat -A OUTPUT -s {CLIENT_V4} -p udp --dport 53 -j REDIRECT --to-ports {port}"));
}

/// Delivers what the client connects to as it is to a listener of exeat.
pub fn deliver(listener: SocketAddr) {
    let port = listener.port();
    for (tool, family, client, local) in
        [("iptables", "-4", CLIENT_V4, "0.0.0.0/0"), ("ip6tables", "-6", CLIENT_V6, "::/0")]
    {
        sh(&format!(
            "{tool} -t mangle -A PREROUTING -i lo -s {client} -p tcp -j TPROXY --on-port {port} --tproxy-mark 1"
        ));
        sh(&format!("ip {family} rule add fwmark 1 lookup 100"));
        sh(&format!("ip {family} route add local {local} dev lo table 100"));
    }
}

/// A connection of the client.
pub async fn connect(to: &str) -> TcpStream {
    try_connect(to).await.unwrap()
}

/// A connection of the client that may be reset before it is known here that it stood.
pub async fn try_connect(to: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    let (socket, own) = match to {
        SocketAddr::V4(_) => (TcpSocket::new_v4(), CLIENT_V4),
        SocketAddr::V6(_) => (TcpSocket::new_v6(), CLIENT_V6),
    };
    let socket = socket.unwrap();
    socket.bind(SocketAddr::new(own.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(to).await
}

fn set_up() {
    sh("ip link set lo up");
    for address in SERVERS.into_iter().chain([CLIENT_V4, CLIENT_V6]) {
        // Else one of IPv6 can't be bound for a moment.
        let (length, nodad) = if address.contains(':') { (128, " nodad") } else { (32, "") };
        sh(&format!("ip addr add {address}/{length} dev lo{nodad}"));
    }
    // 10,000 connections one after the other leave as many in TIME_WAIT.
    sh("sysctl -qw net.ipv4.ip_local_port_range='1024 65535'");
}

/// Waits until something is so.
pub fn until(otherwise: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command that has to succeed.
pub fn sh(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
