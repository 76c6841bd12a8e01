//! A gate, servers behind it, and programs that run in an environment of the test's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::programs::origin::{Authority, Origin};
use crate::support::Gate;

/// Seconds that a program may take, which none does unless it hangs.
const PATIENCE: &str = "100";

/// A gate, an authority that programs trust, and a home for what they write.
pub struct Stage {
    pub gate: Gate,
    pub authority: Authority,
    pub home: TempDir,
}

/// What came of a program.
#[derive(Debug)]
pub struct Outcome {
    pub ok: bool,
    /// Whole, without the spaces around it.
    pub out: String,
    pub error: String,
}

impl Stage {
    /// One that lets programs reach two ports of `a.example` and `b.example`, for TLS and plain HTTP.
    pub async fn set(tls: Option<&Origin>, plain: Option<&Origin>, authority: Authority) -> Self {
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
    pub async fn with_tls() -> (Self, Origin) {
        let authority = Authority::new();
        let origin = Origin::tls(&authority).await;
        (Self::set(Some(&origin), None, authority).await, origin)
    }

    /// One with a server of plain HTTP.
    pub async fn with_plain() -> (Self, Origin) {
        let origin = Origin::plain().await;
        (Self::set(None, Some(&origin), Authority::new()).await, origin)
    }

    pub fn proxy(&self) -> String {
        format!("http://{}", self.gate.address)
    }

    pub fn ca(&self) -> String {
        self.authority.file("ca.pem").to_str().unwrap().to_owned()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A command that knows the proxy and the authority from its environment, and nothing of this machine's settings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
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
    pub async fn run<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Outcome {
        let mut command = self.command(program);
        command.args(args);
        run(command).await
    }

    /// Runs a script in Python.
    pub async fn python<S: AsRef<OsStr>>(&self, script: &str, args: &[S]) -> Outcome {
        // Not the first on the path: the modules come from Debian's packages.
        let mut command = self.command("/usr/bin/python3");
        command.arg("-c").arg(script).args(args);
        run(command).await
    }
}

/// A command that is ended when it takes too long, in an environment of nothing but a path.
pub fn bounded(program: impl AsRef<OsStr>) -> Command {
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
pub async fn run(mut command: Command) -> Outcome {
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
    pub fn good(self) -> String {
        assert!(self.ok, "{self:#?}");
        self.out
    }
}

/// Bytes that don't compress and don't repeat.
pub fn noise(size: usize) -> Vec<u8> {
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
pub async fn sha256(path: &Path) -> String {
    let mut command = bounded("sha256sum");
    command.arg(path);
    run(command).await.good()[..64].to_owned()
}
