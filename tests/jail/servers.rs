//! Servers on threads, which count who came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A web server for the files of a directory.
pub struct Web {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

/// A certificate for the names of the tests, and where it is kept for clients to trust.
pub struct Trust {
    config: Arc<ServerConfig>,
    pub file: PathBuf,
}

impl Trust {
    pub fn new(directory: &Path) -> Self {
        let names = ["a.example", "b.example", "six.example", "evil.example"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let file = directory.join("ca.pem");
        std::fs::write(&file, cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Self { config: Arc::new(config), file }
    }
}

impl Web {
    /// Plain HTTP.
    pub fn plain(address: &str, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self::start(address, move |stream| answer(stream, &directory))
    }

    pub fn tls(address: &str, directory: &Path, trust: &Trust) -> Self {
        let (directory, config) = (directory.to_owned(), Arc::clone(&trust.config));
        Self::start(address, move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(StreamOwned::new(connection, stream), &directory);
        })
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn start(address: &str, serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind(address.parse::<SocketAddr>().unwrap()).unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (stream, serve) = (stream.unwrap(), serve.clone());
                thread::spawn(move || serve(stream));
            }
        });
        Self { port, connections }
    }
}

/// Answers one request with a file, or with "hello from" and the host.
fn answer(stream: impl Read + Write, directory: &Path) {
    let mut stream = BufReader::new(stream);
    let (mut first, mut host) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        // A probe that says nothing is no request.
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim();
        match line.to_ascii_lowercase().strip_prefix("host: ") {
            _ if line.is_empty() => break,
            Some(name) => host = name.to_owned(),
            None if first.is_empty() => first = line.to_owned(),
            None => {}
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = match std::fs::read(directory.join(path)) {
        Ok(body) if !path.is_empty() => ("200 OK", body),
        _ if path.is_empty() => ("200 OK", format!("hello from {host}\n").into_bytes()),
        _ => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A client that has gone does not need it.
    let out = stream.get_mut();
    let _ = out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).and_then(|()| out.flush());
}
