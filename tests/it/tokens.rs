//! Who a client is by a token, and where the keys come from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exeat::auth::{KeySource, KeyUrl};
use rustls::ServerConfig;
use rustls::crypto::ring;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::signer::{Signer, jwks, settings};
use crate::support::upstream::Upstream;
use crate::support::{Gate, PATIENCE, Setup, ask, read_head, until};

/// What counts the times that keys could not be had.
const FAILURES: &str = "exeat_auth_reloads_total{of=\"keys\",result=\"failure\"}";

/// A gate that lets the group `ci` through to a port.
async fn gate(port: u16, keys: KeySource) -> Gate {
    gate_knowing(port, keys, "127.0.0.1 issuer.example\n").await
}

/// The same with these lines of the hosts file.
async fn gate_knowing(port: u16, keys: KeySource, hosts: &str) -> Gate {
    let policy = format!(
        "version: 1\nprofiles:\n  - name: ci\n    clients: [group:ci]\n    allow:\n      - {{ host: a.example, \
         ports: [{port}], protocol: tcp, private: true }}\n"
    );
    let mut setup = Setup::new(&policy);
    setup.hosts += hosts;
    setup.settings.auth = Some(settings(keys));
    setup.start().await
}

async fn open(gate: &Gate, port: u16, credentials: &str) -> String {
    let mut stream = gate.connect().await;
    let request = format!(
        "CONNECT a.example:{port} HTTP/1.1\r\nHost: a.example:{port}\r\nProxy-Authorization: {credentials}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_token_is_proof_as_bearer_and_as_the_password_of_bearer() {
    let (echo, signer) = (Upstream::echo().await, Signer::new("k1"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, jwks(&[&signer])).unwrap();
    let gate = gate(echo.port(), KeySource::File(file)).await;
    let token = signer.token("system:serviceaccount:build:runner", &["ci"], 600);
    let as_password = format!("Basic {}", STANDARD.encode(format!("bearer:{token}")));
    for credentials in [&format!("Bearer {token}"), &as_password, &format!("Bearer {token}")] {
        assert!(open(&gate, echo.port(), credentials).await.starts_with("HTTP/1.1 200"), "{credentials}");
    }
    let known = "exeat_auth_total{result=\"known\",scheme=\"bearer\"}";
    assert_eq!(gate.metric(known).await, Some(1.0), "the third was known from the first");
    assert_eq!(gate.records(1).await[0]["user"], "system:serviceaccount:build:runner");
    let other = signer.token("someone", &["dev"], 600);
    assert!(open(&gate, echo.port(), &format!("Bearer {other}")).await.starts_with("HTTP/1.1 403"));

    let expired = format!("Bearer {}", signer.token("someone", &["ci"], -5));
    let head = open(&gate, echo.port(), &expired).await;
    let challenge = "proxy-authenticate: Bearer realm=\"exeat\", error=\"invalid_token\", error_description=\"the token has expired\"\r\n";
    assert!(head.starts_with("HTTP/1.1 407") && head.contains(challenge), "{head}");
    // One without a token is told of no error (RFC 6750 §3.1).
    let asked =
        ask(&mut gate.connect().await, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(asked.head.contains("proxy-authenticate: Bearer realm=\"exeat\"\r\n"), "{asked:?}");
    let huge = format!("Bearer {}", "x".repeat(20_000));
    assert!(open(&gate, echo.port(), &huge).await.starts_with("HTTP/1.1 407"));
    let told: String = gate.records_so_far().iter().map(ToString::to_string).collect();
    for secret in [&token[..40], &expired[..60], &as_password[..40]] {
        assert!(!told.contains(secret), "{told}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn a_known_token_ends_when_it_expires() {
    let (echo, signer) = (Upstream::echo().await, Signer::new("k1"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, jwks(&[&signer])).unwrap();
    let gate = gate(echo.port(), KeySource::File(file)).await;
    let token = format!("Bearer {}", signer.token("someone", &["ci"], 2));
    assert!(open(&gate, echo.port(), &token).await.starts_with("HTTP/1.1 200"));
    until("it does not expire", async || open(&gate, echo.port(), &token).await.starts_with("HTTP/1.1 407"))
        .await;
    gate.stop().await;
}

#[tokio::test]
async fn a_key_that_is_withdrawn_takes_its_tokens_along() {
    let (echo, old, new) = (Upstream::echo().await, Signer::new("k1"), Signer::new("k2"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, jwks(&[&old])).unwrap();
    let gate = gate(echo.port(), KeySource::File(file.clone())).await;
    let bearer = |signer: &Signer| format!("Bearer {}", signer.token("someone", &["ci"], 600));
    let (first, second) = (bearer(&old), bearer(&new));
    assert!(open(&gate, echo.port(), &first).await.starts_with("HTTP/1.1 200"));
    assert!(open(&gate, echo.port(), &second).await.starts_with("HTTP/1.1 407"));

    replace(&file, "{}");
    until("the bad file was not read", async || gate.metric(FAILURES).await >= Some(1.0)).await;
    assert!(open(&gate, echo.port(), &first).await.starts_with("HTTP/1.1 200"), "the last good keys stay");
    replace(&file, &jwks(&[&new]));
    until("the new key is not taken", async || {
        open(&gate, echo.port(), &second).await.starts_with("HTTP/1.1 200")
    })
    .await;
    assert!(open(&gate, echo.port(), &first).await.starts_with("HTTP/1.1 407"));
    gate.stop().await;
}

/// A server that publishes keys over HTTPS.
struct Issuer {
    port: u16,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<usize>>,
    ca: PathBuf,
    _directory: tempfile::TempDir,
}

impl Issuer {
    async fn start(keys: String) -> Self {
        let made = rcgen::generate_simple_self_signed(["issuer.example".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.into()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(ok(&keys)));
        let asked = Arc::new(Mutex::new(0));
        let (theirs, count) = (Arc::clone(&answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                *count.lock().unwrap() += 1;
                let said = theirs.lock().unwrap().clone();
                let _ = stream.write_all(said.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, answer, asked, ca, _directory: directory }
    }

    fn says(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    fn source(&self) -> KeySource {
        let url = KeyUrl::parse(&format!("https://issuer.example:{}/jwks", self.port)).unwrap();
        KeySource::Url { url, ca: Some(self.ca.clone()), refresh: Duration::from_secs(3600) }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn keys_come_over_https_and_a_new_one_is_asked_for_when_a_token_has_it() {
    let (echo, old, new) = (Upstream::echo().await, Signer::new("k1"), Signer::new("k2"));
    let issuer = Issuer::start(jwks(&[&old])).await;
    let gate = gate(echo.port(), issuer.source()).await;
    let bearer = |signer: &Signer, user: &str| format!("Bearer {}", signer.token(user, &["ci"], 600));
    until("the keys were not asked for", async || {
        open(&gate, echo.port(), &bearer(&old, "a")).await.starts_with("HTTP/1.1 200")
    })
    .await;
    let asked = issuer.asked();
    // Guesses with keys that nobody has make exeat ask once in ten seconds at most.
    for number in 0..20 {
        let guess = bearer(&Signer::new(&format!("x{number}")), "mallory");
        assert!(open(&gate, echo.port(), &guess).await.starts_with("HTTP/1.1 407"));
    }
    assert!(issuer.asked() <= asked + 1, "{} times", issuer.asked());
    // The issuer begins to sign with a new key: no token of either key fails for long.
    issuer.says(ok(&jwks(&[&old, &new])));
    until("the new key is not taken", async || {
        open(&gate, echo.port(), &bearer(&new, "b")).await.starts_with("HTTP/1.1 200")
    })
    .await;
    assert!(open(&gate, echo.port(), &bearer(&old, "c")).await.starts_with("HTTP/1.1 200"));
    // What is wrong with the issuer afterwards changes nothing.
    issuer.says("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned());
    until("the issuer was not asked", async || {
        open(&gate, echo.port(), &bearer(&Signer::new("k3"), "d")).await;
        gate.metric(FAILURES).await >= Some(1.0)
    })
    .await;
    assert!(open(&gate, echo.port(), &bearer(&new, "e")).await.starts_with("HTTP/1.1 200"));
    gate.stop().await;
}

/// A gate that has asked an issuer, and did not believe it: another's authority is to vouch for it.
async fn unconvinced(port: u16, issuer: &Issuer, other: &Issuer) -> Gate {
    let KeySource::Url { url, refresh, .. } = issuer.source() else { panic!("not a URL") };
    let gate = gate(port, KeySource::Url { url, ca: Some(other.ca.clone()), refresh }).await;
    until("the issuer was not asked", async || gate.metric(FAILURES).await >= Some(1.0)).await;
    gate
}

#[tokio::test]
async fn who_vouches_for_the_issuer_may_change() {
    let (echo, signer) = (Upstream::echo().await, Signer::new("k1"));
    let (issuer, other) = (Issuer::start(jwks(&[&signer])).await, Issuer::start(String::new()).await);
    let gate = unconvinced(echo.port(), &issuer, &other).await;
    // A file with a mistake changes nothing, and is counted: the keys won't be had by it.
    replace(&other.ca, "");
    until("the bad file was not read", async || gate.metric(FAILURES).await >= Some(2.0)).await;
    replace(&other.ca, &std::fs::read_to_string(&issuer.ca).unwrap());
    let token = format!("Bearer {}", signer.token("someone", &["ci"], 600));
    until("the new authority is not believed", async || {
        open(&gate, echo.port(), &token).await.starts_with("HTTP/1.1 200")
    })
    .await;
    gate.stop().await;
}

#[tokio::test]
async fn an_address_of_the_issuer_that_swallows_connections_keeps_no_key_away() {
    let (echo, signer) = (Upstream::echo().await, Signer::new("k1"));
    let issuer = Issuer::start(jwks(&[&signer])).await;
    // A queue that is full: the kernel drops each further SYN.
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // No other test takes ports of this address, nor of those that follow.
    hole.bind(&SocketAddr::from(([127, 0, 0, 78], issuer.port)).into()).unwrap();
    hole.listen(0).unwrap();
    let _queued = std::net::TcpStream::connect(("127.0.0.78", issuer.port)).unwrap();
    // Nobody listens at the others but the last. Each that refuses is followed by the next at once, not after 250 ms.
    for (closed, patience) in [(0, PATIENCE), (14, Duration::from_secs(3))] {
        let addresses = (78..=78 + closed).chain([1]);
        let hosts: String = addresses.map(|last| format!("127.0.0.{last} issuer.example\n")).collect();
        let gate = gate_knowing(echo.port(), issuer.source(), &hosts).await;
        let taken = until("the keys were not asked for", async || {
            let bearer = format!("Bearer {}", signer.token("a", &["ci"], 600));
            open(&gate, echo.port(), &bearer).await.starts_with("HTTP/1.1 200")
        });
        timeout(patience, taken).await.expect("those that refuse are waited for");
        gate.stop().await;
    }
}

/// Lets so much time pass on the loop that asks for keys.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn keys_that_could_not_be_asked_for_anew_for_a_day_count_no_more() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (echo, signer) = (Upstream::echo().await, Signer::new("k1"));
    let issuer = Issuer::start(jwks(&[&signer])).await;
    let gate = gate(echo.port(), issuer.source()).await;
    let token = format!("Bearer {}", signer.token("a", &["ci"], 600));
    let is_taken = async || open(&gate, echo.port(), &token).await.starts_with("HTTP/1.1 200");
    until("the keys were not asked for", is_taken).await;
    issuer.says("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned());
    for (hours, so_far, holds) in [(23, 1.0, true), (2, 2.0, false)] {
        pass(hours * HOUR).await;
        until("the issuer was not asked again", async || gate.metric(FAILURES).await >= Some(so_far)).await;
        until("the keys do not end with the day", async || is_taken().await == holds).await;
    }
    // A token that was taken before is no more either, until the issuer is back.
    issuer.says(ok(&jwks(&[&signer])));
    pass(Duration::from_secs(31)).await;
    until("the keys that came again are not taken", is_taken).await;
    gate.stop().await;
}

#[tokio::test]
async fn an_issuer_whose_certificate_nobody_vouches_for_is_not_believed() {
    let (echo, signer) = (Upstream::echo().await, Signer::new("k1"));
    let (issuer, other) = (Issuer::start(jwks(&[&signer])).await, Issuer::start(String::new()).await);
    let gate = unconvinced(echo.port(), &issuer, &other).await;
    let token = format!("Bearer {}", signer.token("someone", &["ci"], 600));
    assert!(open(&gate, echo.port(), &token).await.starts_with("HTTP/1.1 407"));
    assert_eq!(issuer.asked(), 0);
    gate.stop().await;
}
