//! Bounds: on flows, clients, file descriptors, records that can't be written, and memory.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;

use exeat::config::Audit;
use rustix::process::Signal as Unix;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::binary::{Binary, Files};
use crate::support::dns::{Dns, Reply};
use crate::support::tls::{hello, server_hello};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, Reach, Setup, end, read_head, until};

fn tcp(port: u16) -> String {
    format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}")
}

fn policy(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    format!("version: 1\nprofiles:\n  - name: p\n    allow:\n{rules}")
}

fn connect(to: &str) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

#[tokio::test]
async fn an_idle_connection_takes_no_place_and_places_come_back() {
    let (upstream, page) = (Upstream::echo().await, Upstream::page().await);
    let http = format!("{{ host: b.example, ports: [{}], protocol: http, private: true }}", page.port());
    let mut setup = Setup::allow(&[&tcp(upstream.port()), &http]);
    setup.settings.limits.flows = NonZeroUsize::new(2);
    let gate = setup.start().await;
    let (to, page) = (format!("a.example:{}", upstream.port()), format!("b.example:{}", page.port()));
    let get = format!("GET http://{page}/ HTTP/1.1\r\nHost: {page}\r\n\r\n");
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut kept = gate.connect().await;
        kept.write_all(get.as_bytes()).await.unwrap();
        assert!(read_head(&mut kept).await.starts_with("HTTP/1.1 200"));
        kept.read_exact(&mut [0; 5]).await.unwrap();
        idle.push(kept);
        idle.push(gate.connect().await);
    }
    for round in 1..4 {
        let open = (gate.tunnel(&to).await, gate.tunnel(&to).await);
        assert!(gate.say(connect(&to)).await.starts_with("HTTP/1.1 503 "));
        let kept = &mut idle[0];
        kept.write_all(get.as_bytes()).await.unwrap();
        assert!(read_head(kept).await.starts_with("HTTP/1.1 503 "));
        // The connection goes on all the same, behind the refusal's body.
        let mut rest = vec![0; 4096];
        let _ = kept.read(&mut rest).await.unwrap();
        drop(open);
        gate.records(5 + 4 * round).await;
    }
    let reasons = gate.records(17).await;
    assert_eq!(reasons.iter().filter(|record| record["reason"] == "limit_flows").count(), 6);
    gate.stop().await;
}

#[tokio::test]
async fn each_client_has_a_limit_of_its_own() {
    let upstream = Upstream::echo().await;
    let mut setup = Setup::allow(&[&tcp(upstream.port())]);
    setup.settings.limits.flows_per_client = NonZeroUsize::new(1);
    let gate = setup.start().await;
    let to = format!("a.example:{}", upstream.port());
    let open = gate.tunnel(&to).await;
    let answer = gate.say(connect(&to)).await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    assert!(answer.contains("error=connection_limit_reached; details=\"limit_client\""), "{answer}");
    assert!(answer.contains("\"message\":\"this client has too many flows open\""), "{answer}");
    assert!(answer.contains("`limits.flows_per_client` bounds them\""), "{answer}");
    // Another address of this host is another client.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(gate.address).await.unwrap();
    other.write_all(connect(&to).as_bytes()).await.unwrap();
    assert!(read_head(&mut other).await.starts_with("HTTP/1.1 200"));
    drop((open, other));
    gate.stop().await;
}

