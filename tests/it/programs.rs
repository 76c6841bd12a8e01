//! Programs that people use, as they use them: each is told of the proxy in its own way, and reaches a server
//! of the test's own or learns why it can't. `tests/need.sh` installs them.

mod origin;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::programs::origin::{Authority, BIG, Big, Origin};
use crate::support::Gate;

/// Seconds that a program may take, which none does unless it hangs.
const PATIENCE: &str = "100";

/// A gate, an authority that programs trust, and a home for what they write.
struct Stage {
    gate: Gate,
    authority: Authority,
    home: TempDir,
}

/// What came of a program.
#[derive(Debug)]
struct Outcome {
    ok: bool,
    /// Whole, without the spaces around it.
    out: String,
    error: String,
}

impl Stage {
    /// One that lets programs reach two ports of `a.example` and `b.example`, for TLS and plain HTTP.
    async fn set(tls: Option<&Origin>, plain: Option<&Origin>, authority: Authority) -> Self {
        let rule = |protocol: &str, origin: &Origin| {
            let port = origin.port;
            format!(
                "{{ host: .example, ports: [{port}], protocol: {protocol}, private: true, public_suffix: true }}"
            )
        };
        let rules: Vec<String> = tls
            .map(|origin| rule("tls", origin))
            .into_iter()
            .chain(plain.map(|origin| rule("http", origin)))
            .collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let home = tempfile::tempdir().unwrap();
        Self { gate: Gate::allowing(&rules).await, authority, home }
    }

    /// One with a TLS server.
    async fn with_tls() -> (Self, Origin) {
        let authority = Authority::new();
        let origin = Origin::tls(&authority).await;
        (Self::set(Some(&origin), None, authority).await, origin)
    }

    /// One with a server of plain HTTP.
    async fn with_plain() -> (Self, Origin) {
        let origin = Origin::plain().await;
        (Self::set(None, Some(&origin), Authority::new()).await, origin)
    }

    fn proxy(&self) -> String {
        format!("http://{}", self.gate.address)
    }

    fn ca(&self) -> String {
        self.authority.file("ca.pem").to_str().unwrap().to_owned()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A command that knows the proxy and the authority from its environment, and nothing of this machine's settings.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = bounded(program);
        command.env("HOME", self.home.path()).current_dir(self.home.path());
        for name in ["http_proxy", "https_proxy", "HTTPS_PROXY"] {
            command.env(name, self.proxy());
        }
        for name in ["CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "PIP_CERT", "CARGO_HTTP_CAINFO"] {
            command.env(name, self.ca());
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("PIP_CONFIG_FILE", "/dev/null");
        command
    }

    /// Runs a program with arguments.
    async fn run<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Outcome {
        let mut command = self.command(program);
        command.args(args);
        run(command).await
    }

    /// Runs a script in Python.
    async fn python<S: AsRef<OsStr>>(&self, script: &str, args: &[S]) -> Outcome {
        // Not the first on the path: the modules come from Debian's packages.
        let mut command = self.command("/usr/bin/python3");
        command.arg("-c").arg(script).args(args);
        run(command).await
    }
}

/// A command that is ended when it takes too long, in an environment of nothing but a path.
fn bounded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE]).arg(program);
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end, beside the servers.
async fn run(mut command: Command) -> Outcome {
    let asked = format!("{command:?}");
    let Output { status, stdout, stderr } = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    let outcome = Outcome { ok: status.success(), out: text(stdout), error: text(stderr) };
    // timeout(1) exits so when there is no such program, and when it had to end it.
    assert_ne!(status.code(), Some(127), "a program is missing: run tests/need.sh\n{asked}\n{outcome:?}");
    assert_ne!(status.code(), Some(124), "took longer than {PATIENCE} s\n{asked}\n{outcome:?}");
    outcome
}

impl Outcome {
    /// What a program printed that went well.
    #[track_caller]
    fn good(self) -> String {
        assert!(self.ok, "{self:#?}");
        self.out
    }
}

/// Bytes that don't compress and don't repeat.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(size).collect()
}

/// The checksum that `sha256sum` gives a file.
async fn sha256(path: &Path) -> String {
    let mut command = bounded("sha256sum");
    command.arg(path);
    run(command).await.good()[..64].to_owned()
}

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

#[tokio::test]
async fn git_clones_and_pushes() {
    let (stage, origin) = Stage::with_tls().await;
    let repository = origin.file("git/project.git");
    let repository = repository.to_str().unwrap();
    stage.run("git", &["init", "-q", "--bare", "-b", "main", repository]).await.good();
    stage.run("git", &["-C", repository, "config", "http.receivepack", "true"]).await.good();
    let url = origin.url("https", "a.example", "git/project.git");
    let author = ["-c", "user.name=a", "-c", "user.email=a@a.example"];

    stage.run("git", &["clone", "-q", &url, "first"]).await.good();
    // More than http.postBuffer (1 MiB), so that git sends it in chunks.
    stage.write("first/noise", noise(3 << 20));
    stage.run("git", &["-C", "first", "add", "."]).await.good();
    let commit = [&author[..], &["-C", "first", "commit", "-q", "-m", "noise"]].concat();
    stage.run("git", &commit).await.good();
    stage.run("git", &["-C", "first", "push", "-q", "origin", "HEAD:main"]).await.good();
    stage.run("git", &["clone", "-q", "--depth=1", &url, "second"]).await.good();
    assert!(fs::read(stage.at("second/noise")).unwrap() == noise(3 << 20));
    stage.gate.stop().await;
}

