//! The servers of the internet. Each says which address it was reached at.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record, RecordType};

use crate::place::Place;

/// A name that the policies of the tests allow, and its server.
pub(crate) const ALLOWED: &str = "allowed.example";
pub(crate) const ALLOWED_V4: &str = "11.0.0.10";
pub(crate) const ALLOWED_V6: &str = "2a00:77::10";
/// A name whose server exeat may reach by SSH alone.
pub(crate) const GIT: &str = "git.example";
pub(crate) const GIT_V4: &str = "11.0.0.22";
pub(crate) const GIT_V6: &str = "2a00:77::22";
/// A name whose server exeat may reach by SSH alone, and at which nobody listens unless a test does.
pub(crate) const FORGE: &str = "forge.example";
pub(crate) const FORGE_V4: &str = "11.0.0.23";
pub(crate) const FORGE_V6: &str = "2a00:77::23";
/// Nobody may go there.
pub(crate) const EVIL: &str = "evil.example";
pub(crate) const EVIL_V4: &str = "11.0.0.66";
pub(crate) const EVIL_V6: &str = "2a00:77::66";
/// The DNS server that exeat asks.
pub(crate) const DNS_V4: &str = "11.0.0.53";
/// The metadata service of clouds, and one more of one of them.
pub(crate) const METADATA: &str = "169.254.169.254";
pub(crate) const METADATA_TASKS: &str = "169.254.170.2";

/// Every address that servers have.
pub(crate) const ADDRESSES: [&str; 9] =
    [ALLOWED_V4, ALLOWED_V6, GIT_V4, GIT_V6, EVIL_V4, EVIL_V6, DNS_V4, METADATA, METADATA_TASKS];
/// Ports whose servers speak first, and then echo.
const SPEAKING: [u16; 5] = [22, 25, 853, 5432, 8443];
const UDP: [u16; 4] = [123, 443, 4500, 5000];

/// Starts them all.
pub(crate) fn serve(place: &Place) {
    let tls = Arc::new(certificate());
    for address in ADDRESSES {
        let ip: IpAddr = address.parse().unwrap();
        for port in SPEAKING {
            tcp(place, (ip, port).into(), speak);
        }
        tcp(place, (ip, 80).into(), http);
        let tls = tls.clone();
        tcp(place, (ip, 443).into(), move |stream| https(stream, tls.clone()));
        tcp(place, (ip, 53).into(), dns_over_tcp);
        for port in UDP {
            udp(place, (ip, port).into(), |bytes, at| [format!("UDP {at} ").as_bytes(), bytes].concat());
        }
        udp(place, (ip, 53).into(), |bytes, _| answer(bytes).unwrap_or_default());
    }
}

fn tcp(place: &Place, at: SocketAddr, serve: impl Fn(TcpStream) + Clone + Send + 'static) {
    let listener = place.inside(move || TcpListener::bind(at).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
}

fn udp(place: &Place, at: SocketAddr, answer: fn(&[u8], SocketAddr) -> Vec<u8>) {
    let socket = place.inside(move || UdpSocket::bind(at).unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&answer(&buffer[..length], at), from);
        }
    });
}

/// Whoever has gone away is no concern of a server.
fn speak(mut stream: TcpStream) {
    let Ok(here) = stream.local_addr() else { return };
    let _ = stream.write_all(format!("SSH-2.0-at-{here}\r\n").as_bytes());
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn http(stream: TcpStream) {
    let Ok(here) = stream.local_addr() else { return };
    respond(stream, here);
}

fn https(stream: TcpStream, tls: Arc<rustls::ServerConfig>) {
    let (Ok(here), Ok(tls)) = (stream.local_addr(), rustls::ServerConnection::new(tls)) else { return };
    respond(rustls::StreamOwned::new(tls, stream), here);
}

fn respond(mut stream: impl Read + Write, here: SocketAddr) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let body = format!("this is {here}\n");
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

fn certificate() -> rustls::ServerConfig {
    let made = rcgen::generate_simple_self_signed([ALLOWED.to_owned(), EVIL.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap()
}

fn dns_over_tcp(mut stream: TcpStream) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        let Some(answer) = stream.read_exact(&mut question).ok().and_then(|()| answer(&question)) else {
            return;
        };
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        if stream.write_all(&[&length[..], &answer].concat()).is_err() {
            return;
        }
    }
}

/// Knows four names; any other does not exist.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).ok()?;
    let query = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    let name = query.name().to_utf8().to_ascii_lowercase();
    let (v4, v6) = match name.trim_end_matches('.') {
        ALLOWED => (ALLOWED_V4, ALLOWED_V6),
        GIT => (GIT_V4, GIT_V6),
        FORGE => (FORGE_V4, FORGE_V6),
        EVIL => (EVIL_V4, EVIL_V6),
        _ => {
            message.metadata.response_code = ResponseCode::NXDomain;
            return message.to_vec().ok();
        }
    };
    let data = match query.query_type() {
        RecordType::A => Some(RData::A(v4.parse().ok()?)),
        RecordType::AAAA => Some(RData::AAAA(v6.parse().ok()?)),
        RecordType::TXT => Some(RData::TXT(TXT::new(vec!["got out".to_owned()]))),
        _ => None,
    };
    message.answers.extend(data.map(|data| Record::from_rdata(query.name().clone(), 60, data)));
    message.to_vec().ok()
}
