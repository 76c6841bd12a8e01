//! Clients that show who they are by a certificate.

use std::fs;
use std::net::Ipv4Addr;

use exeat::tls::{Clients, Files, NameFrom};
use rcgen::SanType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::https::{Ground, listener, resumes, tcp};
use crate::passwords::{Users, credentials};
use crate::support::authority::{Authority, Pair, Wanted, shake, uri};
use crate::support::upstream::Upstream;
use crate::support::{Gate, PATIENCE, Setup, until};

const DENIED: &str = "CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n";

/// Files that ask clients for a certificate.
fn files(ground: &Ground, required: bool, lists: &[&str]) -> Files {
    let crl = lists.iter().map(|name| ground.path().join(name)).collect();
    let ca = ground.path().join("ca.pem");
    let clients = Clients { ca, required, crl, name_from: Some(NameFrom::Uri) };
    Files { clients: Some(clients), ..ground.files() }
}

async fn start(ground: &Ground, required: bool, lists: &[&str]) -> Gate {
    let mut setup = Setup::allow(&["a.example"]);
    setup.settings.listen.explicit = vec![listener(files(ground, required, lists))];
    setup.start().await
}

async fn ask(gate: &Gate, ground: &Ground, own: Option<&Pair>) -> Result<String, String> {
    say(gate, ground, own, DENIED).await
}

