//! Clients that have a way of their own: openssl, Python, WebSockets; and Prometheus, which reads what came of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::programs::origin::{Authority, Origin};
use crate::programs::stage::Stage;
use crate::support::Gate;

#[tokio::test]
async fn openssl_connects_through_a_proxy_without_a_host_header() {
    let (stage, origin) = Stage::with_tls().await;
    fs::write(origin.file("page"), "hello").unwrap();
    let (proxy, to, ca) = (stage.gate.address.to_string(), format!("a.example:{}", origin.port), stage.ca());
    let script = "printf 'GET /page HTTP/1.0\\r\\nHost: a.example\\r\\n\\r\\n' | openssl s_client -quiet \
                  -verify_return_error -proxy \"$0\" -connect \"$1\" -servername a.example -CAfile \"$2\"";
    let answer = stage.run("bash", &["-c", script, &proxy, &to, &ca]).await;
    assert!(answer.out.starts_with("HTTP/1.0 200 OK") && answer.out.ends_with("hello"), "{answer:#?}");

    // The name inside must be the name outside.
    let script = script.replace("servername a.example", "servername b.example");
    let refused = stage.run("bash", &["-c", &script, &proxy, &to, &ca]).await;
    assert!(!refused.ok && refused.error.contains("access denied"), "{refused:#?}");
    assert_eq!(stage.gate.records(2).await[1]["reason"], "server_name_mismatch");
    stage.gate.stop().await;
}

#[tokio::test]
async fn pythons_urllib_takes_the_proxy_from_the_environment() {
    let authority = Authority::new();
    let (tls, plain) = (Origin::tls(&authority).await, Origin::plain().await);
    let stage = Stage::set(Some(&tls), Some(&plain), authority).await;
    let script = "
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1]).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.headers['X-Proxy-Error'])
except urllib.error.URLError as error:
    print(error.reason)
";
    for (scheme, origin) in [("https", &tls), ("http", &plain)] {
        fs::write(origin.file("page"), scheme).unwrap();
        let page = stage.python(script, &[origin.url(scheme, "a.example", "page")]).await;
        assert_eq!(page.good(), scheme);
    }
    let denied = stage.python(script, &["https://denied.example/"]).await;
    assert_eq!(denied.good(), "Tunnel connection failed: 403 Forbidden");
    let denied = stage.python(script, &["http://denied.example/"]).await;
    assert_eq!(denied.good(), "403 blocked-by-allowlist");
    stage.gate.stop().await;
}

#[tokio::test]
async fn websockets_open_in_http_and_in_tls() {
    let authority = Authority::new();
    let server = |tls: bool| {
        let script = "
import asyncio, ssl, sys, websockets
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*sys.argv[1:])
    async with websockets.serve(echo, '127.0.0.1', 0, ssl=tls) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
";
        // Not bounded by timeout(1), which would leave it behind when it is killed itself.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script]);
        if tls {
            command.args([authority.file("leaf.pem"), authority.file("leaf.key")]);
        }
        Ended(command.stdout(Stdio::piped()).spawn().unwrap())
    };
    let (mut plain, mut tls) = (server(false), server(true));
    let (plain_port, tls_port) = (plain.first_line(), tls.first_line());
    let rule = |port: &str| format!("{{ host: a.example, ports: [{port}], private: true }}");
    let gate = Gate::allowing(&[&rule(&plain_port), &rule(&tls_port)]).await;
    let stage = Stage { gate, authority, home: tempfile::tempdir().unwrap() };
    let script = "
import sys, websocket
url, host, port, ca = sys.argv[1:]
socket = websocket.create_connection(
    url, http_proxy_host=host, http_proxy_port=port, proxy_type='http', sslopt={'ca_certs': ca})
for message in ('hello', 'x' * 100000):
    socket.send(message)
    assert socket.recv() == message
socket.close()
print('closed in order')
";
    let (host, port) = (stage.gate.address.ip().to_string(), stage.gate.address.port().to_string());
    for url in [format!("ws://a.example:{plain_port}/chat"), format!("wss://a.example:{tls_port}/chat")] {
        let talk = stage.python(script, &[&url, &host, &port, &stage.ca()]).await;
        assert_eq!(talk.good(), "closed in order", "{url}");
    }
    for record in stage.gate.records(2).await {
        assert_eq!(record["verdict"], "allow", "{record}");
        assert!(record["sent"].as_u64().unwrap() > 100_000, "{record}");
    }
    stage.gate.stop().await;
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_about_the_metrics() {
    let (stage, origin) = Stage::with_plain().await;
    fs::write(origin.file("page"), "hello").unwrap();
    stage.run("curl", &["-sS", &origin.url("http", "a.example", "page")]).await.good();
    stage.gate.records(1).await;
    let metrics = stage.write("metrics", stage.gate.ask_admin("/metrics").await);
    let script = "promtool check metrics < \"$0\"";
    let check = stage.run("bash", &["-c", script, metrics.to_str().unwrap()]).await;
    assert!(check.ok && check.error.is_empty(), "{check:#?}");
    stage.gate.stop().await;
}

/// A program that runs until its test ends.
struct Ended(Child);

impl Ended {
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        let mut out = BufReader::new(self.0.stdout.as_mut().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "a program ended before it was ready: run tests/need.sh");
        line.trim().to_owned()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
