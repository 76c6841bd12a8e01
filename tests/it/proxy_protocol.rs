//! Load balancers in front, which say in a PROXY header whose connection they bring.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use rustix::io::{FdFlags, fcntl_setfd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::https::Ground;
use crate::support::tls::hello;
use crate::support::upstream::Upstream;
use crate::support::{Gate, PATIENCE, Setup, end, read_head, read_to_end, until};

const REQUEST: &str = "CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// HAProxy with one frontend before a gate.
struct Haproxy {
    address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Haproxy {
    /// `options` are those of the server line.
    fn before(gate: SocketAddr, options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // It inherits the listener, so that no port has to be guessed.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        fcntl_setfd(&listener, FdFlags::empty()).unwrap();
        let (file, fd) = (directory.path().join("haproxy.cfg"), listener.as_raw_fd());
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
             global\n  stats socket {}\nlisten balancer\n  bind fd@{fd}\n  server exeat {gate} {options}\n",
            directory.path().join("admin").display()
        );
        fs::write(&file, config).unwrap();
        let child =
            Command::new("haproxy").args(["-db", "-f"]).arg(&file).stdout(Stdio::null()).spawn().unwrap();
        Self { address: listener.local_addr().unwrap(), child, directory }
    }

    /// Whether its last look at the gate found somebody who listens.
    async fn is_content(&self) -> bool {
        let Ok(mut admin) = UnixStream::connect(self.directory.path().join("admin")).await else {
            return false;
        };
        admin.write_all(b"show stat\n").await.unwrap();
        let mut table = String::new();
        admin.read_to_string(&mut table).await.unwrap();
        table.lines().any(|line| line.starts_with("balancer,exeat,") && line.contains(",L4OK,"))
    }

    /// A connection through it from this loopback address.
    async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A setup that takes headers from these addresses.
fn from(networks: &[&str], mut setup: Setup) -> Setup {
    let network = |text: &&str| IpNet::from(text.parse::<IpAddr>().unwrap());
    let senders: Vec<IpNet> = networks.iter().map(network).collect();
    setup.settings.listen.explicit[0].senders = senders;
    setup
}

/// Sends bytes on a new connection and returns what comes back until its end.
async fn say(gate: &Gate, bytes: &[u8]) -> String {
    let mut stream = gate.connect().await;
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await
}

/// A header of version 2: command and family, then the rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2, &[0x20 | command, family], &length, rest].concat()
}

/// Addresses of TCP over IPv4, from 192.0.2.7:4000.
const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x0f, 0xa0, 0x0c, 0x38];

#[tokio::test]
async fn haproxy_tells_the_client_which_decides_and_is_recorded() {
    let policy = "version: 1\nprofiles:\n  - name: seven\n    clients: [127.0.0.7]\n    mode: report\n";
    for options in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl"] {
        let gate = from(&["127.0.0.1"], Setup::new(policy)).start().await;
        let haproxy = Haproxy::before(gate.address, options);
        let mut ports = Vec::new();
        for source in ["127.0.0.7", "127.0.0.8"] {
            let mut stream = haproxy.connect_from(source).await;
            ports.push(stream.local_addr().unwrap().port());
            stream.write_all(REQUEST.as_bytes()).await.unwrap();
            read_head(&mut stream).await;
        }
        let records = gate.records(2).await;
        for (index, (client, reason)) in
            [("127.0.0.7", "dns_failed"), ("127.0.0.8", "no_profile")].into_iter().enumerate()
        {
            let record = records.iter().find(|record| record["client"] == client).expect(options);
            assert_eq!(
                (&record["client_port"], &record["reason"]),
                (&ports[index].into(), &reason.into()),
                "{options}"
            );
        }
    }
}

#[tokio::test]
async fn haproxy_may_look_whether_somebody_listens() {
    for check in ["check inter 50ms check-send-proxy send-proxy-v2", "check inter 50ms send-proxy"] {
        let gate = from(&["127.0.0.1"], Setup::allow(&["a.example"])).start().await;
        let haproxy = Haproxy::before(gate.address, check);
        until("HAProxy finds nobody", async || haproxy.is_content().await).await;
        let mut stream = haproxy.connect_from("127.0.0.9").await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 403"), "{check}");
        // Its looks leave no record.
        gate.stop_and_count(1).await;
    }
}

#[tokio::test]
async fn haproxy_passes_tls_on_behind_its_header() {
    let upstream = Upstream::page().await;
    let ground = Ground::new();
    let rule = format!("{{ host: a.example, ports: [{}], private: true }}", upstream.port());
    let gate = from(&["127.0.0.1"], ground.setup(&[&rule])).start().await;
    let haproxy = Haproxy::before(gate.address, "send-proxy-v2");
    let mut curl = tokio::process::Command::new("curl");
    curl.env_clear().args(["-sS", "--max-time", "20", "--interface", "127.0.0.9", "--proxy-cacert"]);
    curl.arg(ground.path().join("ca.pem")).args(["-x", &format!("https://{}", haproxy.address)]);
    let output = curl.arg(format!("http://a.example:{}/", upstream.port())).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{output:?}");
    assert_eq!(gate.record().await["client"], "127.0.0.9");
    // A client that brings no header to where one is due.
    assert!(ground.authority.shake(gate.connect().await).await.is_err());
    assert_eq!(gate.records(2).await[1]["error"], "the PROXY header is missing");
}