#[tokio::test]
async fn with_a_sink_that_hangs_no_flow_begins_whose_record_could_be_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Somebody has it open, and reads nothing until the end of the test.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let reader = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).unwrap();
    let mut setup = Setup::allow(&["a.example"]);
    setup.settings.audit = Audit { path, opened: false, required: true };
    let gate = setup.start().await;
    // Records wait in memory at first: it takes tens of thousands until that is full.
    let request = "GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n".repeat(100);
    let mut stream = gate.connect().await;
    let (mut read, mut write) = stream.split();
    let sending = async {
        for _ in 0..1000 {
            if write.write_all(request.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        let (mut buffer, mut last) = (vec![0; 65536], String::new());
        loop {
            let count = read.read(&mut buffer).await.unwrap();
            last.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if last.contains("\"reason\":\"audit_unavailable\"") {
                return;
            }
            let from = last.len() - last.len().min(100);
            last.drain(..last.floor_char_boundary(from));
        }
    };
    let enough = async {
        tokio::select! {
            () = receiving => {}
            () = async { sending.await; std::future::pending().await } => {}
        }
    };
    tokio::time::timeout(2 * PATIENCE, enough).await.expect("it never refuses");
    drop(stream);
    let answer = gate.say(connect("a.example:443")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("audit_unavailable"), "{answer}");
    drop(reader);
}

/// Opens a tunnel, and uses it.
async fn round_trip(reach: &Reach, to: &str) -> TcpStream {
    let mut tunnel = reach.tunnel(to).await;
    let mut echo = [0; 4];
    tunnel.write_all(b"ping").await.unwrap();
    tunnel.read_exact(&mut echo).await.unwrap();
    tunnel
}

#[tokio::test]
async fn with_few_file_descriptors_connections_wait_instead_of_failing() {
    let upstream = Upstream::echo().await;
    let to = format!("a.example:{}", upstream.port());
    let exeat = Binary::start(Files::new("threads: 2\n", &policy(&[&tcp(upstream.port())])), Some(64)).await;
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let (address, request) = (exeat.address, connect(&to));
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let head = read_head(&mut stream).await;
                let mut echo = [0; 4];
                stream.write_all(b"ping").await.unwrap();
                stream.read_exact(&mut echo).await.unwrap();
                head
            })
        })
        .collect();
    for client in clients {
        let head = client.await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    let records = exeat.records(200).await;
    assert!(records.iter().all(|record| record["reason"] == "allowed"), "{records:#?}");
    assert!(!exeat.log().contains("accepting a connection failed"), "{}", exeat.log());
}

#[tokio::test]
async fn with_too_few_file_descriptors_for_one_flow_it_does_not_start() {
    let upstream = Upstream::echo().await;
    let files = || Files::new("threads: 2\n", &policy(&[&tcp(upstream.port())]));
    let refused = files();
    let ended = refused.command(Some(24)).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let (_, needed) = said.split_once("there may be 24 open files, and one flow needs ").expect(&said);
    let needed = needed.split(':').next().and_then(|number| number.parse().ok()).expect(&said);
    // So many are enough.
    let exeat = Binary::start(files(), Some(needed)).await;
    round_trip(&exeat, &format!("a.example:{}", upstream.port())).await;
    assert!(!exeat.log().contains("Too many open files"), "{}", exeat.log());
}

#[tokio::test]
async fn names_that_nobody_answers_for_take_neither_the_file_descriptors_nor_the_answers_of_others() {
    let (upstream, dns) = (Upstream::echo().await, Dns::start().await);
    dns.reply("*.silent.example", Reply::Silence);
    dns.set("*.good.example", &["127.0.0.1"]);
    let port = upstream.port();
    let rules = [
        format!("{{ host: \"*.silent.example\", ports: [{port}] }}"),
        format!("{{ host: \"*.good.example\", ports: [{port}], protocol: tcp, private: true }}"),
    ];
    let files = Files::new("", &policy(&rules.each_ref().map(String::as_str))).asking(dns.address());
    let exeat = Binary::start(files, Some(512)).await;
    let mut in_vain = Vec::new();
    for number in 0..100 {
        let source = ["127.0.0.2", "127.0.0.3"][number % 2];
        let mut stream = exeat.connect_from(source).await;
        stream.write_all(connect(&format!("n{number}.silent.example:{port}")).as_bytes()).await.unwrap();
        in_vain.push(stream);
    }
    let mut open = Vec::new();
    for number in 0..20 {
        // Were it to wait for others, it would be refused before any of them is given up.
        open.push(exeat.tunnel(&format!("n{number}.good.example:{port}")).await);
    }
    // An eighth of all: as many as there may be, beside the connections of clients.
    let beside = exeat.open_files() - 1 - in_vain.len() - 2 * open.len();
    assert!(beside <= 512 / 8 + 40, "{beside}");
    let head = read_head(in_vain.last_mut().unwrap()).await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    drop(in_vain);
    let records = exeat.records(100).await;
    let limited: Vec<_> = records.iter().filter(|record| record["reason"] == "limit_client").collect();
    assert!(!limited.is_empty());
    for record in limited {
        assert_eq!(record["error"], "too many look-ups of this client are under way");
    }
    assert!(!exeat.log().contains("accepting a connection failed"), "{}", exeat.log());
}

