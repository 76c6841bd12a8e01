//! Clients that speak TLS to the proxy itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use exeat::config::{Listener, Settings};
use exeat::policy::document::{Audience, Sources};
use exeat::record::Watch;
use exeat::server::{Doors, Jailed, Server, Signal};
use exeat::tls::{Files, Tls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::support::authority::{Authority, Pair, Wanted};
use crate::support::binary::{Binary, Files as BinaryFiles};
use crate::support::upstream::Upstream;
use crate::support::{Gate, PATIENCE, Setup, end, read_to_end, until};

/// As `openssl ec -aes128` writes it.
const WITH_PASSPHRASE: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,240F3107FDF82C104D1B734A9B7E622F

AAAA
-----END EC PRIVATE KEY-----
";
const OF_NO_KIND: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
/// As `openssl ca -gencrl` writes it without `crlnumber` in its settings.
const VERSION_1: &str = "\
-----BEGIN X509 CRL-----
MIGYMEAwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJQ2xpZW50IENBFw0yNjExMzAw
OTU5MTJaFw0yNjEyMTAwOTU5MTJaMAoGCCqGSM49BAMCA0gAMEUCIHqBO2ooKk8w
uafvNqAJZlN6PxvQcD1obHZDsjxpqs61AiEAzKoizDhypJEpd06VFHMqN0QfTOYR
p3+8WsaXv4IX3Sw=
-----END X509 CRL-----
";

/// The files of a listener, and who signed them.
pub struct Ground {
    pub authority: Authority,
    pub directory: TempDir,
}

impl Ground {
    pub fn new() -> Self {
        let ground =
            Self { authority: Authority::new("exeat's tests"), directory: tempfile::tempdir().unwrap() };
        ground.authority.server().place(ground.path());
        fs::write(ground.path().join("ca.pem"), &ground.authority.pem).unwrap();
        ground
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn files(&self) -> Files {
        let at = |name: &str| self.path().join(name);
        Files { certificate: at("tls.crt"), key: at("tls.key"), clients: None }
    }

    /// A setup whose explicit door speaks TLS, with these rules under `allow`.
    pub fn setup(&self, rules: &[&str]) -> Setup {
        let mut setup = Setup::allow(rules);
        setup.settings.listen.explicit = vec![listener(self.files())];
        setup
    }
}

pub fn listener(files: Files) -> Listener {
    Listener { tls: Some(files), ..Listener::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0))) }
}

pub fn tcp(port: u16) -> String {
    format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}")
}

fn web(port: u16) -> String {
    format!("{{ host: a.example, ports: [{port}], private: true }}")
}

async fn connect(gate: &Gate, ground: &Ground) -> TlsStream<TcpStream> {
    ground.authority.shake(gate.connect().await).await.unwrap()
}

