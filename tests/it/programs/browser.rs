//! A browser, told by a PAC file to speak TLS to the proxy.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use crate::https::{Ground, listener};
use crate::programs::origin::{Authority, Origin};
use crate::programs::stage::{Outcome, Stage, run};
use crate::support::Setup;

/// By what Chromium knows a certificate that it is to take: the hash of its key.
fn key_hash(certificate: &Path) -> String {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let (_, parsed) = parse_x509_certificate(&certificate).unwrap();
    STANDARD.encode(digest(&SHA256, parsed.public_key().raw))
}

/// What is on a page once its scripts have run.
async fn load(stage: &Stage, pac: &str, keys: &str, url: &str) -> Outcome {
    let mut chromium = stage.command("chromium");
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY"] {
        chromium.env_remove(name);
    }
    // A profile for each, so that nothing is known from before.
    let profile = tempfile::tempdir().unwrap();
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--proxy-pac-url={pac}"))
        .arg(format!("--ignore-certificate-errors-spki-list={keys}"))
        .args(["--virtual-time-budget=10000", "--dump-dom", url]);
    run(chromium).await
}

#[tokio::test]
async fn chromium_goes_where_a_pac_file_sends_it_through_an_https_proxy() {
    let (ground, authority) = (Ground::new(), Authority::new());
    let (web, pac) = (Origin::tls(&authority).await, Origin::plain().await);
    let keys = [ground.path().join("tls.crt"), authority.file("leaf.pem")].map(|path| key_hash(&path));
    let denied = web.url("https", "b.example", "page.html");
    let script = format!(
        "fetch('{denied}').then(() => 'reached', () => 'refused').then(what => {{ document.title = what }})"
    );
    fs::write(web.file("page.html"), format!("<title>?</title><p>hello</p><script>{script}</script>"))
        .unwrap();
    let mut setup = Setup::allow(&[&format!(
        "{{ host: a.example, ports: [{}], protocol: tls, private: true, ech: outer }}",
        web.port
    )]);
    setup.settings.listen.explicit = vec![listener(ground.files())];
    let stage = Stage { gate: setup.start().await, authority, home: tempfile::tempdir().unwrap() };
    fs::write(
        pac.file("proxy.pac"),
        format!("function FindProxyForURL(url, host) {{ return 'HTTPS {}'; }}", stage.gate.address),
    )
    .unwrap();
    let (pac, keys) = (pac.url("http", "127.0.0.1", "proxy.pac"), keys.join(","));

    let page = load(&stage, &pac, &keys, &web.url("https", "a.example", "page.html")).await.good();
    assert!(page.contains("<p>hello</p>") && page.contains("<title>refused</title>"), "{page}");
    let page = load(&stage, &pac, &keys, &denied).await;
    assert!(page.out.is_empty() && page.error.contains("net::ERR_TUNNEL_CONNECTION_FAILED"), "{page:#?}");

    let records = stage.gate.records_so_far();
    let (mut allowed, mut denied) = (Vec::new(), Vec::new());
    for record in &records {
        let port = record["client_port"].as_u64().unwrap();
        match (record["host"].as_str(), record["verdict"].as_str()) {
            (Some("a.example"), Some("allow")) => allowed.push(port),
            // What the page and then its reader asked for.
            (Some("b.example"), Some("deny")) => denied.push(port),
            // What browsers ask for of their own accord, and may think better of.
            _ => assert!(record["reason"] == "no_rule" || record["reason"] == "client_reset", "{record}"),
        }
    }
    assert!(!allowed.is_empty() && denied.len() >= 2, "{records:#?}");
    assert!(denied.iter().any(|port| allowed.contains(port)), "not over HTTP/2: {records:#?}");
    stage.gate.stop().await;
}
