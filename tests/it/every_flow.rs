//! Every accepted flow leaves exactly one record, whatever becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use exeat::server::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::tls::{hello, server_hello};
use crate::support::upstream::Upstream;
use crate::support::{Gate, PATIENCE, Setup, read_head};

const FLOWS: usize = 400;

/// Numbers without a pattern, the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

struct Ports {
    tcp: u16,
    tls: u16,
    http: u16,
    resetting: u16,
}

/// One flow to a name of its own; says whether exeat answered it.
async fn client(gate: Arc<Gate>, ports: Arc<Ports>, index: usize, way: u64) -> std::io::Result<bool> {
    let name = format!("n{index}.example");
    let port = match way {
        0..=2 => ports.tcp,
        3..=5 => ports.tls,
        6 => ports.resetting,
        _ => ports.http,
    };
    let to = match way {
        8 => format!("n{index}.denied.example:{port}"),
        9 => format!("{name}:1"),
        _ => format!("{name}:{port}"),
    };
    let mut stream = TcpStream::connect(gate.address).await?;
    let head = match way {
        7 | 10 => format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"),
        _ => format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"),
    };
    stream.write_all(head.as_bytes()).await?;
    if way == 10 {
        // It does not wait for the answer.
        return Ok(false);
    }
    let head = read_head(&mut stream).await;
    if !head.starts_with("HTTP/1.1 200") {
        return Ok(!head.is_empty());
    }
    let mut buffer = [0; 1024];
    let after = async {
        match way {
            0 => stream.write_all(b"ping").await?,
            1 => stream.set_zero_linger()?,
            2 => {
                stream.shutdown().await?;
            }
            3 => stream.write_all(&hello(&[&name])).await?,
            4 => stream.write_all(&hello(&["other.example"])).await?,
            5 => stream.write_all(b"garbage!").await?,
            _ => stream.write_all(b"reset").await?,
        }
        stream.read(&mut buffer).await
    };
    // What comes of the flow is in its record, whatever the client makes of it.
    let _ = timeout(Duration::from_millis(50), after).await;
    Ok(true)
}

async fn gate(flows: usize, ports: &Ports) -> Gate {
    let Ports { tcp, tls, http, resetting } = ports;
    let names: String = (0..flows).map(|n| format!(" n{n}.example")).collect();
    let mut setup = Setup::new(&format!(
        "version: 1\nprofiles:\n  - name: p\n    allow:\n      - {{ host: '*.example', ports: [{tcp}, {resetting}], \
         protocol: tcp, private: true }}\n      - {{ host: '*.example', ports: [{tls}], protocol: tls, private: true }}\n      \
         - {{ host: '*.example', ports: [{http}], protocol: http, private: true }}\n    deny: ['*.denied.example']\n"
    ));
    setup.hosts = format!("127.0.0.1{names}\n");
    setup.settings.timeouts.drain = Duration::from_millis(500);
    setup.start().await
}

async fn upstreams() -> ([Upstream; 4], Ports) {
    let resetting = Upstream::start(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 16]).await;
        let _ = stream.set_zero_linger();
    })
    .await;
    let tls = Upstream::saying(|_| server_hello(false)).await;
    let upstreams = [Upstream::echo().await, tls, Upstream::page().await, resetting];
    let [tcp, tls, http, resetting] = upstreams.each_ref().map(Upstream::port);
    (upstreams, Ports { tcp, tls, http, resetting })
}

/// How many records each name has.
fn by_name(records: &[serde_json::Value]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for record in records {
        *names.entry(record["host"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_mix_leaves_one_record_each() {
    let (_upstreams, ports) = upstreams().await;
    let gate = Arc::new(gate(FLOWS, &ports).await);
    let (ports, mut numbers, mut clients) = (Arc::new(ports), Numbers(1), JoinSet::new());
    for index in 0..FLOWS {
        clients.spawn(client(Arc::clone(&gate), Arc::clone(&ports), index, numbers.below(10)));
        if index % 16 == 15 {
            while clients.len() > 32 {
                clients.join_next().await;
            }
        }
    }
    while clients.join_next().await.is_some() {}
    let records = gate.records(FLOWS).await;
    assert_eq!(by_name(&records).len(), FLOWS);
    assert!(records.iter().all(|record| record["reason"] != "internal"), "{records:#?}");
    let ids: std::collections::BTreeSet<_> = records.iter().map(|record| record["flow"].as_str()).collect();
    assert_eq!(ids.len(), FLOWS);
    let metrics = gate.ask_admin("/metrics").await;
    let counted: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("exeat_flows_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert_eq!(counted, FLOWS as f64);
    let gate = Arc::into_inner(gate).unwrap();
    gate.signal(Signal::Stop).await;
    assert_eq!(gate.stopped().await.records_so_far().len(), FLOWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_loses_none_that_was_answered() {
    for seed in 0..3 {
        let (_upstreams, ports) = upstreams().await;
        let gate = Arc::new(gate(FLOWS, &ports).await);
        let (ports, mut numbers, mut clients) = (Arc::new(ports), Numbers(seed), JoinSet::new());
        for index in 0..FLOWS {
            let (gate, ports, way) = (Arc::clone(&gate), Arc::clone(&ports), numbers.below(11));
            clients.spawn(async move { (index, client(gate, ports, index, way).await) });
        }
        let mut answered = Vec::new();
        while let Some(client) = timeout(PATIENCE, clients.join_next()).await.expect("a client hangs") {
            if let (index, Ok(true)) = client.unwrap() {
                answered.push(index);
                if answered.len() == FLOWS / 8 {
                    gate.signal(Signal::Stop).await;
                }
            }
        }
        let reach = Arc::into_inner(gate).unwrap().stopped().await;
        let records = reach.records_so_far();
        let names = by_name(&records);
        assert!(names.values().all(|count| *count == 1), "{names:?}");
        assert!(records.iter().all(|record| record["reason"] != "internal"), "{records:#?}");
        for index in &answered {
            let own = |name: &String| name.starts_with(&format!("n{index}."));
            assert!(names.keys().any(own), "{index} was answered and has no record");
        }
        assert!(answered.len() >= FLOWS / 8, "{}", answered.len());
    }
}
