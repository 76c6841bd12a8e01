//! Programs that say who they are to a proxy that wants to know.

use std::fs;

use exeat::auth::{KeySource, PasswordFiles, Settings};
use tempfile::TempDir;

use crate::programs::origin::{Authority, Origin};
use crate::programs::stage::{Stage, run};
use crate::support::Setup;
use crate::support::signer::{Signer, jwks, settings};

/// A stage whose gate knows alice, by `secret` or by a token.
async fn stage(
    tls: Option<&Origin>,
    plain: Option<&Origin>,
    authority: Authority,
) -> (Stage, Signer, TempDir) {
    let (signer, directory) = (Signer::new("k1"), tempfile::tempdir().unwrap());
    let at = |name: &str| directory.path().join(name);
    fs::write(at("users"), format!("alice:{}\n", bcrypt::hash("se/cr:et@", 4).unwrap())).unwrap();
    fs::write(at("jwks.json"), jwks(&[&signer])).unwrap();
    let mut rules = String::new();
    for (protocol, origin) in [("tls", tls), ("http", plain)] {
        if let Some(Origin { port, .. }) = origin {
            rules += &format!(
                "      - {{ host: .example, ports: [{port}], protocol: {protocol}, private: true, public_suffix: true }}\n"
            );
        }
    }
    let mut setup = Setup::new(&format!(
        "version: 1\nprofiles:\n  - name: alice\n    clients: [user:alice]\n    allow:\n{rules}"
    ));
    let keys = KeySource::File(at("jwks.json"));
    let passwords = Some(PasswordFiles { users: at("users"), groups: None });
    setup.settings.auth = Some(Settings { passwords, ..settings(keys) });
    let home = tempfile::tempdir().unwrap();
    (Stage { gate: setup.start().await, authority, home }, signer, directory)
}

/// The proxy's URL with credentials in it, as programs take it from their environment.
fn with_credentials(stage: &Stage, credentials: &str) -> String {
    format!("http://{credentials}@{}", stage.gate.address)
}

#[tokio::test]
async fn curl_says_who_it_is_in_each_of_its_ways() {
    let authority = Authority::new();
    let (tls, plain) = (Origin::tls(&authority).await, Origin::plain().await);
    fs::write(tls.file("page"), "hello").unwrap();
    fs::write(plain.file("page"), "hello").unwrap();
    let (stage, signer, _files) = stage(Some(&tls), Some(&plain), authority).await;
    let urls = [tls.url("https", "a.example", "page"), plain.url("http", "a.example", "page")];
    let bearer = format!("Proxy-Authorization: Bearer {}", signer.token("alice", &[], 600));
    let as_password = format!("bearer:{}", signer.token("alice", &[], 600));
    for url in &urls {
        for args in [
            &["--proxy-user", "alice:se/cr:et@"][..],
            &["--proxy-anyauth", "--proxy-user", "alice:se/cr:et@"],
            &["--proxy-user", &as_password],
            &["--proxy-header", &bearer],
        ] {
            let args = [args, &["-sS", "-f", url]].concat();
            assert_eq!(stage.run("curl", &args).await.good(), "hello", "{args:?}");
        }
        let code = ["-s", "-o", "/dev/null", "-w", "%{http_code} %{http_connect}"];
        for (args, user) in [(&["--proxy-user", "alice:wrong"][..], "wrong"), (&[], "none")] {
            let outcome = stage.run("curl", &[&code[..], args, &[url]].concat()).await;
            assert!(outcome.out.contains("407"), "{user} {url} {outcome:?}");
        }
    }
    // curl finds out on one connection what is asked of it.
    let verbose = ["-sSv", "--proxy-anyauth", "--proxy-user", "alice:se/cr:et@", &urls[0]];
    let outcome = stage.run("curl", &verbose).await;
    let connections = outcome.error.matches("Trying ").count();
    assert!(outcome.error.contains("407") && connections == 1, "{outcome:?}");
    stage.gate.stop().await;
}

#[tokio::test]
async fn git_pip_and_requests_say_who_they_are_by_the_proxys_url() {
    let authority = Authority::new();
    let tls = Origin::tls(&authority).await;
    let (stage, signer, _files) = stage(Some(&tls), None, authority).await;
    let repository = tls.file("git/project.git");
    let repository = repository.to_str().unwrap();
    stage.run("git", &["init", "-q", "--bare", "-b", "main", repository]).await.good();
    fs::create_dir_all(tls.file("simple/tiny")).unwrap();
    fs::write(tls.file("simple/tiny/index.html"), "<!DOCTYPE html>").unwrap();
    let token = format!("bearer:{}", signer.token("alice", &[], 600));
    let script = "
from pip._vendor import requests
import sys
print(requests.get(sys.argv[1], timeout=30).status_code)
";
    let index = tls.url("https", "a.example", "simple/");
    for (number, credentials) in ["alice:se%2Fcr%3Aet%40", &token].into_iter().enumerate() {
        let proxy = with_credentials(&stage, credentials);
        let command = |program: &str, args: &[&str]| {
            let mut command = stage.command(program);
            for name in ["http_proxy", "https_proxy", "HTTPS_PROXY"] {
                command.env(name, &proxy);
            }
            command.env("REQUESTS_CA_BUNDLE", stage.ca()).args(args);
            command
        };
        let clone = format!("clone{number}");
        let url = tls.url("https", "a.example", "git/project.git");
        run(command("git", &["clone", "-q", &url, &clone])).await.good();
        let page = format!("{index}tiny/");
        assert_eq!(run(command("/usr/bin/python3", &["-c", script, &page])).await.good(), "200");
        // There is nothing to download, but the index was read.
        let pip = [
            "-m",
            "pip",
            "download",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--index-url",
            &index,
            "tiny",
        ];
        let outcome = run(command("/usr/bin/python3", &pip)).await;
        assert!(outcome.error.contains("from versions: none"), "{outcome:?}");
    }
    let records = stage.gate.records(6).await;
    // git asks first what is wanted of it.
    let mut allowed = records.iter().filter(|record| record["reason"] == "allowed");
    assert!(allowed.all(|record| record["user"] == "alice"), "{records:#?}");
    stage.gate.stop().await;
}