/// The answer to a request, or how the handshake failed: in TLS 1.3 a client learns of it when it reads.
async fn say(gate: &Gate, ground: &Ground, own: Option<&Pair>, request: &str) -> Result<String, String> {
    let connector = ground.authority.connector(own, &[]);
    let mut stream: TlsStream<TcpStream> =
        shake(&connector, gate.connect().await).await.map_err(|error| error.to_string())?;
    let mut answer = vec![0; 12];
    let asked = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    timeout(PATIENCE, asked).await.unwrap().map_err(|error| error.to_string())?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn a_good_certificate_comes_in_and_a_bad_one_gets_an_alert_and_one_record() {
    let ground = Ground::new();
    fs::write(ground.path().join("list.pem"), ground.authority.revoking(&[66], 2090)).unwrap();
    let gate = start(&ground, true, &["list.pem"]).await;
    let names = [uri("spiffe://corp/ci/7"), SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    let good = ground.authority.client(&names, 7);
    assert_eq!(ask(&gate, &ground, Some(&good)).await.as_deref(), Ok("HTTP/1.1 403"));
    let record = &gate.records(1).await[0];
    assert_eq!((&record["reason"], &record["user"]), (&"no_rule".into(), &"spiffe://corp/ci/7".into()));

    let client = |serial| Wanted::client(&[uri("spiffe://corp/ci/7")], serial);
    let cases = [
        (None, "CertificateRequired", "auth_required", "the client has no certificate"),
        (
            Some(Authority::new("somebody").client(&names, 8)),
            "UnknownCA",
            "auth_failed",
            "the client's certificate is signed by nobody in `client_ca`",
        ),
        (
            Some(ground.authority.sign(client(9).between(2020, 2021))),
            "CertificateExpired",
            "auth_failed",
            "the client's certificate has expired",
        ),
        (
            Some(ground.authority.sign(client(10).between(2090, 2091))),
            "CertificateExpired",
            "auth_failed",
            "the client's certificate is not valid yet",
        ),
        (
            Some(ground.authority.client(&names, 66)),
            "CertificateRevoked",
            "auth_failed",
            "the client's certificate was revoked",
        ),
        (Some(ground.authority.server()), "", "auth_failed", "the client's certificate is not for clients"),
    ];
    for (index, (own, alert, reason, error)) in cases.iter().enumerate() {
        let failed = ask(&gate, &ground, own.as_ref()).await.unwrap_err();
        assert!(failed.contains(alert), "{error}: {failed}");
        let record = &gate.records(index + 2).await[index + 1];
        assert_eq!((&record["reason"], &record["error"]), (&(*reason).into(), &(*error).into()));
        assert_eq!((&record["verdict"], &record["host"]), (&"deny".into(), &serde_json::Value::Null));
    }
    gate.stop_and_count(cases.len() + 1).await;
}

#[tokio::test]
async fn curl_shows_its_certificate() {
    let ground = Ground::new();
    let gate = start(&ground, true, &[]).await;
    let own = ground.authority.client(&[uri("spiffe://corp/ci/7")], 7);
    fs::write(ground.path().join("own.crt"), &own.certificate).unwrap();
    fs::write(ground.path().join("own.key"), &own.key).unwrap();
    let curl = |arguments: &'static [&'static str]| {
        let mut curl = tokio::process::Command::new("curl");
        curl.env_clear().current_dir(ground.path()).args([
            "-sS",
            "--max-time",
            "20",
            "-H",
            "Accept: text/plain",
        ]);
        curl.args(["-x", &format!("https://{}", gate.address), "--proxy-cacert", "ca.pem"]).args(arguments);
        async move { curl.arg("http://x.example/").output().await.unwrap() }
    };
    let output = curl(&["--proxy-cert", "own.crt", "--proxy-key", "own.key"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("exeat: no_rule: "), "{output:?}");
    let output = curl(&[]).await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let reasons: Vec<_> = gate.records(2).await.iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["no_rule", "auth_required"]);
}

#[tokio::test]
async fn a_policy_is_for_names_of_certificates_and_a_certificate_is_proof_enough() {
    let (echo, ground, users) =
        (Upstream::echo().await, Ground::new(), Users::new(&[("alice", "secret")], ""));
    let mut setup = Setup::new(&format!(
        "version: 1\nprofiles: [{{ name: ci, clients: [\"cert:spiffe://corp/ci/*\"], allow: [{}] }}]\n",
        tcp(echo.port())
    ));
    setup.settings.listen.explicit = vec![listener(files(&ground, false, &[]))];
    setup.settings.auth = Some(users.settings());
    let gate = setup.start().await;
    let request = |credentials: &str| {
        format!("CONNECT a.example:{0} HTTP/1.1\r\nHost: a.example:{0}\r\n{credentials}\r\n", echo.port())
    };
    let alice = format!("Proxy-Authorization: {}\r\n", credentials("alice", "secret"));
    let wrong = format!("Proxy-Authorization: {}\r\n", credentials("alice", "guess"));
    let own = |name| ground.authority.client(&[uri(name)], 7);
    let (ci, dev) = (own("spiffe://corp/ci/7"), own("spiffe://corp/dev/7"));
    for (own, credentials, status) in [
        (Some(&ci), "", "200"),
        (Some(&dev), "", "403"),
        (None, "", "407"),
        (None, &alice, "403"),
        (Some(&ci), &alice, "200"),
        (Some(&ci), &wrong, "407"),
    ] {
        let answer = say(&gate, &ground, own, &request(credentials)).await;
        assert_eq!(answer.as_deref(), Ok(&*format!("HTTP/1.1 {status}")), "{credentials}");
    }
    let told: Vec<_> = gate.records(6).await.iter().map(|record| record["user"].clone()).collect();
    for name in ["spiffe://corp/ci/7", "spiffe://corp/dev/7", "alice"] {
        assert!(told.contains(&name.into()), "{name}: {told:?}");
    }
}

#[tokio::test]
async fn where_it_is_optional_none_comes_in_and_a_bad_one_does_not() {
    let ground = Ground::new();
    let gate = start(&ground, false, &[]).await;
    assert_eq!(ask(&gate, &ground, None).await.as_deref(), Ok("HTTP/1.1 403"));
    let own = ground.authority.client(&[uri("spiffe://corp/ci/7")], 7);
    assert_eq!(ask(&gate, &ground, Some(&own)).await.as_deref(), Ok("HTTP/1.1 403"));
    let foreign = Authority::new("somebody").client(&[uri("spiffe://corp/ci/7")], 7);
    assert!(ask(&gate, &ground, Some(&foreign)).await.unwrap_err().contains("UnknownCA"));
}

#[tokio::test]
async fn revocation_lists_and_authorities_change_without_a_restart() {
    let ground = Ground::new();
    let list = ground.path().join("list.pem");
    fs::write(&list, ground.authority.revoking(&[], 2090)).unwrap();
    let gate = start(&ground, true, &["list.pem"]).await;
    let own = ground.authority.client(&[uri("spiffe://corp/ci/7")], 7);
    assert_eq!(ask(&gate, &ground, Some(&own)).await.as_deref(), Ok("HTTP/1.1 403"));
    fs::write(&list, ground.authority.revoking(&[7], 2090)).unwrap();
    until("it is not revoked", async || ask(&gate, &ground, Some(&own)).await.is_err()).await;

    // A list that is out of date is no list: the one before stays in force.
    let failures = "exeat_tls_reloads_total{result=\"failure\"}";
    fs::write(&list, ground.authority.revoking(&[], 2025)).unwrap();
    until("the failure is not counted", async || gate.metric(failures).await >= Some(1.0)).await;
    assert!(ask(&gate, &ground, Some(&own)).await.unwrap_err().contains("CertificateRevoked"));

    // Another authority signs from now on.
    let other = Authority::new("others");
    fs::write(&list, other.revoking(&[], 2090)).unwrap();
    fs::write(ground.path().join("ca.pem"), &other.pem).unwrap();
    let theirs = other.client(&[uri("spiffe://corp/ci/8")], 8);
    until("the new authority is not in force", async || ask(&gate, &ground, Some(&theirs)).await.is_ok())
        .await;
    assert!(ask(&gate, &ground, Some(&own)).await.unwrap_err().contains("UnknownCA"));
}

#[tokio::test]
async fn who_may_show_a_certificate_resumes_nothing() {
    let ground = Ground::new();
    let gate = start(&ground, false, &[]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = ground.path().join(format!("session{version}"));
        assert!(!resumes(&gate, version, &session, true).await, "{version}");
        // TLS 1.3 has no session to keep without a ticket.
        if session.exists() {
            assert!(!resumes(&gate, version, &session, false).await, "{version}");
        }
    }
}
