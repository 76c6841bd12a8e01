//! What a question to the DNS door costs: one that is answered from the cache, one that is refused, and one for
//! which a server is asked. All of exeat has a core to itself; clients and server share the others.
//!
//! `cargo bench --bench dns`
#![allow(clippy::unwrap_used, reason = "whatever fails here ends the measurement")]
#![allow(clippy::print_stdout, reason = "the table is what this is for")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as channel};
use std::thread;
use std::time::{Duration, Instant};

use exeat::config::Settings;
use exeat::policy::document::Sources;
use exeat::server::{Server, Signal};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::mpsc;

/// A client may ask 2,000 questions in a row, so there are many clients.
const CLIENTS: u8 = 100;
const EACH: usize = 1000;
/// Questions of one client under way. All of them together fit into a socket's buffer.
const WINDOW: usize = 2;
const ROUNDS: u8 = 5;

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    stay_on(1..thread::available_parallelism().unwrap().get());
    let (upstream, spent) = start_upstream();
    println!("medians of {ROUNDS} rounds, {CLIENTS} clients with {WINDOW} questions at a time each");
    println!("| rules | cached: questions/s, CPU us | refused | asked of a server |");
    println!("|---|---|---|---|");
    for rules in [10, 100_000] {
        let exeat = Exeat::start(upstream, Arc::clone(&spent), rules);
        let [cached, refused, asked] = [
            exeat.measure(0, ResponseCode::NoError, |_, _| "cached.bench.example".to_owned()),
            exeat.measure(1, ResponseCode::NXDomain, |client, number| {
                format!("n{number}.c{client}.evil.example")
            }),
            exeat.measure(2, ResponseCode::NoError, |client, number| {
                format!("n{number}.c{client}.bench.example")
            }),
        ]
        .map(|(rate, cpu)| format!("{rate:.0}, {cpu:.1}"));
        println!("| {rules} | {cached} | {refused} | {asked} |");
        exeat.stop();
    }
}

/// A running exeat, on a thread and a core of its own.
struct Exeat {
    door: SocketAddr,
    /// CPU time of the server behind it, in nanoseconds.
    spent_behind: Arc<AtomicU64>,
    signals: mpsc::Sender<Signal>,
    _directory: tempfile::TempDir,
}

impl Exeat {
    fn start(upstream: SocketAddr, spent_behind: Arc<AtomicU64>, rules: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let names: String = (0..rules).map(|number| format!("*.n{number}.example\n")).collect();
        fs::write(at("names"), names).unwrap();
        let policy =
            "version: 1\nprofiles: [{ name: p, allow: [\"*.bench.example\"], allow_file: [names] }]\n";
        fs::write(at("policy.yaml"), policy).unwrap();
        fs::write(at("hosts"), "").unwrap();
        let mut settings = Settings::default();
        settings.listen.explicit = Vec::new();
        settings.listen.admin = None;
        settings.listen.dns = vec!["127.0.0.1:0".parse().unwrap()];
        settings.dns.servers = vec![upstream.into()];
        settings.dns.hosts = Some(at("hosts"));
        settings.audit.path = at("records.jsonl");
        settings.threads = Some(1);
        let sources = Sources { paths: vec![at("policy.yaml")], allow: Vec::new() };
        let (started, start) = channel::channel();
        thread::spawn(move || {
            // Whatever it starts stays there too.
            stay_on(0..1);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::new(&settings, sources).unwrap();
                let (signals, receiver) = mpsc::channel(1);
                started.send((server.dns_addresses()[0], signals)).unwrap();
                server.run(receiver).await;
            });
        });
        let (door, signals) = start.recv().unwrap();
        Self { door, spent_behind, signals, _directory: directory }
    }

    /// Questions a second, and CPU microseconds of exeat for each.
    fn measure(&self, kind: u8, code: ResponseCode, name: impl Fn(u8, usize) -> String) -> (f64, f64) {
        let mut figures: Vec<(f64, f64)> = (0..ROUNDS)
            .map(|round| {
                let clients: Vec<UdpSocket> = (1..=CLIENTS)
                    .map(|client| {
                        // Each round has clients that have not asked before.
                        let own = Ipv4Addr::new(127, 1 + kind, 1 + round, client);
                        let socket = UdpSocket::bind((own, 0)).unwrap();
                        socket.connect(self.door).unwrap();
                        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                        socket
                    })
                    .collect();
                let questions: Vec<Vec<Vec<u8>>> = (0..CLIENTS)
                    .map(|client| {
                        let number = |number| usize::from(round) * EACH + number;
                        (0..EACH).map(|count| question(&name(client, number(count)))).collect()
                    })
                    .collect();
                self.ask(&clients[0], &questions[0][0], code);
                let before = self.cpu();
                let began = Instant::now();
                for window in 0..EACH / WINDOW {
                    for (client, questions) in clients.iter().zip(&questions) {
                        for question in &questions[window * WINDOW..][..WINDOW] {
                            client.send(question).unwrap();
                        }
                    }
                    for client in &clients {
                        (0..WINDOW).for_each(|_| expect(client, code));
                    }
                }
                let (took, cpu) = (began.elapsed().as_secs_f64(), self.cpu() - before);
                let count = f64::from(CLIENTS) * EACH as f64;
                (count / took, cpu * 1e6 / count)
            })
            .collect();
        figures.sort_by(|a, b| a.1.total_cmp(&b.1));
        figures[figures.len() / 2]
    }

    fn ask(&self, client: &UdpSocket, question: &[u8], code: ResponseCode) {
        client.send(question).unwrap();
        expect(client, code);
    }

    /// What the process has spent, but for this thread and the server behind exeat.
    fn cpu(&self) -> f64 {
        let others = spent(ClockId::ThreadCPUTime) + self.spent_behind.load(Ordering::Relaxed);
        spent(ClockId::ProcessCPUTime).saturating_sub(others) as f64 / 1e9
    }

    fn stop(&self) {
        self.signals.blocking_send(Signal::Stop).unwrap();
    }
}

fn expect(client: &UdpSocket, code: ResponseCode) {
    let mut answer = [0; 512];
    let length = client.recv(&mut answer).unwrap();
    assert!(length > 12 && u16::from(answer[3] & 0xf) == u16::from(code), "not {code}");
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

/// A server that has one address for every name.
fn start_upstream() -> (SocketAddr, Arc<AtomicU64>) {
    let spent_here = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&spent_here);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1232];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            let name = message.queries[0].name().clone();
            message.add_answer(Record::from_rdata(name, 3600, RData::A(A::new(93, 184, 216, 34))));
            spent_here.store(spent(ClockId::ThreadCPUTime), Ordering::Relaxed);
            socket.send_to(&message.to_vec().unwrap(), from).unwrap();
        }
    });
    (address, told)
}

fn spent(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    (tv_sec * 1_000_000_000 + tv_nsec) as u64
}

fn stay_on(cores: std::ops::Range<usize>) {
    let mut set = CpuSet::new();
    cores.for_each(|core| set.set(core));
    // On a machine with one core everything shares it.
    let _ = sched_setaffinity(None, &set);
}
