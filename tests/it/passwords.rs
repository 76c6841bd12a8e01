//! Who a client is by a password, and what becomes of those who are nobody.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exeat::auth::{PasswordFiles, Required, Settings};
use exeat::config::Listener;
use exeat::mistake::Place;
use exeat::policy::document::Sources;
use exeat::server::{Server, StartError};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::https::Ground;
use crate::support::binary::{Binary, Files};
use crate::support::upstream::Upstream;
use crate::support::{Gate, Setup, ask, read_head, until};

/// A file of users beside a gate that asks it.
pub struct Users {
    directory: TempDir,
}

impl Users {
    pub fn new(users: &[(&str, &str)], groups: &str) -> Self {
        let own = Self { directory: tempfile::tempdir().unwrap() };
        own.write(users);
        std::fs::write(own.directory.path().join("groups"), groups).unwrap();
        own
    }

    fn write(&self, users: &[(&str, &str)]) {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let text: String =
            users.iter().map(|(user, password)| format!("{user}:{}\n", hash(password))).collect();
        self.write_text(&text);
    }

    fn write_text(&self, text: &str) {
        let new = self.directory.path().join(".new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.directory.path().join("users")).unwrap();
    }

    pub fn settings(&self) -> Settings {
        let at = |name: &str| self.directory.path().join(name);
        Settings {
            place: Place::start(Path::new("exeat.yaml")),
            realm: "exeat".to_owned(),
            required: Required::Everyone,
            allow_plaintext: false,
            passwords: Some(PasswordFiles { users: at("users"), groups: Some(at("groups")) }),
            tokens: None,
        }
    }

    async fn gate(&self, policy: &str) -> Gate {
        self.gate_with(policy, self.settings()).await
    }

    async fn gate_with(&self, policy: &str, auth: Settings) -> Gate {
        let mut setup = Setup::new(policy);
        setup.settings.auth = Some(auth);
        setup.start().await
    }
}

/// A profile for alice and one for a group, each with a port of `a.example`.
fn policy(alice: u16, ci: u16) -> String {
    let rule = |port| format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}");
    format!(
        "version: 1\nprofiles:\n  - name: alice\n    clients: [user:alice]\n    allow:\n      - {}\n  - name: ci\n    \
         clients: [group:ci]\n    allow:\n      - {}\n",
        rule(alice),
        rule(ci)
    )
}

fn basic(user: &str, password: &str) -> String {
    format!("Proxy-Authorization: {}\r\n", credentials(user, password))
}

/// What a header says of who somebody is.
pub fn credentials(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn connect(port: u16, credentials: &str) -> String {
    format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: a.example:{port}\r\n{credentials}\r\n")
}

async fn count(gate: &Gate, scheme: &str, result: &str) -> f64 {
    gate.metric(&format!("exeat_auth_total{{result=\"{result}\",scheme=\"{scheme}\"}}")).await.unwrap()
}

#[tokio::test]
async fn a_client_is_asked_who_it_is_and_says_so_on_the_same_connection() {
    let (echo, users) = (Upstream::echo().await, Users::new(&[("alice", "secret")], ""));
    let gate = users.gate(&policy(echo.port(), 1)).await;
    let mut stream = gate.connect().await;
    let asked = ask(&mut stream, connect(echo.port(), "")).await;
    assert_eq!(asked.status, 407, "{asked:?}");
    assert!(
        asked.head.contains("proxy-authenticate: Basic realm=\"exeat\", charset=\"UTF-8\"\r\n"),
        "{asked:?}"
    );
    assert!(!asked.closes(), "{asked:?}");
    assert_eq!(asked.json()["reason"], "auth_required");
    assert!(asked.json()["hint"].as_str().unwrap().contains("`Proxy-Authorization`"), "{asked:?}");
    let wrong = ask(&mut stream, connect(echo.port(), &basic("alice", "Secret"))).await;
    assert_eq!((wrong.status, wrong.closes()), (407, false), "{wrong:?}");
    assert_eq!(wrong.json()["reason"], "auth_failed");
    assert!(wrong.json()["hint"].as_str().unwrap().contains("percent-encoded"), "{wrong:?}");
    stream.write_all(connect(echo.port(), &basic("alice", "secret")).as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    let open: Value = serde_json::from_str(&gate.ask_admin("/flows").await).unwrap();
    assert_eq!(
        (&open["flows"][0]["user"], &open["flows"][0]["profiles"][0]),
        (&"alice".into(), &"alice".into())
    );
    drop(stream);
    let records = gate.records(3).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            (record["reason"].as_str().unwrap(), record["user"].as_str(), record["status"].as_u64())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("auth_required", None, Some(407)),
            ("auth_failed", None, Some(407)),
            ("allowed", Some("alice"), Some(200)),
        ]
    );
    assert_eq!(records[1]["host"], "a.example");
    gate.stop().await;
}