/// Opens a tunnel, and returns the head of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>, to: &str) -> String {
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("no answer in time").unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn curl_goes_through_an_https_proxy() {
    let upstream = Upstream::page().await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let proxy = format!("https://{}", gate.address);
    let ca = ground.path().join("ca.pem");
    let curl = |arguments: &[&str]| {
        let mut curl = tokio::process::Command::new("curl");
        curl.env_clear()
            .args(["-sS", "--max-time", "20", "-x", &proxy, "--proxy-cacert"])
            .arg(&ca)
            .args(arguments);
        async move { curl.output().await.unwrap() }
    };
    for arguments in [&[][..], &["--proxytunnel"], &["--proxy-tls13-ciphers", "TLS_AES_256_GCM_SHA384"]] {
        let url = format!("http://a.example:{port}/");
        let output = curl(&[arguments, &[&url]].concat()).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{arguments:?}: {output:?}");
    }
    let output = curl(&["-H", "Accept: text/plain", "http://denied.example/"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("exeat: no_rule: "), "{output:?}");
    let output = curl(&["https://denied.example/"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("403"), "{output:?}");
    let records = gate.records(5).await;
    assert!(records.iter().all(|record| record["client"] == "127.0.0.1"), "{records:#?}");
    let doors: Vec<&str> = records.iter().map(|record| record["ingress"].as_str().unwrap()).collect();
    assert_eq!(doors, ["forward", "connect", "forward", "forward", "connect"]);
}

/// A curl that can speak HTTP/2 to a proxy: the one that `tests/need.sh` put beside an older one of the system, or else
/// the system's.
fn curl_with_http2() -> tokio::process::Command {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("programs/curl/usr");
    let own = place.join("bin/curl");
    if !own.exists() {
        return tokio::process::Command::new("curl");
    }
    let mut curl = tokio::process::Command::new(own);
    let libraries = fs::read_dir(place.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    curl.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    curl
}

#[tokio::test]
async fn curl_speaks_http_2_to_the_proxy() {
    let upstream = Upstream::page().await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let proxy = format!("https://{}", gate.address);
    let curl = |arguments: &[&str]| {
        let mut curl = curl_with_http2();
        curl.args(["-sSv", "--max-time", "20", "-x", &proxy, "--proxy-http2", "--proxy-cacert"])
            .arg(ground.path().join("ca.pem"))
            .args(arguments);
        for name in
            ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"]
        {
            curl.env_remove(name);
        }
        async move { curl.output().await.unwrap() }
    };
    let url = format!("http://a.example:{port}/");
    let output = curl(&["--proxytunnel", &url]).await;
    let (page, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(page == "hello" && told.contains("CONNECT tunnel: HTTP/2 negotiated"), "{output:#?}");
    // Over HTTP/2 curl 8.14 does not tell the status of a CONNECT that failed.
    let output = curl(&["https://denied.example/"]).await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:#?}");
    let records = gate.records(2).await;
    let reasons: Vec<&str> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["allowed", "no_rule"]);
    assert_eq!(records[1]["status"], 403);
}

#[tokio::test]
async fn a_tunnel_relays_bulk_both_ways_and_each_end_by_itself() {
    const SIZE: usize = 24 << 20;
    let upstream = Upstream::start(|mut stream, _| async move {
        let mut all = Vec::new();
        // Hears all of it before it says a word: the end of the client's half must arrive.
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&tcp(port)]).start().await;
    let mut stream = connect(&gate, &ground).await;
    assert!(ask(&mut stream, &format!("a.example:{port}")).await.starts_with("HTTP/1.1 200"));
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 7) as u8).collect();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let send = async {
        writing.write_all(&bytes).await.unwrap();
        writing.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (read, ()) = tokio::join!(timeout(PATIENCE, reading.read_to_end(&mut back)), send);
    // An end without close_notify would be an error here.
    read.unwrap().unwrap();
    assert!(back == bytes);
    let record = gate.record().await;
    assert_eq!((&record["sent"], &record["received"]), (&SIZE.into(), &SIZE.into()));
    assert_eq!(record["reason"], "allowed");
}

#[tokio::test]
async fn a_client_that_breaks_off_without_close_notify_is_no_orderly_end() {
    let upstream = Upstream::start(|mut stream, heard| async move {
        let mut byte = [0];
        let _ = stream.read_exact(&mut byte).await;
        if stream.read(&mut byte).await.is_err() {
            heard.add(b"reset");
        }
    })
    .await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&tcp(port)]).start().await;
    let mut stream = connect(&gate, &ground).await;
    ask(&mut stream, &format!("a.example:{port}")).await;
    stream.write_all(b"x").await.unwrap();
    let (mut socket, _) = stream.into_inner();
    socket.shutdown().await.unwrap();
    assert_eq!(gate.record().await["reason"], "client_reset");
    until("the upstream took it for an end", async || upstream.heard()[0].ends_with(b"reset")).await;
}

