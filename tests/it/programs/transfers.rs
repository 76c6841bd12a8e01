//! curl and wget: down, up, much, and not at all.

use std::fs;
use std::process::{Command, Stdio};

use tokio::task::spawn_blocking;

use crate::programs::origin::{Authority, BIG, Big, Origin};
use crate::programs::stage::{Stage, noise};

#[tokio::test]
async fn curl_tunnels_by_http_1_1_and_1_0() {
    let (stage, origin) = Stage::with_tls().await;
    fs::write(origin.file("page"), "hello").unwrap();
    let url = origin.url("https", "a.example", "page");
    for option in ["--proxy", "--proxy1.0"] {
        let page = stage.run("curl", &["-sS", option, &stage.gate.address.to_string(), &url]).await;
        assert_eq!(page.good(), "hello", "{option}");
    }
    for record in stage.gate.records(2).await {
        // The reason may be client_reset: curl leaves without reading the server's last words (close_notify).
        assert_eq!((&record["verdict"], &record["server_name"]), (&"allow".into(), &"a.example".into()));
    }
    stage.gate.stop().await;
}

#[tokio::test]
async fn curl_asks_in_plain_http_and_keeps_its_connection() {
    let (stage, origin) = Stage::with_plain().await;
    fs::write(origin.file("page"), "hello").unwrap();
    let url = origin.url("http", "a.example", "page");
    let twice = stage.run("curl", &["-sS", "-w", " %{num_connects} ", &url, &url]).await;
    assert_eq!(twice.good(), "hello 1 hello 0");
    let old = stage.run("curl", &["-sS", "--http1.0", &url]).await;
    assert_eq!(old.good(), "hello");
    let tunnelled = stage.run("curl", &["-sS", "--proxytunnel", &url]).await;
    assert_eq!(tunnelled.good(), "hello");
    let ingresses: Vec<_> =
        stage.gate.records(4).await.iter().map(|record| record["ingress"].clone()).collect();
    assert_eq!(ingresses, ["forward", "forward", "forward", "connect"]);
    stage.gate.stop().await;
}

#[tokio::test]
async fn curl_learns_why_it_may_not() {
    let (stage, origin) = Stage::with_plain().await;
    let url = format!("https://c.example:{}/", origin.port + 1);
    let code = stage.run("curl", &["-sS", "-w", "%{http_connect}", &url]).await;
    assert!(!code.ok);
    assert_eq!(code.out, "403");
    let url = format!("http://c.example:{}/", origin.port + 1);
    let body = stage.run("curl", &["-sS", "-w", "%{http_code}", &url]).await.good();
    assert!(body.ends_with("403") && body.contains(r#""reason":"no_rule""#), "{body}");
    let text = stage.run("curl", &["-sS", "-H", "Accept: text/plain", &url]).await.good();
    assert!(text.starts_with("exeat: no_rule") && text.contains("\nhint: "), "{text}");
    stage.gate.stop().await;
}

#[tokio::test]
async fn curl_uploads_with_and_without_a_length() {
    let authority = Authority::new();
    let (tls, plain) = (Origin::tls(&authority).await, Origin::plain().await);
    let stage = Stage::set(Some(&tls), Some(&plain), authority).await;
    let bytes = noise(8 << 20);
    let file = stage.write("upload", &bytes);
    for (scheme, origin) in [("https", &tls), ("http", &plain)] {
        let url = origin.url(scheme, "a.example", "kept");
        for chunked in [false, true] {
            let mut args = vec!["-sS", "-w", "%{http_code}", "-T", file.to_str().unwrap(), &url];
            if chunked {
                args.extend(["-H", "Transfer-Encoding: chunked"]);
            }
            assert_eq!(stage.run("curl", &args).await.good(), "201", "{scheme}, chunked: {chunked}");
            assert!(fs::read(origin.file("kept")).unwrap() == bytes, "{scheme}, chunked: {chunked}");
            fs::remove_file(origin.file("kept")).unwrap();
        }
    }
    stage.gate.stop().await;
}

#[tokio::test]
async fn a_download_of_1_gb_arrives_whole() {
    let authority = Authority::new();
    let (tls, plain) = (Origin::tls(&authority).await, Origin::plain().await);
    let stage = Stage::set(Some(&tls), Some(&plain), authority).await;
    let expected = spawn_blocking(|| {
        let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = sum.stdin.take().unwrap();
        Big::new().for_each(|piece| std::io::Write::write_all(&mut stdin, &piece).unwrap());
        drop(stdin);
        String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()
    });
    let expected = expected.await.unwrap().trim().to_owned();
    for url in [tls.url("https", "a.example", "big"), plain.url("http", "a.example", "big")] {
        let script = "set -o pipefail; curl -sS \"$0\" | sha256sum";
        assert_eq!(stage.run("bash", &["-c", script, &url]).await.good(), expected, "{url}");
    }
    for record in stage.gate.records(2).await {
        let received = record["received"].as_u64().unwrap();
        // A tunnel also carries TLS's own bytes, about one in a thousand.
        assert!((BIG..BIG + BIG / 100).contains(&received), "{record}");
    }
    stage.gate.stop().await;
}

#[tokio::test]
async fn wget_downloads_both_ways() {
    let authority = Authority::new();
    let (tls, plain) = (Origin::tls(&authority).await, Origin::plain().await);
    let stage = Stage::set(Some(&tls), Some(&plain), authority).await;
    for (scheme, origin) in [("https", &tls), ("http", &plain)] {
        fs::write(origin.file("page"), scheme).unwrap();
        let ca = format!("--ca-certificate={}", stage.ca());
        let page = stage.run("wget", &["-q", "-O-", &ca, &origin.url(scheme, "b.example", "page")]).await;
        assert_eq!(page.good(), scheme);
    }
    stage.gate.stop().await;
}