#[tokio::test]
async fn whoever_is_known_is_denied_by_403_and_never_asked_again() {
    let users = Users::new(&[("alice", "a"), ("bob", "b")], "ci: bob\n");
    let echo = Upstream::echo().await;
    let gate = users.gate(&policy(1, echo.port())).await;
    for (credentials, status, reason) in [
        (basic("alice", "a"), "403", "no_rule"),
        (basic("bob", "b"), "200", "allowed"),
        (basic("carol", "c"), "407", "auth_failed"),
        (basic("bob", "a"), "407", "auth_failed"),
        (basic("bob", ""), "407", "auth_failed"),
        ("Proxy-Authorization: Digest username=\"bob\"\r\n".to_owned(), "407", "auth_failed"),
        ("Proxy-Authorization: Bearer a.b.c\r\n".to_owned(), "407", "auth_failed"),
        (basic("bearer", "a.b.c"), "407", "auth_failed"),
        (basic("bob", "b") + &basic("alice", "a"), "407", "auth_failed"),
    ] {
        let mut stream = gate.connect().await;
        stream.write_all(connect(echo.port(), &credentials).as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{credentials} {head}");
        assert_eq!(status == "407", head.contains("proxy-authenticate: "), "{head}");
        drop(stream);
        let seen = gate.records_so_far().len();
        let records = gate.records(seen.max(1)).await;
        until("no record", async || gate.records_so_far().iter().any(|record| record["reason"] == reason))
            .await;
        drop(records);
    }
    gate.stop().await;
}

#[tokio::test]
async fn credentials_are_each_requests_own_and_go_no_further() {
    let page = Upstream::page().await;
    let users = Users::new(&[("alice", "secret"), ("bob", "b")], "");
    let port = page.port();
    let rule = format!("{{ host: a.example, ports: [{port}], protocol: http, private: true }}");
    let policy = format!(
        "version: 1\nprofiles:\n  - name: alice\n    clients: [user:alice]\n    allow:\n      - {rule}\n"
    );
    let gate = users.gate(&policy).await;
    let get = |credentials: &str| {
        format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n{credentials}\r\n")
    };
    let mut stream = gate.connect().await;
    for (credentials, status) in [
        (basic("alice", "secret"), 200),
        (String::new(), 407),
        (basic("bob", "b"), 403),
        (basic("alice", "secret"), 200),
    ] {
        assert_eq!(ask(&mut stream, get(&credentials)).await.status, status, "{credentials}");
    }
    let heard = page.heard_text().to_ascii_lowercase();
    assert!(
        heard.contains("get / http/1.1") && !heard.contains("proxy-") && !heard.contains("basic"),
        "{heard}"
    );
    let users: Vec<_> =
        gate.records(4).await.iter().map(|record| record["user"].as_str().map(str::to_owned)).collect();
    assert_eq!(users, [Some("alice".to_owned()), None, Some("bob".to_owned()), Some("alice".to_owned())]);
    // A POST whose body nobody waits for ends the connection, as with any refusal.
    let post = get("").replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n");
    let refused = ask(&mut gate.connect().await, post).await;
    assert_eq!((refused.status, refused.closes()), (407, true));
    gate.stop().await;
}

#[tokio::test]
async fn a_plain_request_refused_for_its_credentials_says_what_it_was_for() {
    let users = Users::new(&[("alice", "secret")], "");
    let gate = users.gate(&policy(1, 2)).await;
    let mut stream = gate.connect().await;
    let wrong = basic("alice", "wrong");
    let cases = [
        ("http://a.example/pub/x?key=1", "", "auth_required", Some("a.example"), "/pub/x"),
        ("http://a.example:8080", wrong.as_str(), "auth_failed", Some("a.example"), "/"),
        // What can't be read is refused for that only once it is known whose it is.
        ("https://a.example/pub/x", wrong.as_str(), "auth_failed", None, "/pub/x"),
    ];
    for (target, credentials, reason, host, _) in cases {
        let port = if target.contains(":8080") { 8080 } else { 80 };
        let host_header = target.split('/').nth(2).unwrap();
        let get = format!("GET {target} HTTP/1.1\r\nHost: {host_header}\r\n{credentials}\r\n");
        let refused = ask(&mut stream, get).await;
        let told = refused.json();
        assert_eq!((refused.status, told["reason"].as_str()), (407, Some(reason)), "{target}");
        assert_eq!(told["destination"], Value::from(host.map(|host| format!("{host}:{port}"))), "{target}");
    }
    let records = gate.records(cases.len()).await;
    for (record, (target, _, reason, host, path)) in records.iter().zip(cases) {
        let told = ["reason", "host", "method", "path"].map(|key| record[key].as_str());
        assert_eq!(told, [Some(reason), host, Some("GET"), Some(path)], "{target}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn where_they_are_not_required_addresses_decide_and_wrong_ones_are_still_wrong() {
    let users = Users::new(&[("alice", "secret")], "");
    let echo = Upstream::echo().await;
    let rule = |port| format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}");
    let policy = format!(
        "version: 1\nprofiles:\n  - name: alice\n    clients: [user:alice]\n    allow:\n      - {}\n  - name: near\n    \
         clients: [127.0.0.2]\n    allow:\n      - {}\n",
        rule(echo.port()),
        rule(echo.port())
    );
    for required in [Required::Nobody, Required::From(vec!["127.0.0.3/32".parse().unwrap()])] {
        let asks = required != Required::Nobody;
        let gate = users.gate_with(&policy, Settings { required, ..users.settings() }).await;
        for (from, credentials, status) in [
            ("127.0.0.2", String::new(), "200"),
            ("127.0.0.4", String::new(), "403"),
            ("127.0.0.3", String::new(), if asks { "407" } else { "403" }),
            ("127.0.0.3", basic("alice", "secret"), "200"),
            ("127.0.0.2", basic("alice", "wrong"), "407"),
        ] {
            let mut stream = gate.connect_from(from).await;
            stream.write_all(connect(echo.port(), &credentials).as_bytes()).await.unwrap();
            let head = read_head(&mut stream).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{from} {credentials} {head}");
        }
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_user_who_is_removed_is_out_at_once_and_one_who_changes_groups_is_judged_anew() {
    let users = Users::new(&[("alice", "a"), ("bob", "b"), ("carol", "c")], "ci: bob carol\n");
    let (first, second) = (Upstream::echo().await, Upstream::echo().await);
    let gate = users.gate(&policy(first.port(), second.port())).await;
    let open = async |port, credentials: &str| {
        let mut stream = gate.connect().await;
        stream.write_all(connect(port, credentials).as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        (stream, head)
    };
    let (mut alice, _) = open(first.port(), &basic("alice", "a")).await;
    let (mut bob, _) = open(second.port(), &basic("bob", "b")).await;
    let (mut carol, _) = open(second.port(), &basic("carol", "c")).await;
    until("three tunnels", async || {
        gate.metric("exeat_flows_active{ingress=\"connect\"}").await == Some(3.0)
    })
    .await;

    // A file with a mistake changes nothing.
    users.write_text("alice:hunter2\n");
    let failures = "exeat_auth_reloads_total{of=\"users\",result=\"failure\"}";
    until("the bad file was not read", async || gate.metric(failures).await >= Some(1.0)).await;
    assert!(open(first.port(), &basic("alice", "a")).await.1.starts_with("HTTP/1.1 200"));

    std::fs::write(users.directory.path().join("groups"), "ci: carol\n").unwrap();
    users.write(&[("bob", "b"), ("carol", "new")]);
    assert_eq!(alice.read(&mut [0; 1]).await.unwrap_or(0), 0, "a tunnel of a user who is no more");
    assert_eq!(bob.read(&mut [0; 1]).await.unwrap_or(0), 0, "a tunnel that the group was let through for");
    carol.write_all(b"x").await.unwrap();
    carol.read_exact(&mut [0; 1]).await.unwrap();
    until("the old password is still taken", async || {
        open(second.port(), &basic("carol", "c")).await.1.starts_with("HTTP/1.1 407")
    })
    .await;
    assert!(open(second.port(), &basic("carol", "new")).await.1.starts_with("HTTP/1.1 200"));
    assert!(open(first.port(), &basic("alice", "a")).await.1.starts_with("HTTP/1.1 407"));
    until("nobody was revoked", async || {
        let records = gate.records_so_far();
        ["alice", "bob"]
            .iter()
            .all(|user| records.iter().any(|record| record["reason"] == "revoked" && record["user"] == *user))
    })
    .await;
    gate.stop().await;
}

#[tokio::test]
async fn what_is_idle_of_a_user_who_is_removed_ends_too() {
    let users = Users::new(&[("alice", "a"), ("bob", "b")], "");
    let (page, inside) = (Upstream::page().await, Upstream::page().await);
    let rule = |port| format!("{{ host: a.example, ports: [{port}], protocol: http, private: true }}");
    let gate = users
        .gate(&format!(
            "version: 1\nprofiles:\n  - name: all\n    allow: [{}, {}]\n",
            rule(page.port()),
            rule(inside.port())
        ))
        .await;
    let forward = |credentials: &str| {
        let port = page.port();
        format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n{credentials}\r\n")
    };
    let (alice, bob) = (basic("alice", "a"), basic("bob", "b"));
    assert_eq!(ask(&mut gate.connect().await, forward(&bob)).await.status, 200);
    let mut plain = gate.connect().await;
    assert_eq!(ask(&mut plain, forward(&alice)).await.status, 200);
    let mut tunnel = gate.connect().await;
    assert_eq!(ask(&mut tunnel, connect(inside.port(), &alice)).await.status, 200);
    let request = format!("GET / HTTP/1.1\r\nHost: a.example:{}\r\n\r\n", inside.port());
    assert_eq!(ask(&mut tunnel, &request).await.status, 200);
    // Nothing is open of hers; two connections to upstreams wait for her next requests, and one for bob's.
    gate.records(3).await;
    let file = std::fs::read_to_string(users.directory.path().join("users")).unwrap();
    users.write_text(&file.lines().filter(|line| !line.starts_with("alice:")).collect::<Vec<_>>().join("\n"));
    page.ended(1).await;
    assert_eq!(ask(&mut plain, forward(&alice)).await.status, 407);
    let refusal = ask(&mut tunnel, &request).await;
    assert_eq!((refusal.status, refusal.closes()), (403, true), "{refusal:?}");
    inside.ended(1).await;
    assert_eq!(ask(&mut gate.connect().await, forward(&bob)).await.status, 200);
    assert_eq!((page.connections(), inside.connections()), (2, 1), "bob's was kept");
    gate.stop().await;
}

#[tokio::test]
async fn ten_thousand_users_are_one_file_and_a_credential_is_proved_once() {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let mut text = String::new();
    for number in 0..10_000 {
        writeln!(text, "user{number}:{hash}").unwrap();
    }
    let (echo, users) = (Upstream::echo().await, Users::new(&[], "ci: user9999\n"));
    users.write_text(&text);
    let gate = users.gate(&policy(1, echo.port())).await;
    // Many at once are one proof too: whoever waited finds it.
    let open = async || {
        let mut stream = gate.connect().await;
        stream.write_all(connect(echo.port(), &basic("user9999", "secret")).as_bytes()).await.unwrap();
        read_head(&mut stream).await
    };
    let heads = futures_util::future::join_all((0..20).map(|_| open())).await;
    assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200")), "{heads:?}");
    assert_eq!((count(&gate, "basic", "proved").await, count(&gate, "basic", "known").await), (1.0, 19.0));
    gate.stop().await;
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_holds_up_nobody_else() {
    let users = Users::new(&[("alice", "secret"), ("bob", "b")], "");
    let echo = Upstream::echo().await;
    let gate = users.gate(&policy(echo.port(), 1)).await;
    let try_from = async |from: &'static str, user: &str, password: &str| {
        let mut stream = gate.connect_from(from).await;
        stream.write_all(connect(echo.port(), &basic(user, password)).as_bytes()).await.unwrap();
        read_head(&mut stream).await
    };
    // Bob has been here before; then somebody at his address guesses.
    assert!(try_from("127.0.0.9", "bob", "b").await.starts_with("HTTP/1.1 403"));
    let mut flood = Vec::new();
    for number in 0..200 {
        let mut stream = gate.connect_from("127.0.0.9").await;
        let guess = basic("root", &number.to_string());
        stream.write_all(connect(echo.port(), &guess).as_bytes()).await.unwrap();
        flood.push(stream);
    }
    until("nobody was slowed", async || count(&gate, "basic", "limited").await > 0.0).await;
    let is_limited = |record: &Value| record["reason"] == "limit_client";
    until("nobody's record says so", async || gate.records_so_far().iter().any(is_limited)).await;
    let limited = gate.records_so_far().into_iter().find(is_limited).unwrap();
    let why = "too many credentials from this client's address wait to be checked, or were wrong";
    assert_eq!((&limited["error"], &limited["status"]), (&why.into(), &429.into()));
    assert!(try_from("127.0.0.8", "alice", "secret").await.starts_with("HTTP/1.1 200"), "another address");
    assert!(try_from("127.0.0.9", "bob", "b").await.starts_with("HTTP/1.1 403"), "known credentials");
    assert!(
        try_from("127.0.0.9", "bob", "typo").await.starts_with("HTTP/1.1 407"),
        "a user who was right before"
    );
    let failed = count(&gate, "basic", "failed").await;
    assert!(failed < 60.0, "{failed} guesses were looked at");
    drop(flood);
    gate.stop().await;
}

#[tokio::test]
async fn credentials_in_plain_text_over_a_network_are_refused_at_the_start() {
    let users = Users::new(&[("alice", "hunter2")], "");
    users.write_text("alice:hunter2\nbob:{SHA}x\n");
    let mut setup = Setup::allow(&["a.example"]);
    setup.settings.listen.explicit = vec!["127.0.0.1:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()];
    setup.settings.auth = Some(users.settings());
    let Err(StartError::Users(mistakes)) = Server::new(&setup.settings, Sources::default()) else {
        panic!("it started");
    };
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].starts_with("exeat.yaml:1:1: error: `auth` lets credentials come to 0.0.0.0:0"),
        "{told:?}"
    );
    assert!(told[0].contains("allow_plaintext_auth: true"), "{told:?}");
    assert!(
        told[1].contains("users:1:7: error: the password of \"alice\"") && !told[1].contains("hunter2"),
        "{told:?}"
    );
    users.write(&[("alice", "a")]);
    // TLS on one listener says nothing of another.
    let (ground, open) = (Ground::new(), setup.settings.listen.explicit[1].clone());
    let mut start = |explicit| {
        setup.settings.listen.explicit = explicit;
        Server::new(&setup.settings, Sources::default()).map(drop)
    };
    let shut = Listener { tls: Some(ground.files()), ..open.clone() };
    assert!(start(vec![shut.clone()]).is_ok());
    assert!(matches!(start(vec![shut, open.clone()]), Err(StartError::Users(_))));
    setup.settings.listen.explicit = vec![open];
    setup.settings.auth = Some(Settings { allow_plaintext: true, ..users.settings() });
    assert!(Server::new(&setup.settings, Sources::default()).is_ok());
}

#[tokio::test]
async fn no_output_tells_a_password() {
    let page = Upstream::page().await;
    let port = page.port();
    let policy = format!(
        "version: 1\nprofiles:\n  - name: alice\n    clients: [user:alice]\n    allow:\n      - {{ host: a.example, \
         ports: [{port}], protocol: http, private: true }}\n"
    );
    let mut files = Files::new("auth: { basic: { file: users } }\n", &policy);
    let hash = bcrypt::hash("correct-horse", 4).unwrap();
    std::fs::write(files.directory.path().join("users"), format!("alice:{hash}\n")).unwrap();
    files.log = "trace";
    let mut exeat = Binary::start(files, None).await;
    let mut stream = exeat.connect().await;
    for (password, status) in [("correct-horse", 200), ("battery-staple", 407)] {
        let credentials = basic("alice", password);
        let get =
            format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n{credentials}\r\n");
        assert_eq!(ask(&mut stream, get).await.status, status);
    }
    let mut said = exeat.records(2).await.iter().map(ToString::to_string).collect::<String>();
    for path in ["/metrics", "/flows", "/policy"] {
        said += &exeat.ask_admin(path).await;
    }
    exeat.signal(rustix::process::Signal::HUP);
    drop(stream);
    exeat.signal(rustix::process::Signal::TERM);
    assert_eq!(exeat.exit_code().await, Some(0));
    said += &exeat.log();
    said += &page.heard_text();
    assert!(said.contains("alice") && said.contains("INFO"), "{said}");
    for secret in
        ["correct-horse", "battery-staple", &hash, &STANDARD.encode("alice:correct-horse"), "YWxpY2U6"]
    {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}
