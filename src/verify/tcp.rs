//! Connections, judged by what comes back by them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;

use rustix::io::Errno;

use crate::host::Name;
use crate::reply::{BLOCKED, PROXY_NAME, PROXY_STATUS, TLS_ACCESS_DENIED, X_PROXY_ERROR};
use crate::verify::{Seen, Trial, has_route, hello};

/// Types of TLS records (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Enough of an answer to know whose it is.
const ENOUGH: usize = 1024;

/// Tries an address, and says the unlisted name there.
pub(super) fn by_address(trial: &Trial, at: SocketAddr) -> Seen {
    exchange(trial, at, &trial.unlisted).unwrap_or_else(|error| failed(at, &error))
}

/// Tries the addresses that the system has for a name, one after the other, until one answers.
pub(super) fn by_name(trial: &Trial, name: &Name, port: u16) -> Seen {
    let addresses = match resolve(trial, name, port) {
        Ok(addresses) => addresses,
        Err(error) => return Seen::Nothing(format!("no address for it: {error}")),
    };
    let mut last = Seen::Nothing("no address for it".to_owned());
    for at in addresses {
        match exchange(trial, at, name).unwrap_or_else(|error| failed(at, &error)) {
            answer @ Seen::Answer(_) => return answer,
            // One that may have been reached says more than another's silence.
            other => last = if matches!(last, Seen::Ended(_)) { last } else { other },
        }
    }
    // A name without a way to it is still a name with an address: somebody answered for it.
    match last {
        Seen::NoWay(detail) => Seen::Nothing(detail),
        last => last,
    }
}

/// getaddrinfo has no time-out of its own; a thread that it keeps waiting ends with the program.
fn resolve(trial: &Trial, name: &Name, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = mpsc::channel();
    let name = name.as_str().to_owned();
    thread::spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Whoever asked may have given up.
        let sent = sender.send(addresses);
        drop(sent);
    });
    receiver.recv_timeout(trial.patience * 2).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What an error says of a way out. exeat takes each connection that is redirected to it, so it is not exeat who calls an
/// address unreachable. To reset one that stands is its way, where no rule is for the port.
fn failed(at: SocketAddr, error: &io::Error) -> Seen {
    match Errno::from_io_error(error) {
        Some(Errno::HOSTUNREACH | Errno::ACCESS) if has_route(at.ip()) => Seen::Ended(error.to_string()),
        _ => Seen::of(error, at.ip()),
    }
}

/// Says what the port's protocol says first, and reads.
fn exchange(trial: &Trial, at: SocketAddr, name: &Name) -> io::Result<Seen> {
    let mut stream = TcpStream::connect_timeout(&at, trial.patience)?;
    stream.set_read_timeout(Some(trial.patience))?;
    stream.set_write_timeout(Some(trial.patience))?;
    match at.port() {
        80 | 8080 => {
            let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", name.as_str());
            stream.write_all(head.as_bytes())?;
        }
        443 | 465 | 853 | 993 | 8443 => stream.write_all(&hello::client_hello(name.as_str()))?,
        // Elsewhere the server may be the one who speaks first; a blank line asks the others.
        _ => stream.write_all(b"\r\n")?,
    }
    let mut answer = vec![0; ENOUGH];
    match stream.read(&mut answer) {
        Ok(length) => Ok(judge(&answer[..length])),
        // exeat says at once what it thinks of such a beginning: whoever took this connection may be a server that waits
        // for something else.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(Seen::Ended("connected, then silence".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Whose bytes they are.
fn judge(answer: &[u8]) -> Seen {
    match answer {
        [] => Seen::Ended("closed without a byte".to_owned()),
        bytes if bytes.starts_with(&TLS_ACCESS_DENIED) => {
            Seen::Nothing("exeat refuses: TLS alert".to_owned())
        }
        [ALERT, ..] => Seen::Answer("a TLS server answered with an alert".to_owned()),
        [HANDSHAKE, ..] => Seen::Answer("a TLS server answered".to_owned()),
        bytes => {
            let text = String::from_utf8_lossy(bytes);
            let lower = text.to_ascii_lowercase();
            let says = |header: &str, value: &str| lower.contains(&format!("{header}: {value}"));
            match says(X_PROXY_ERROR.as_str(), BLOCKED) || says(PROXY_STATUS.as_str(), PROXY_NAME) {
                true => Seen::Nothing(format!("exeat refuses: {}", first_line(&text))),
                false => Seen::Answer(format!("it said {:?}", first_line(&text))),
            }
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_takes_a_connection_and_says_nothing_may_be_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let trial = Trial {
            allowed: None,
            unlisted: Name::parse("unlisted.example").unwrap(),
            probes: vec![at],
            patience: Duration::from_millis(100),
        };
        assert_eq!(by_address(&trial, at), Seen::Ended("connected, then silence".to_owned()));
    }

    #[test]
    fn bytes_are_judged_by_whose_they_are() {
        let refusal = b"HTTP/1.1 403 Forbidden\r\nproxy-status: exeat; error=http_request_denied\r\n\r\n";
        for (bytes, got_out) in [
            (&b""[..], false),
            (&TLS_ACCESS_DENIED, false),
            (&[21, 3, 3, 0, 2, 2, 49], true),
            (&[21, 3, 3, 0, 2, 2, 40], true),
            (&[22, 3, 3, 0, 90, 2], true),
            (refusal, false),
            (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", true),
            (b"SSH-2.0-OpenSSH_9.2\r\n", true),
            (&[21], true),
        ] {
            assert_eq!(matches!(judge(bytes), Seen::Answer(_)), got_out, "{bytes:?}");
        }
    }
}