#[tokio::test]
async fn a_header_is_due_from_listed_senders_in_whatever_pieces_it_comes() {
    let gate = from(&["127.0.0.1"], Setup::allow(&["a.example"])).start().await;
    let unix = [0; 216];
    let tlv = [&ADDRESSES[..], &[0x04, 0, 3, 0, 0, 0], &[0xe0, 0, 1, 9]].concat();
    let good: [(Vec<u8>, &str); 10] = [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 3128\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 3128\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4000 3128\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &tlv), "192.0.2.7"),
        (v2(0, 0x00, &[]), "127.0.0.1"),
        (v2(0, 0x11, &ADDRESSES), "127.0.0.1"),
        // What LOCAL says beside itself is to be ignored, the family too.
        (v2(0, 0xf7, &ADDRESSES), "127.0.0.1"),
        (v2(0, 0x21, &ADDRESSES[..5]), "127.0.0.1"),
        (v2(1, 0x31, &unix), "127.0.0.1"),
    ];
    for (count, (header, client)) in good.iter().enumerate() {
        let bytes = [header, REQUEST.as_bytes()].concat();
        let mut stream = gate.connect().await;
        // In two pieces, wherever the border falls.
        let border = (count * 7 + 1) % bytes.len();
        stream.write_all(&bytes[..border]).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(&bytes[border..]).await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 403"), "{count}");
        let record = &gate.records(count + 1).await[count];
        assert_eq!((&record["client"], &record["reason"]), (&(*client).into(), &"no_rule".into()), "{count}");
    }
    let long = vec![0; 5000];
    let bad: [(Vec<u8>, &str); 8] = [
        (REQUEST.into(), "is missing"),
        (b"PROXY TCP4 192.0.2.700 10.0.0.1 4000 3128\r\n".to_vec(), "is malformed"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 3128 and so on and so on and so on and so on and so on and so on and more\r\n".to_vec(), "is malformed"),
        (v2(2, 0x11, &ADDRESSES), "is malformed"),
        (v2(1, 0x11, &ADDRESSES[..11]), "is malformed"),
        (v2(1, 0x12, &ADDRESSES), "is not about TCP"),
        (v2(1, 0x11, &[&ADDRESSES[..], &long].concat()), "is too long"),
        (v2(0, 0x00, &long), "is too long"),
    ];
    for (count, (header, wrong)) in bad.iter().enumerate() {
        assert_eq!(say(&gate, &[header, REQUEST.as_bytes()].concat()).await, "", "{count}");
        let record = &gate.records(good.len() + count + 1).await[good.len() + count];
        let expected = format!("the PROXY header {wrong}");
        assert_eq!(
            (&record["reason"], &record["error"]),
            (&"bad_request".into(), &expected.into()),
            "{count}"
        );
        assert_eq!(record["client"], "127.0.0.1");
    }
}

#[tokio::test]
async fn from_anyone_else_a_header_is_a_bad_request() {
    for setup in [from(&["127.0.0.2"], Setup::allow(&["a.example"])), Setup::allow(&["a.example"])] {
        let gate = setup.start().await;
        for header in [b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 3128\r\n".to_vec(), v2(1, 0x11, &ADDRESSES)] {
            let answer = say(&gate, &[&header, REQUEST.as_bytes()].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        let records = gate.records(2).await;
        for record in &records {
            assert_eq!((&record["client"], &record["reason"]), (&"127.0.0.1".into(), &"bad_request".into()));
            assert_eq!(
                record["error"],
                "a PROXY header came from a sender that `proxy_protocol` does not list"
            );
        }
        say(&gate, &hello(&["a.example"])).await;
        assert_eq!(gate.records(3).await[2]["error"], "TLS came where a request has to come");
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_header_has_the_time_of_a_head() {
    let mut setup = from(&["127.0.0.1"], Setup::allow(&["a.example"]));
    setup.settings.timeouts.head = Duration::from_millis(200);
    let gate = setup.start().await;
    let mut slow = gate.connect().await;
    slow.write_all(b"PROXY TCP4").await.unwrap();
    end(&mut slow).await;
    assert_eq!(gate.record().await["reason"], "head_timeout");
}

#[tokio::test]
async fn a_client_behind_a_balancer_is_never_on_this_host() {
    // The rule is for the metadata service, which answers clients on this host alone.
    let rule = "{ host: meta.example, ports: [80], private: true }";
    let mut setup = from(&["127.0.0.1"], Setup::allow(&[rule]));
    setup.hosts = "169.254.169.254 meta.example\n".to_owned();
    let gate = setup.start().await;
    let request = "CONNECT meta.example:80 HTTP/1.1\r\nHost: meta.example:80\r\n\r\n";
    for header in [b"PROXY TCP4 127.0.0.1 127.0.0.1 4000 3128\r\n".to_vec(), v2(0, 0, &[])] {
        let answer = say(&gate, &[&header, request.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("address_prohibited"), "{answer}");
    }
}

#[tokio::test]
async fn each_named_client_has_its_own_limit() {
    let upstream = Upstream::echo().await;
    let rule = format!("{{ host: a.example, ports: [{}], protocol: tcp, private: true }}", upstream.port());
    let mut setup = from(&["127.0.0.1"], Setup::allow(&[&rule]));
    setup.settings.limits.flows_per_client = NonZeroUsize::new(1);
    let gate = setup.start().await;
    let to = format!("a.example:{}", upstream.port());
    let mut open = Vec::new();
    for (client, status) in [("192.0.2.1", "200"), ("192.0.2.2", "200"), ("192.0.2.1", "429")] {
        let mut stream = gate.connect().await;
        let header = format!("PROXY TCP4 {client} 10.0.0.1 4000 3128\r\n");
        stream
            .write_all(format!("{header}CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{client}: {head}");
        open.push(stream);
    }
    // What follows the header and the head at once is not lost.
    let mut echo = [0; 4];
    open[0].write_all(b"ping").await.unwrap();
    tokio::time::timeout(PATIENCE, open[0].read_exact(&mut echo)).await.unwrap().unwrap();
    until("it is not closed", async || !gate.records_so_far().is_empty()).await;
}