#[tokio::test]
async fn what_is_not_tls_is_told_so_and_recorded() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    let answer = gate.say("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ")
            && answer.ends_with("this port speaks TLS: use https://HOST:PORT")
    );
    let length = answer.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert_eq!(answer.split("\r\n\r\n").nth(1).unwrap().len().to_string(), length);
    // A hello that makes no sense, and one that offers nothing that is still spoken.
    let said = gate.say([0x16, 3, 1, 0, 4, 1, 0, 0, 0]).await;
    assert_eq!(said.as_bytes()[0], 0x15);
    let mut old = Command::new("openssl");
    old.args(["s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", &gate.address.to_string()]);
    let old = tokio::task::spawn_blocking(move || old.output().unwrap()).await.unwrap();
    assert!(String::from_utf8_lossy(&old.stderr).contains(" alert "), "{old:?}");
    // Whoever connects and says nothing, as load balancers do, leaves no record.
    drop(gate.connect().await);
    let records = gate.records(3).await;
    let reasons: Vec<_> = records.iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["bad_request", "bad_client_hello", "bad_client_hello"], "{records:#?}");
    let statuses: Vec<_> = records.iter().map(|record| record["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(400), None, None], "one was told in HTTP: {records:#?}");
    gate.stop_and_count(3).await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_seen_in_the_record() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    assert!(Authority::new("another").shake(gate.connect().await).await.is_err());
    let record = gate.record().await;
    assert_eq!(record["reason"], "client_reset");
    assert_eq!(record["error"], "the client refused the TLS handshake: UnknownCA");
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let ground = Ground::new();
    let mut setup = ground.setup(&["a.example"]);
    setup.settings.timeouts.head = Duration::from_millis(200);
    let gate = setup.start().await;
    let mut silent = gate.connect().await;
    let mut slow = gate.connect().await;
    slow.write_all(&[0x16, 3]).await.unwrap();
    end(&mut silent).await;
    end(&mut slow).await;
    assert_eq!(gate.record().await["reason"], "head_timeout");
}

#[tokio::test]
async fn certificates_change_under_load_without_one_failed_handshake() {
    const ROUNDS: usize = 5;
    let ground = Arc::new(Ground::new());
    let gate = Arc::new(ground.setup(&["a.example"]).start().await);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (ground, gate) = (Arc::clone(&ground), Arc::clone(&gate));
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = connect(&gate, &ground).await;
                    assert!(ask(&mut stream, "x.example:443").await.starts_with("HTTP/1.1 403"));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let reloads = async || gate.metric("exeat_tls_reloads_total{result=\"success\"}").await.unwrap();
    for round in 1..=ROUNDS {
        let pair = ground.authority.server();
        pair.place(ground.path());
        until("the new certificate is not shown", async || shown(&gate, &ground).await == pair.der()).await;
        assert!(reloads().await >= round as f64);
        let before = count.load(Ordering::Relaxed);
        until("no client comes in", async || count.load(Ordering::Relaxed) > before + 20).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let failed = gate.records_so_far().iter().filter(|record| record["reason"] != "no_rule").count();
    assert_eq!(failed, 0);
}

/// The certificate that the proxy shows.
async fn shown(gate: &Gate, ground: &Ground) -> rustls::pki_types::CertificateDer<'static> {
    let stream = connect(gate, ground).await;
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_bad_new_pair_changes_nothing_and_is_told() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    let good = shown(&gate, &ground).await;
    let failures = "exeat_tls_reloads_total{result=\"failure\"}";
    assert_eq!(gate.metric(failures).await, Some(0.0));
    let expires = "exeat_tls_certificate_expiry_timestamp_seconds";
    assert!(gate.metric(expires).await.unwrap() > 1e9);

    let mut failed = 0.0;
    let other = ground.authority.server();
    let expired = ground.authority.sign(Wanted::server().between(2020, 2021));
    let broken = Pair { certificate: "nothing".to_owned(), key: "nothing".to_owned() };
    let mixed = Pair { certificate: other.certificate.clone(), key: ground.authority.server().key };
    for pair in [broken, expired, mixed] {
        pair.place(ground.path());
        until("the failure is not counted", async || gate.metric(failures).await > Some(failed)).await;
        failed = gate.metric(failures).await.unwrap();
        assert_eq!(shown(&gate, &ground).await, good);
    }
    // A good one heals it, without a signal; so does a signal that finds nothing new, without a new key for tickets.
    other.place(ground.path());
    until("it does not heal", async || shown(&gate, &ground).await == other.der()).await;
    let successes = gate.metric("exeat_tls_reloads_total{result=\"success\"}").await;
    gate.signal(Signal::Reload).await;
    gate.until_revision(2).await;
    assert_eq!(gate.metric("exeat_tls_reloads_total{result=\"success\"}").await, successes);
}

#[tokio::test]
async fn the_program_says_what_is_wrong_with_certificates_all_at_once() {
    let ground = Ground::new();
    let policy = "version: 1\nprofiles:\n  - name: p\n    allow: [a.example]\n";
    let settings = |tls: &str| {
        let files = BinaryFiles::new("", policy);
        let listen = format!(
            "listen: {{ explicit: [{{ address: '127.0.0.1:0', tls: {tls} }}], admin: '127.0.0.1:0' }}"
        );
        fs::write(files.directory.path().join("exeat.yaml"), listen).unwrap();
        for name in ["tls.crt", "tls.key", "ca.pem"] {
            fs::copy(ground.path().join(name), files.directory.path().join(name)).unwrap();
        }
        let expired = ground.authority.sign(Wanted::server().between(2020, 2021));
        fs::write(files.directory.path().join("old.crt"), expired.certificate).unwrap();
        fs::write(files.directory.path().join("old.key"), expired.key).unwrap();
        let future = ground.authority.sign(Wanted::server().between(2090, 2091));
        fs::write(files.directory.path().join("early.crt"), future.certificate).unwrap();
        fs::write(files.directory.path().join("old.crl"), ground.authority.revoking(&[1], 2025)).unwrap();
        fs::write(files.directory.path().join("v1.crl"), VERSION_1).unwrap();
        fs::write(files.directory.path().join("secret.key"), WITH_PASSPHRASE).unwrap();
        fs::write(files.directory.path().join("odd.key"), OF_NO_KIND).unwrap();
        files
    };
    for (tls, wrong) in [
        (
            "{ certificate: none.crt, key: none.key }",
            &["none.crt:1:1: error: it can't be read: ", "none.key:1:1: error: "][..],
        ),
        (
            "{ certificate: tls.key, key: tls.crt }",
            &[
                "tls.key:1:1: error: it holds no certificates in PEM",
                "tls.crt:1:1: error: it holds no private key without a passphrase in PEM",
            ],
        ),
        (
            "{ certificate: tls.crt, key: old.key }",
            &["old.key:1:1: error: it is not the key of the certificate in "],
        ),
        (
            "{ certificate: tls.crt, key: secret.key, client_ca: ca.pem, crl: v1.crl }",
            &[
                "secret.key:1:1: error: it holds no private key without a passphrase in PEM",
                "v1.crl:1:1: error: its revocation list is of version 1\n  hint: ",
            ],
        ),
        (
            "{ certificate: tls.crt, key: odd.key }",
            &["odd.key:1:1: error: its key is of no kind that can be used\n  hint: RSA of 2048"],
        ),
        (
            "{ certificate: old.crt, key: old.key }",
            &["old.crt:1:1: error: its certificate expired at 2021-01-01T00:00:00Z"],
        ),
        (
            "{ certificate: early.crt, key: old.key }",
            &["early.crt:1:1: error: its certificate is not valid before 2090-01-01T00:00:00Z"],
        ),
        (
            "{ certificate: tls.crt, key: tls.key, client_ca: tls.key, crl: [old.crl, ca.pem] }",
            &[
                "tls.key:1:1: error: it holds no certificates in PEM",
                "old.crl:1:1: error: its revocation list is out of date since 2025-01-01T00:00:00Z",
                "ca.pem:1:1: error: it holds no revocation lists in PEM",
            ],
        ),
        (
            "{ certificat: tls.crt, client_auth: maybe, crl: x }",
            &[
                "`tls` has no key \"certificat\"",
                "`certificate` is missing in `tls`",
                "`key` is missing in `tls`",
                "`client_auth` is the text \"maybe\"",
                "`client_auth` says nothing without `client_ca`",
                "`crl` says nothing without `client_ca`",
            ],
        ),
    ] {
        let files = settings(tls);
        let output = files.command(None).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{tls}: {said}");
        for wrong in wrong {
            assert!(said.contains(wrong), "{tls}: {wrong}: {said}");
        }
    }
}

#[tokio::test]
async fn the_program_says_that_clients_connect_with_tls() {
    let ground = Ground::new();
    let files = BinaryFiles::new("", "version: 1\nprofiles:\n  - name: p\n    allow: [a.example]\n");
    let listen = "listen: { explicit: ['127.0.0.1:0', { address: '127.0.0.1:0', tls: { certificate: tls.crt, key: tls.key } }], admin: '127.0.0.1:0' }";
    fs::write(files.directory.path().join("exeat.yaml"), listen).unwrap();
    for name in ["tls.crt", "tls.key"] {
        fs::copy(ground.path().join(name), files.directory.path().join(name)).unwrap();
    }
    let exeat = Binary::start(files, None).await;
    let log = exeat.log();
    let address = log.split("clients connect to https://").nth(1).unwrap().lines().next().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = ground.authority.shake(stream).await.unwrap();
    assert!(ask(&mut stream, "x.example:443").await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn tickets_resume_until_the_certificate_changes() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = ground.path().join(format!("session{version}"));
        assert!(!resumes(&gate, version, &session, true).await, "{version}");
        assert!(resumes(&gate, version, &session, false).await, "{version}");
    }
    let pair = ground.authority.server();
    pair.place(ground.path());
    until("it does not change", async || shown(&gate, &ground).await == pair.der()).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = ground.path().join(format!("session{version}"));
        assert!(!resumes(&gate, version, &session, false).await, "{version}");
    }
}

/// Whether openssl resumes the session of a file, or makes one and leaves it there.
pub async fn resumes(gate: &Gate, version: &str, session: &Path, new: bool) -> bool {
    let mut client = tokio::process::Command::new("openssl");
    client.args(["s_client", version, "-connect", &gate.address.to_string()]);
    client.arg(if new { "-sess_out" } else { "-sess_in" }).arg(session);
    client
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut client = client.spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    // An answer comes after the tickets.
    input
        .write_all(b"GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let output = timeout(PATIENCE, client.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("HTTP/1.1 403"), "{said}");
    said.contains("\nReused, TLSv1")
}

#[tokio::test]
async fn connections_that_never_finish_their_handshake_do_not_keep_others_out() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    let mut stuck = Vec::new();
    for _ in 0..200 {
        let mut stream = gate.connect().await;
        stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        stuck.push(stream);
    }
    let mut stream = connect(&gate, &ground).await;
    assert!(ask(&mut stream, "x.example:443").await.starts_with("HTTP/1.1 403"));
    // And a drain does not wait for them.
    gate.stop().await;
    assert_eq!(read_to_end(&mut stuck[0]).await, "");
}

#[tokio::test]
async fn a_drain_ends_connections_with_close_notify() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    let mut stream = connect(&gate, &ground).await;
    stream.write_all(b"GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    gate.signal(Signal::Stop).await;
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    gate.stopped().await;
}

#[test]
fn loading_tells_the_files_to_watch() {
    let ground = Ground::new();
    let tls = Tls::load(ground.files()).unwrap();
    assert_eq!(tls.files().count(), 2);
    assert!(!tls.reload().unwrap());
}

#[tokio::test]
async fn the_doors_of_a_jail_speak_neither_tls_nor_the_proxy_protocol() {
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    let doors = Doors {
        explicit: vec![door],
        transparent: Vec::new(),
        dns: Vec::new(),
        workers: 1,
        outside: vec![address],
    };
    let (directory, sources) = (tempfile::tempdir().unwrap(), Sources::default());
    let mut settings = Settings::default();
    // Settings of a gate for others, whose files are not even there.
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
    let gone = listener(Files { certificate, key, clients: None });
    settings.listen.explicit = vec![Listener { senders: vec!["127.0.0.0/8".parse().unwrap()], ..gone }];
    settings.audit.path = directory.path().join("records.jsonl");
    let audience = Audience::Jail { profile: None, report: false };
    let loaded = (SystemTime::now(), audience.load(&sources, None).unwrap());
    let jailed = Jailed { doors, audience, loaded, watch: Watch::new(|_| {}), consent: None };
    let server = Server::jailed(&settings, sources, jailed).unwrap();
    let (signals, receiver) = mpsc::channel(1);
    let running = tokio::spawn(server.run(receiver));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("no answer in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    drop(stream);
    signals.send(Signal::Stop).await.unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}