#[tokio::test]
async fn what_it_has_room_for_is_shown() {
    for (settings, files, flows) in
        [("threads: 3\nlimits: { flows: 7 }\n", None, 7..=7), ("threads: 3\n", Some(256), 1..=128)]
    {
        let exeat = Binary::start(Files::new(settings, &policy(&["a.example"])), files).await;
        let limit = exeat.metric("exeat_limit_flows").await.unwrap() as u64;
        assert!(flows.contains(&limit), "{limit}");
        assert_eq!(exeat.metric("exeat_threads").await, Some(3.0));
    }
}

#[tokio::test]
async fn no_file_descriptor_stays_open_behind_a_flow() {
    let (upstream, page) = (Upstream::echo().await, Upstream::page().await);
    let (port, page_port) = (upstream.port(), page.port());
    let rules = [
        tcp(port),
        format!("{{ host: b.example, ports: [{port}], protocol: tls, private: true }}"),
        format!("{{ host: c.example, ports: [{page_port}], protocol: http, private: true }}"),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let files = Files::new("timeouts: { keepalive: 1s, head: 1s }\n", &policy(&rules));
    let exeat = Binary::start(files, None).await;
    let (a, b) = (format!("a.example:{port}"), format!("b.example:{port}"));
    let get = format!(
        "GET http://c.example:{page_port}/ HTTP/1.1\r\nHost: c.example:{page_port}\r\nConnection: close\r\n\r\n"
    );
    let one_of_each = async |count: usize| {
        for _ in 0..count {
            drop(round_trip(&exeat, &a).await);
            exeat.tunnel(&a).await.set_zero_linger().unwrap();
            let mut tunnel = exeat.tunnel(&b).await;
            tunnel.write_all(&hello(&["a.example"])).await.unwrap();
            end(&mut tunnel).await;
            drop(exeat.tunnel(&b).await);
            exeat.say(connect("x.example:443")).await;
            exeat.say(connect("a.example:1")).await;
            exeat.say("nonsense\r\n\r\n").await;
            assert!(exeat.say(&get).await.starts_with("HTTP/1.1 200"));
            drop(exeat.connect().await);
        }
    };
    one_of_each(10).await;
    exeat.records(80).await;
    // A bulk transfer leaves a pipe behind, which is meant to stay.
    let before = exeat.open_files();
    one_of_each(115).await;
    exeat.records(1000).await;
    until("file descriptors stay open", async || exeat.open_files() <= before).await;
}

/// A tunnel through which both sides have said something, in TLS or in what nobody looks into.
async fn idle_tunnel(exeat: &Binary, to: &str, tls: bool) -> TcpStream {
    if !tls {
        return round_trip(exeat, to).await;
    }
    let mut tunnel = exeat.tunnel(to).await;
    tunnel.write_all(&hello(&["a.example"])).await.unwrap();
    tunnel.read_exact(&mut vec![0; server_hello(false).len()]).await.unwrap();
    tunnel
}

#[tokio::test]
async fn an_idle_tunnel_takes_little_memory() {
    const TUNNELS: usize = 2000;
    for tls in [false, true] {
        let upstream = match tls {
            true => Upstream::saying(|_| server_hello(false)).await,
            false => Upstream::echo().await,
        };
        let protocol = if tls { "tls" } else { "tcp" };
        let rule = tcp(upstream.port()).replace("tcp", protocol);
        let files = Files::new("timeouts: { drain: 1s }\n", &policy(&[&rule]));
        let mut exeat = Binary::start(files, None).await;
        let to = format!("a.example:{}", upstream.port());
        let mut tunnels = Vec::new();
        // What the first ones take is for all that follow.
        for _ in 0..50 {
            tunnels.push(idle_tunnel(&exeat, &to, tls).await);
        }
        let before = exeat.memory();
        for _ in 0..TUNNELS {
            tunnels.push(idle_tunnel(&exeat, &to, tls).await);
        }
        let each = exeat.memory().saturating_sub(before) / TUNNELS;
        eprintln!("{each} bytes an idle tunnel, {protocol}");
        assert!(each < 16 * 1024, "{each} bytes");
        exeat.signal(Unix::TERM);
        exeat.signal(Unix::TERM);
        assert_eq!(exeat.exit_code().await, Some(0));
        assert_eq!(exeat.records_so_far().len(), TUNNELS + 50);
    }
}