#[tokio::test]
async fn pip_downloads_from_an_index() {
    let (stage, origin) = Stage::with_tls().await;
    let wheel = origin.file("simple/tiny/tiny-1.0-py3-none-any.whl");
    let make = "
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('tiny.py', '')
    wheel.writestr('tiny-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')
    wheel.writestr('tiny-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('tiny-1.0.dist-info/RECORD', '')
";
    stage.python(make, &[&wheel]).await.good();
    let page = "<!DOCTYPE html><a href=\"tiny-1.0-py3-none-any.whl\">tiny-1.0-py3-none-any.whl</a>";
    fs::write(origin.file("simple/tiny/index.html"), page).unwrap();
    let index = origin.url("https", "a.example", "simple/");
    let mut pip = stage.command("/usr/bin/python3");
    pip.args(["-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check"]);
    pip.args(["--index-url", &index, "--dest", "wheels", "tiny"]);
    run(pip).await.good();
    assert_eq!(sha256(&stage.at("wheels/tiny-1.0-py3-none-any.whl")).await, sha256(&wheel).await);
    stage.gate.stop().await;
}

#[tokio::test]
async fn cargo_fetches_from_a_sparse_registry() {
    let (stage, origin) = Stage::with_tls().await;
    let package =
        |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
    stage.write("src/tiny-1.0.0/Cargo.toml", package("tiny"));
    stage.write("src/tiny-1.0.0/src/lib.rs", "");
    let crate_file = origin.file("crates/tiny/1.0.0/download");
    let archive = ["-czf", crate_file.to_str().unwrap(), "-C", "src", "tiny-1.0.0"];
    stage.run("tar", &archive).await.good();
    let sum = sha256(&crate_file).await;
    let entry = format!(
        r#"{{"name":"tiny","vers":"1.0.0","deps":[],"cksum":"{sum}","features":{{}},"yanked":false}}"#
    );
    fs::write(origin.file("index/ti/ny/tiny"), entry + "\n").unwrap();
    let downloads = origin.url("https", "a.example", "crates");
    fs::write(
        origin.file("index/config.json"),
        format!(r#"{{"dl":"{downloads}/{{crate}}/{{version}}/download"}}"#),
    )
    .unwrap();

    let index = origin.url("https", "a.example", "index/");
    stage.write(
        ".cargo/config.toml",
        format!("[source.crates-io]\nreplace-with = \"own\"\n[source.own]\nregistry = \"sparse+{index}\"\n"),
    );
    stage.write("user/Cargo.toml", package("user") + "[dependencies]\ntiny = \"1\"\n");
    stage.write("user/src/lib.rs", "");
    // The toolchain that runs this test, without rustup's ways around it.
    let cargo = PathBuf::from(env::var_os("CARGO").expect("cargo test says where cargo is"));
    let mut fetch = stage.command(&cargo);
    fetch.env("CARGO_HOME", stage.at(".cargo")).env("RUSTC", cargo.with_file_name("rustc"));
    fetch.args(["fetch", "--manifest-path", "user/Cargo.toml"]);
    run(fetch).await.good();
    let lock = fs::read_to_string(stage.at("user/Cargo.lock")).unwrap();
    assert!(lock.contains(&sum), "{lock}");
    stage.gate.stop().await;
}

#[tokio::test]
async fn apt_updates_and_downloads() {
    let (stage, origin) = Stage::with_plain().await;
    stage.write(
        "tiny/DEBIAN/control",
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@a.example>\nDescription: tiny\n",
    );
    let deb = origin.file("tiny_1.0_all.deb");
    stage
        .run("dpkg-deb", &["-Zgzip", "--root-owner-group", "-b", "tiny", deb.to_str().unwrap()])
        .await
        .good();
    let control = stage.run("dpkg-deb", &["-f", deb.to_str().unwrap()]).await.good();
    let (size, sum) = (fs::metadata(&deb).unwrap().len(), sha256(&deb).await);
    let entry = format!("{control}\nFilename: ./tiny_1.0_all.deb\nSize: {size}\nSHA256: {sum}\n");
    fs::write(origin.file("Packages"), entry).unwrap();

    let source = format!("deb [trusted=yes] {} ./\n", origin.url("http", "a.example", ""));
    stage.write("apt/sources.list", source);
    for directory in ["apt/state/lists/partial", "apt/cache/archives/partial", "apt/empty"] {
        fs::create_dir_all(stage.at(directory)).unwrap();
    }
    stage.write("apt/status", "");
    let settings = [
        ("Dir::Etc::SourceList", "apt/sources.list"),
        ("Dir::Etc::SourceParts", "apt/empty"),
        ("Dir::Etc::Parts", "apt/empty"),
        ("Dir::State", "apt/state"),
        ("Dir::State::status", "apt/status"),
        ("Dir::Cache", "apt/cache"),
    ]
    .map(|(setting, path)| format!("-o{setting}={}", stage.at(path).display()));
    let own = "-oAPT::Sandbox::User=root".to_owned();
    let proxy = format!("-oAcquire::http::Proxy={}", stage.proxy());
    let with = |command: &[&str]| -> Vec<String> {
        let settings = settings.iter().cloned().chain([own.clone(), proxy.clone()]);
        settings.chain(command.iter().map(ToString::to_string)).collect()
    };
    stage.run("apt-get", &with(&["update", "-oAPT::Update::Error-Mode=any"])).await.good();
    stage.run("apt-get", &with(&["download", "tiny"])).await.good();
    assert_eq!(sha256(&stage.at("tiny_1.0_all.deb")).await, sum);
    stage.gate.stop().await;
}

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

/// A program that runs until its test ends.
struct Ended(std::process::Child);

impl Ended {
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        let mut out = std::io::BufReader::new(self.0.stdout.as_mut().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
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
