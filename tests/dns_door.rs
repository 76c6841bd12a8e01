//! The DNS door, asked over real sockets, with a real server behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "what the tests stand on is shared between binaries")]

#[path = "it/support/dns.rs"]
mod dns;
#[path = "doors/gate.rs"]
mod gate;
#[path = "it/support/reading.rs"]
mod reading;
#[path = "it/support/records.rs"]
mod records;
#[path = "it/support/told.rs"]
mod told;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use exeat::dns::{Denied, Https};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use crate::dns::Reply;
use crate::gate::{Gate, PATIENCE, Setup};

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

/// Sends bytes over UDP and returns what comes back.
async fn send(gate: &Gate, bytes: &[u8]) -> Message {
    let address = gate.dns[0];
    let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local).await.unwrap();
    socket.connect(SocketAddr::new(loopback(address.ip()), address.port())).await.unwrap();
    socket.send(bytes).await.unwrap();
    let mut buffer = [0; 65_535];
    let count = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("no answer").unwrap();
    Message::from_vec(&buffer[..count]).unwrap()
}

/// The address to ask a listener on every address at.
fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => "127.0.0.1".parse().unwrap(),
        IpAddr::V6(v6) if v6.is_unspecified() => "::1".parse().unwrap(),
        ip => ip,
    }
}

async fn ask(gate: &Gate, name: &str, kind: RecordType) -> Message {
    let message = question(name, kind);
    let answer = send(gate, &message.to_vec().unwrap()).await;
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.queries, message.queries);
    answer
}

async fn ask_tcp(stream: &mut TcpStream, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).await.unwrap();
    let mut answer = vec![0; usize::from(timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(answer: &Message) -> Vec<IpAddr> {
    answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const A: RecordType = RecordType::A;
const AAAA: RecordType = RecordType::AAAA;

#[tokio::test]
async fn an_allowed_name_is_answered_in_both_families_and_recorded() {
    let gate = Setup::allow(&["a.example"]).start().await;
    gate.servers.set("a.example", &["93.184.216.34", "93.184.216.35", "2606:2800::1"]);
    let answer = ask(&gate, "a.example", A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert!(!answer.metadata.authoritative && !answer.metadata.truncation);
    assert_eq!(addresses(&answer), ips(&["93.184.216.34", "93.184.216.35"]));
    assert!(answer.answers.iter().all(|record| record.ttl <= 60));
    assert_eq!(addresses(&ask(&gate, "a.example", AAAA).await), ips(&["2606:2800::1"]));
    let records = gate.records(2).await;
    let [first, second] = &records[..] else { panic!("{records:#?}") };
    assert_eq!(first["ingress"], "dns");
    assert_eq!((&first["host"], &first["port"]), (&"a.example".into(), &53.into()));
    assert_eq!((&first["method"], &second["method"]), (&"A".into(), &"AAAA".into()));
    assert_eq!((&first["reason"], &first["address"]), (&"allowed".into(), &"93.184.216.34".into()));
    assert!(first["rule"].as_str().unwrap().ends_with("\"a.example\""));
    assert_eq!(first["sent"], 27);
    let counted = "exeat_flows_total{ingress=\"dns\",reason=\"allowed\",verdict=\"allow\"}";
    assert_eq!(gate.metric(counted).await, Some(2.0));
    assert_eq!(gate.metric("exeat_dns_seconds_count").await, Some(2.0));
    gate.stop(2).await;
}

#[tokio::test]
async fn a_name_that_no_rule_could_admit_is_never_asked_for() {
    let policy = "version: 1\nprofiles:\n  - name: p\n    allow: [\"*.a.example\", {host: ssh.example, ports: [22], protocol: tcp}]\n    deny: [secret.a.example, {host: half.a.example, ports: [443]}]\n";
    let gate = Setup::new(policy).start().await;
    for name in ["www.a.example", "half.a.example", "ssh.example"] {
        gate.servers.set(name, &["93.184.216.34"]);
    }
    for (name, code) in [
        ("www.a.example", ResponseCode::NoError),
        ("WWW.a.Example", ResponseCode::NoError),
        ("half.a.example", ResponseCode::NoError),
        ("ssh.example", ResponseCode::NoError),
        ("a.example", ResponseCode::NXDomain),
        ("secret.a.example", ResponseCode::NXDomain),
        ("stolen-data.evil.example", ResponseCode::NXDomain),
        ("example", ResponseCode::NXDomain),
    ] {
        for kind in [A, AAAA, RecordType::TXT, RecordType::HTTPS] {
            let answer = ask(&gate, name, kind).await;
            if code == ResponseCode::NXDomain || kind == A {
                assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
            }
        }
    }
    let asked = gate.servers.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.starts_with("www.a") || asked.starts_with("half") || asked.starts_with("ssh")),
        "{asked:?}"
    );
    let records = gate.records(32).await;
    let reasons = |name: &str| -> Vec<&str> {
        records
            .iter()
            .filter(|record| record["host"] == name)
            .map(|record| record["reason"].as_str().unwrap())
            .collect()
    };
    assert_eq!(reasons("secret.a.example"), ["denied_by_rule"; 4]);
    assert_eq!(reasons("stolen-data.evil.example"), ["no_rule"; 4]);
    gate.stop(32).await;
}

#[tokio::test]
async fn a_client_without_a_profile_learns_nothing_and_refusals_can_be_chosen() {
    let policy =
        "version: 1\nprofiles:\n  - name: others\n    clients: [10.0.0.0/8]\n    allow: [a.example]\n";
    let gate = Setup::new(policy).settings(|all| all.dns.manners.denied = Denied::Refused).start().await;
    let message = with_edns(question("a.example", A), 4096);
    let answer = send(&gate, &message.to_vec().unwrap()).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    let edns = answer.edns.as_ref().unwrap();
    // RFC 8914: the code 15, Blocked, and our own word for the reason.
    let expected = EdnsOption::Unknown(15, b"\0\x0fno_profile".to_vec());
    assert_eq!(edns.options().as_ref(), [(15.into(), expected)]);
    assert_eq!(gate.record().await["reason"], "no_profile");
    assert!(gate.servers.asked().is_empty());
    gate.stop(1).await;
}

#[tokio::test]
async fn aliases_pass_under_the_name_that_was_asked_for() {
    let gate = Setup::allow(&["www.a.example"]).start().await;
    gate.servers.reply("www.a.example", Reply::Alias("edge.cdn.example".into()));
    gate.servers.set("edge.cdn.example", &["93.184.216.34"]);
    let answer = ask(&gate, "www.a.example", A).await;
    assert_eq!(addresses(&answer), ips(&["93.184.216.34"]));
    assert!(answer.answers.iter().all(|record| record.name == Name::from_ascii("www.a.example.").unwrap()));
    let answer = ask(&gate, "edge.cdn.example", A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "the alias alone is another name");
    gate.stop(2).await;
}

#[tokio::test]
async fn special_addresses_are_screened_out_of_answers() {
    let gate =
        Setup::allow(&["\"*.a.example\"", "{ host: in.example, private: [10.0.0.0/8] }"]).start().await;
    for (number, address) in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"].iter().enumerate() {
        let name = format!("v{number}.a.example");
        gate.servers.set(&name, &[address]);
        let answer = ask(&gate, &name, A).await;
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (ResponseCode::NoError, 0),
            "{address}"
        );
    }
    gate.servers.set("mixed.a.example", &["127.0.0.1", "93.184.216.34", "192.168.1.1"]);
    assert_eq!(addresses(&ask(&gate, "mixed.a.example", A).await), ips(&["93.184.216.34"]));
    for (number, address) in
        ["::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254"].iter().enumerate()
    {
        let name = format!("n{number}.a.example");
        gate.servers.set(&name, &[address]);
        assert!(addresses(&ask(&gate, &name, AAAA).await).is_empty(), "{address}");
    }
    gate.servers.set("in.example", &["10.0.0.1", "192.168.1.1"]);
    assert_eq!(addresses(&ask(&gate, "in.example", A).await), ips(&["10.0.0.1"]));
    let answer = send(&gate, &with_edns(question("v0.a.example", A), 4096).to_vec().unwrap()).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    // RFC 8914: the code 17, Filtered, and our own word for the reason.
    let expected = EdnsOption::Unknown(15, b"\0\x11address_prohibited".to_vec());
    assert_eq!(answer.edns.as_ref().unwrap().options().as_ref(), [(15.into(), expected)]);
    let records = gate.records(11).await;
    let first = &records[0];
    assert_eq!((&first["verdict"], &first["reason"]), (&"deny".into(), &"address_prohibited".into()));
    assert_eq!(first["error"], "127.0.0.1 is a loopback address (127.0.0.0/8)");
    gate.stop(11).await;
}

#[tokio::test]
async fn answers_are_cached_for_their_time_and_no_longer() {
    let gate = Setup::allow(&["a.example"]).ttl(1).start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    for _ in 0..3 {
        let answer = ask(&gate, "a.example", A).await;
        assert!(answer.answers[0].ttl <= 1, "{answer:?}");
    }
    assert_eq!(gate.servers.asked(), ["a.example A"]);
    gate.servers.set("a.example", &["93.184.216.35"]);
    let mut seen = addresses(&ask(&gate, "a.example", A).await);
    let mut flows = 4;
    while seen != ips(&["93.184.216.35"]) {
        sleep(Duration::from_millis(50)).await;
        seen = addresses(&ask(&gate, "a.example", A).await);
        flows += 1;
        assert!(flows < 400, "the answer never expires");
    }
    gate.stop(flows).await;
}

#[tokio::test]
async fn the_lower_and_the_upper_bound_of_the_settings_hold_for_what_is_told() {
    let gate = Setup::allow(&["a.example"])
        .ttl(86_400)
        .settings(|all| all.dns.max_ttl = Duration::from_secs(30))
        .start()
        .await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    let ttl = ask(&gate, "a.example", A).await.answers[0].ttl;
    assert!((28..=30).contains(&ttl), "{ttl}");
    gate.stop(1).await;
}

#[tokio::test]
async fn what_does_not_exist_and_what_fails_is_told_as_such() {
    let gate = Setup::allow(&["\"*.example\""]).start().await;
    gate.servers.set("v4.example", &["93.184.216.34"]);
    gate.servers.reply("broken.example", Reply::Code(ResponseCode::ServFail));
    gate.servers.reply("refused.example", Reply::Code(ResponseCode::Refused));
    let cases = [
        ("gone.example", A, ResponseCode::NXDomain, "allowed"),
        ("v4.example", AAAA, ResponseCode::NoError, "allowed"),
        ("broken.example", A, ResponseCode::ServFail, "dns_failed"),
        ("refused.example", A, ResponseCode::ServFail, "dns_failed"),
    ];
    for (number, (name, kind, code, reason)) in cases.into_iter().enumerate() {
        let answer = ask(&gate, name, kind).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, 0), "{name}");
        let records = gate.records(number + 1).await;
        assert_eq!(records[number]["reason"], reason, "{name}");
    }
    gate.stop(4).await;
}

#[tokio::test]
async fn a_load_balancer_tells_whose_questions_it_brings_over_tcp() {
    let setup = Setup::allow(&["a.example"]).zone("a.example", "93.184.216.34");
    let gate =
        setup.settings(|all| all.listen.dns[0].senders = vec!["127.0.0.0/8".parse().unwrap()]).start().await;
    let mut stream = TcpStream::connect(gate.dns[0]).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 53\r\n").await.unwrap();
    assert_eq!(addresses(&ask_tcp(&mut stream, &question("a.example", A)).await), ips(&["93.184.216.34"]));
    // Without a header: closed, and recorded.
    let mut stream = TcpStream::connect(gate.dns[0]).await.unwrap();
    let bytes = question("a.example", A).to_vec().unwrap();
    stream.write_all(&[&[0, bytes.len() as u8], &bytes[..]].concat()).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    // Over UDP there is no header.
    assert_eq!(addresses(&ask(&gate, "a.example", A).await), ips(&["93.184.216.34"]));
    let records = gate.records(3).await;
    let facts: Vec<_> = records.iter().map(|record| (&record["client"], &record["reason"])).collect();
    assert_eq!(facts[0], (&"192.0.2.7".into(), &"allowed".into()));
    assert_eq!(facts[1], (&"127.0.0.1".into(), &"bad_request".into()));
    assert_eq!(facts[2], (&"127.0.0.1".into(), &"allowed".into()));
}

#[tokio::test]
async fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let gate = Setup::allow(&["a.example"]).start().await;
    let many: Vec<String> = (1..=60).map(|number| format!("93.184.216.{number}")).collect();
    gate.servers.reply(
        "a.example",
        Reply::Truncated(Box::new(Reply::Addresses(many.iter().map(|text| text.parse().unwrap()).collect()))),
    );
    let plain = question("a.example", A);
    let answer = send(&gate, &plain.to_vec().unwrap()).await;
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    assert!(answer.to_vec().unwrap().len() <= 512);
    // 60 addresses take 27 + 60 * 16 bytes: they fit into what EDNS allows, and not into what it may ask for.
    let roomy = with_edns(plain.clone(), 1232);
    assert_eq!(send(&gate, &roomy.to_vec().unwrap()).await.answers.len(), 60);
    let boastful = with_edns(plain.clone(), 700);
    assert!(send(&gate, &boastful.to_vec().unwrap()).await.metadata.truncation);
    let mut stream = TcpStream::connect(gate.dns[0]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask_tcp(&mut stream, &plain).await.answers.len(), 60);
    }
    gate.stop(6).await;
}

#[tokio::test]
async fn other_types_are_told_or_held_back() {
    let gate = Setup::allow(&["a.example"]).start().await;
    let held_back = [
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::ANY,
        RecordType::NULL,
        RecordType::HINFO,
        RecordType::DNSKEY,
        RecordType::DS,
        RecordType::RRSIG,
        RecordType::from(65_280),
    ];
    for kind in held_back {
        let answer = ask(&gate, "a.example", kind).await;
        let told = (answer.metadata.response_code, answer.answers.len());
        assert_eq!(told, (ResponseCode::NoError, 0), "{kind}");
    }
    let zones = [RecordType::AXFR, RecordType::IXFR];
    for kind in zones {
        let code = ask(&gate, "a.example", kind).await.metadata.response_code;
        assert_eq!(code, ResponseCode::Refused, "{kind}");
    }
    assert!(gate.servers.asked().is_empty(), "nobody was asked for those");

    use hickory_proto::rr::rdata::{CNAME, MX, NS, NULL, PTR, SRV, TXT};
    let target = || Name::from_ascii("elsewhere.example.").unwrap();
    let uri = RecordType::from(256);
    let told = [
        (RecordType::TXT, RData::TXT(TXT::new(vec!["v=spf1 -all".into()]))),
        (RecordType::MX, RData::MX(MX::new(10, target()))),
        (RecordType::SRV, RData::SRV(SRV::new(1, 2, 88, target()))),
        (RecordType::CNAME, RData::CNAME(CNAME(target()))),
        (RecordType::NS, RData::NS(NS(target()))),
        (RecordType::PTR, RData::PTR(PTR(target()))),
        (uri, RData::Unknown { code: uri, rdata: NULL::with(b"\0\x01\0\x01krb5srv:m:tcp:kdc".to_vec()) }),
    ];
    for (kind, data) in &told {
        gate.servers.script("a.example", *kind, [Reply::Records(vec![data.clone()])]);
        let answer = ask(&gate, "a.example", *kind).await;
        let found: Vec<&RData> = answer.answers.iter().map(|record| &record.data).collect();
        assert_eq!(found, [data], "{kind}");
    }
    for kind in [RecordType::CAA, RecordType::SOA, RecordType::NAPTR, RecordType::SSHFP, RecordType::TLSA] {
        assert_eq!(
            ask(&gate, "a.example", kind).await.metadata.response_code,
            ResponseCode::NXDomain,
            "{kind}"
        );
    }
    assert_eq!(gate.servers.asked().len(), told.len() + 5, "{:?}", gate.servers.asked());
    // A reverse look-up is a question for a name that no rule lists: no at once, and nobody is asked.
    let reverse = ask(&gate, "34.216.184.93.in-addr.arpa", RecordType::PTR).await;
    assert_eq!(reverse.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(gate.servers.asked().len(), told.len() + 5);
    // What has no name is recorded by its number.
    let all = held_back.len() + zones.len() + told.len() + 5 + 1;
    let records = gate.records(all).await;
    let asked: Vec<&str> = records.iter().filter_map(|record| record["method"].as_str()).collect();
    assert!(asked.contains(&"TYPE65280") && asked.contains(&"URI"), "{asked:?}");
    gate.stop(all).await;
}

#[tokio::test]
async fn a_record_without_data_is_not_passed_on() {
    let gate = Setup::allow(&["a.example"]).start().await;
    gate.servers.script(
        "a.example",
        RecordType::TXT,
        [Reply::Records(vec![RData::Update0(RecordType::TXT)])],
    );
    let answer = ask(&gate, "a.example", RecordType::TXT).await;
    assert_eq!((answer.metadata.response_code, answer.answers), (ResponseCode::NoError, Vec::new()));
    gate.stop(1).await;
}

#[tokio::test]
async fn nothing_of_a_question_but_its_name_and_type_is_passed_on() {
    let gate = Setup::allow(&["a.example"]).start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    let mut message = with_edns(question("a.example", A), 1232);
    // The case of letters is a bit each; a client subnet, a cookie and an option that nobody knows are more.
    message.queries[0] = Query::query(Name::from_ascii("A.exAMPle.").unwrap(), A);
    message.metadata.checking_disabled = true;
    message.metadata.authentic_data = true;
    let edns = message.edns.as_mut().unwrap();
    edns.set_dnssec_ok(true);
    for (code, bytes) in [(8, &b"\0\x01\x18\0\xc0\0\x02"[..]), (10, b"12345678"), (65_001, b"stolen")] {
        edns.options_mut().insert(EdnsOption::Unknown(code, bytes.to_vec()));
    }
    let answer = send(&gate, &message.to_vec().unwrap()).await;
    assert_eq!(gate.servers.asked(), ["a.example A"]);
    // The question comes back letter by letter, as clients that guard against forgery demand (0x20).
    assert_eq!(answer.queries[0].name().to_ascii(), "A.exAMPle.");
    assert_eq!(answer.answers[0].name.to_ascii(), "A.exAMPle.");
    assert!(!answer.metadata.authentic_data && !answer.metadata.authoritative);
    assert!(answer.edns.unwrap().options().as_ref().is_empty());
    gate.stop(1).await;
}

#[tokio::test]
async fn a_flood_of_names_below_an_allowed_one_leaves_the_others_their_answers() {
    let policy = "version: 1\nprofiles:\n  - name: p\n    allow: [\"*.flood.example\", {host: \"*.git.example\", ports: [22], protocol: tcp}]\n";
    let gate = Setup::new(policy).start().await;
    gate.servers.set("*.flood.example", &["93.184.216.66"]);
    gate.servers.set("eu.git.example", &["93.184.216.34"]);
    const FLOOD: usize = 6000;
    let flood = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    flood.connect(gate.dns[0]).await.unwrap();
    let other = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    other.connect(gate.dns[0]).await.unwrap();
    let good = question("eu.git.example", A);
    let (mut refused, mut buffer) = (0, [0; 512]);
    for round in 0..FLOOD / 100 {
        for number in 0..100 {
            let name = format!("n{round}-{number}.flood.example");
            flood.send(&question(&name, A).to_vec().unwrap()).await.unwrap();
        }
        other.send(&good.to_vec().unwrap()).await.unwrap();
        let count = timeout(PATIENCE, other.recv(&mut buffer)).await.expect("no answer").unwrap();
        let answer = Message::from_vec(&buffer[..count]).unwrap();
        assert_eq!(addresses(&answer), ips(&["93.184.216.34"]), "round {round}");
        for _ in 0..100 {
            let count = timeout(PATIENCE, flood.recv(&mut buffer)).await.expect("no answer").unwrap();
            let code = Message::from_vec(&buffer[..count]).unwrap().metadata.response_code;
            refused += usize::from(code == ResponseCode::Refused);
        }
    }
    let records = gate.records(FLOOD + FLOOD / 100).await;
    let limited: Vec<_> = records.iter().filter(|record| record["reason"] == "limit_client").collect();
    assert_eq!(limited.len(), refused);
    assert!(limited.iter().all(|record| record["client"] == "127.0.0.2"));
    assert!(limited.iter().all(|record| record["error"] == "this client asks too many DNS questions"));
    // The other's one name was asked of the server once, whatever came between.
    assert_eq!(gate.servers.asked().iter().filter(|asked| asked.starts_with("eu.git")).count(), 1);
    gate.stop(records.len()).await;
}

#[tokio::test]
async fn a_client_whose_names_nobody_answers_for_is_refused_and_others_have_their_answers() {
    let policy = "version: 1\nprofiles:\n  - name: p\n    allow: [\"*.silent.example\", \"a.example\"]\n";
    let gate =
        Setup::new(policy).settings(|all| all.timeouts.drain = Duration::from_millis(100)).start().await;
    gate.servers.reply("*.silent.example", Reply::Silence);
    gate.servers.set("a.example", &["93.184.216.34"]);
    const IN_VAIN: usize = 200;
    let in_vain = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    in_vain.connect(gate.dns[0]).await.unwrap();
    for number in 0..IN_VAIN {
        let name = format!("n{number}.silent.example");
        in_vain.send(&question(&name, A).to_vec().unwrap()).await.unwrap();
    }
    while gate.servers.asked().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    // Were it to wait for others, it would be refused before any of them is given up.
    assert_eq!(addresses(&ask(&gate, "a.example", A).await), ips(&["93.184.216.34"]));
    let mut buffer = [0; 512];
    let count = timeout(PATIENCE, in_vain.recv(&mut buffer)).await.expect("no answer").unwrap();
    let code = Message::from_vec(&buffer[..count]).unwrap().metadata.response_code;
    assert_eq!(code, ResponseCode::Refused);
    let records = gate.records(2).await;
    let limited = records.iter().find(|record| record["reason"] == "limit_client").unwrap();
    assert_eq!(limited["client"], "127.0.0.2");
    assert_eq!(limited["error"], "too many look-ups of this client are under way");
    gate.stop(IN_VAIN + 1).await;
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_others_have_theirs() {
    let gate = Setup::allow(&["a.example"]).start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    let from = async |ip: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        socket.connect(gate.dns[0]).await
    };
    let (mut open, message) = (Vec::new(), question("a.example", A));
    // Each has its place before the next one comes; they keep it in silence.
    for _ in 0..128 {
        let mut stream = from("127.0.0.2").await.unwrap();
        assert_eq!(addresses(&ask_tcp(&mut stream, &message).await), ips(&["93.184.216.34"]));
        open.push(stream);
    }
    // A reset may overtake the news that the connection stands.
    let beyond = async {
        let mut stream = from("127.0.0.2").await?;
        timeout(PATIENCE, stream.read_u8()).await.expect("it stays open")
    };
    assert_eq!(beyond.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let records = gate.records(129).await;
    let told = ["ingress", "client", "verdict", "reason", "error"].map(|key| records[128][key].clone());
    let error = "this client has too many connections open";
    assert_eq!(told, ["dns", "127.0.0.2", "deny", "limit_client", error]);
    assert_eq!(gate.metric("exeat_connections_refused_total").await, Some(1.0));
    let mut other = from("127.0.0.3").await.unwrap();
    assert_eq!(addresses(&ask_tcp(&mut other, &message).await), ips(&["93.184.216.34"]));
    drop(open);
    // Once they are gone there is room again.
    let bytes = message.to_vec().unwrap();
    let framed = [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    let again = async || {
        let mut stream = from("127.0.0.2").await?;
        stream.write_all(&framed).await?;
        timeout(PATIENCE, stream.read_u16()).await.expect("it stays open")
    };
    let (deadline, mut refused) = (Instant::now() + PATIENCE, 1);
    while again().await.is_err() {
        assert!(Instant::now() < deadline, "the places are never given back");
        refused += 1;
    }
    gate.stop(130 + refused).await;
}

#[tokio::test]
async fn questions_over_tcp_come_in_any_pieces_and_several_at_once() {
    let gate = Setup::allow(&["\"*.example\""]).start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    gate.servers.set("b.example", &["93.184.216.35"]);
    let framed = |name: &str| {
        let bytes = question(name, A).to_vec().unwrap();
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
    };
    let mut stream = TcpStream::connect(gate.dns[0]).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let flight = [framed("a.example"), framed("b.example"), framed("a.example")].concat();
    for piece in flight.chunks(3) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    for expected in ["93.184.216.34", "93.184.216.35", "93.184.216.34"] {
        let mut answer = vec![0; usize::from(timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(addresses(&Message::from_vec(&answer).unwrap()), ips(&[expected]));
    }
    // A message of no length, or one that is cut, ends the connection without a record.
    for bytes in [&[0, 0][..], &framed("a.example")[..20]] {
        let mut stream = TcpStream::connect(gate.dns[0]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
    gate.stop(3).await;
}

#[tokio::test]
async fn service_bindings_can_be_told_without_what_leads_around_the_door() {
    use hickory_proto::rr::rdata::svcb::{
        Alpn, EchConfigList, IpHint, Mandatory, SVCB, SvcParamKey, SvcParamValue,
    };
    use hickory_proto::rr::rdata::{A as Ipv4, HTTPS};
    let gate =
        Setup::allow(&["a.example"]).settings(|all| all.dns.manners.https = Https::WithoutEch).start().await;
    let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into()])));
    let ech = (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(vec![1, 2, 3])));
    let hint = (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![Ipv4::new(127, 0, 0, 1)])));
    let mandatory =
        (SvcParamKey::Mandatory, SvcParamValue::Mandatory(Mandatory(vec![SvcParamKey::EchConfigList])));
    let record = |parameters| RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters)));
    gate.servers.script(
        "a.example",
        RecordType::HTTPS,
        [Reply::Records(vec![
            record(vec![alpn.clone(), hint, ech.clone()]),
            record(vec![mandatory, alpn.clone(), ech]),
        ])],
    );
    let answer = ask(&gate, "a.example", RecordType::HTTPS).await;
    let told: Vec<RData> = answer.answers.into_iter().map(|record| record.data).collect();
    assert_eq!(told, [record(vec![alpn])]);
    gate.stop(1).await;
}

#[tokio::test]
async fn report_mode_answers_everything_but_denies_and_special_addresses() {
    let policy = "version: 1\nprofiles:\n  - name: learn\n    mode: report\n    deny: [denied.example]\n";
    let gate = Setup::new(policy).start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    gate.servers.set("inside.example", &["10.0.0.1"]);
    assert_eq!(addresses(&ask(&gate, "a.example", A).await), ips(&["93.184.216.34"]));
    assert_eq!(addresses(&ask(&gate, "inside.example", A).await), ips(&[]));
    assert_eq!(ask(&gate, "denied.example", A).await.metadata.response_code, ResponseCode::NXDomain);
    let records = gate.records(3).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| (record["reason"].as_str().unwrap(), record["would_deny"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("report_only", true), ("address_prohibited", false), ("denied_by_rule", false)]);
    gate.stop(3).await;
}

#[tokio::test]
async fn what_is_no_question_gets_the_code_for_it_or_nothing() {
    let gate = Setup::allow(&["a.example"]).start().await;
    let good = question("a.example", A);
    let mut several = good.clone();
    several.add_query(good.queries[0].clone());
    let mut none = good.clone();
    none.queries.clear();
    let mut chaos = good.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut newer = with_edns(good.clone(), 1232);
    newer.edns.as_mut().unwrap().set_version(1);
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Update;
    let bytes = |message: &Message| message.to_vec().unwrap();
    let mut cut = bytes(&good);
    cut.truncate(20);
    let mut looped = bytes(&good)[..12].to_vec();
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    let mut dotted = bytes(&good)[..12].to_vec();
    dotted.extend(b"\x09a.example\0\0\x01\0\x01");
    let mut spaced = bytes(&good)[..12].to_vec();
    spaced.extend(b"\x03a b\x07example\0\0\x01\0\x01");
    let mut root = bytes(&good)[..12].to_vec();
    root.extend(b"\0\0\x02\0\x01");
    let mut long = with_edns(good.clone(), 1232);
    long.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(12, vec![0; 5000]));
    let long = bytes(&long);
    let cases = [
        (bytes(&several), ResponseCode::FormErr),
        (bytes(&none), ResponseCode::FormErr),
        (bytes(&chaos), ResponseCode::Refused),
        (bytes(&newer), ResponseCode::BADVERS),
        (bytes(&update), ResponseCode::NotImp),
        (cut, ResponseCode::FormErr),
        (looped, ResponseCode::FormErr),
        (dotted, ResponseCode::Refused),
        (spaced, ResponseCode::Refused),
        (root, ResponseCode::Refused),
        (long, ResponseCode::FormErr),
    ];
    let count = cases.len();
    for (bytes, code) in cases {
        let answer = send(&gate, &bytes).await;
        // 16 is BADVERS or BADSIG, by where it stands.
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(code), "{bytes:x?}");
    }
    // Neither an answer nor a scrap is answered: two servers could go on for ever.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut response = good.clone().into_response();
    response.metadata.id = 7;
    socket.send_to(&bytes(&response), gate.dns[0]).await.unwrap();
    socket.send_to(&[0; 11], gate.dns[0]).await.unwrap();
    socket.send_to(&[], gate.dns[0]).await.unwrap();
    gate.servers.set("a.example", &["93.184.216.34"]);
    socket.send_to(&bytes(&good), gate.dns[0]).await.unwrap();
    let mut buffer = [0; 512];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.id, good.metadata.id);
    let records = gate.records(count + 1).await;
    assert!(records[..count].iter().all(|record| record["reason"] == "bad_request"), "{records:#?}");
    assert_eq!(gate.servers.asked(), ["a.example A"]);
    gate.stop(count + 1).await;
}

#[tokio::test]
async fn a_listener_on_every_address_answers_from_the_one_that_was_asked() {
    let gate = Setup::allow(&["a.example"])
        .settings(|all| all.listen.dns = vec!["[::]:0".parse().unwrap()])
        .start()
        .await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    let question = question("a.example", A).to_vec().unwrap();
    for (local, asked) in [("127.0.0.1", "127.0.0.2"), ("127.0.0.3", "127.0.0.1"), ("::1", "::1")] {
        let socket = UdpSocket::bind((local.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
        // A connected socket takes nothing from elsewhere.
        socket.connect((asked.parse::<IpAddr>().unwrap(), gate.dns[0].port())).await.unwrap();
        socket.send(&question).await.unwrap();
        let mut buffer = [0; 512];
        timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("no answer came from the address").unwrap();
    }
    let clients: Vec<_> =
        gate.records(3).await.iter().map(|record| record["client"].as_str().unwrap().to_owned()).collect();
    assert_eq!(clients, ["127.0.0.1", "127.0.0.3", "::1"]);
    gate.stop(3).await;
}

#[tokio::test]
async fn a_client_that_asks_too_much_is_refused_and_every_question_is_recorded() {
    let gate = Setup::allow(&["a.example"]).start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    let mut stream = TcpStream::connect(gate.dns[0]).await.unwrap();
    let message = question("a.example", A);
    let mut refused = 0;
    for _ in 0..4000 {
        let code = ask_tcp(&mut stream, &message).await.metadata.response_code;
        refused += usize::from(code == ResponseCode::Refused);
    }
    let records = gate.records(4000).await;
    let limited = records.iter().filter(|record| record["reason"] == "limit_client").count();
    assert_eq!(limited, refused);
    gate.stop(4000).await;
}

#[tokio::test]
async fn a_resolver_that_asks_our_own_door_is_refused_at_the_start() {
    use exeat::policy::document::Sources;
    use exeat::resolve::{Circle, Fault};
    use exeat::server::{Server, StartError};
    let mut settings = Setup::allow(&["a.example"]).settings;
    // An address that no other run of this test has.
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, b, c, d);
    settings.listen.dns = vec![SocketAddr::new(own.into(), 3153).into()];
    settings.dns.servers = vec![SocketAddr::new(own.to_ipv6_mapped().into(), 3153).into()];
    let sources = Sources { paths: Vec::new(), allow: vec!["a.example".into()] };
    let refused = Server::new(&settings, sources);
    assert!(
        matches!(refused, Err(StartError::Resolve(Fault::Circle(Circle::Direct(_))))),
        "{:?}",
        refused.err()
    );
}

#[tokio::test]
async fn a_server_over_tls_that_cannot_prove_itself_is_told_and_nothing_goes_in_the_clear() {
    let gate = Setup::allow(&["a.example"]);
    let tls = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("tls://{}#dns.example", tls.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let gate = gate.settings(|all| {
        all.dns.servers = vec![server.parse().unwrap()];
        all.dns.ca = Some(ca);
    });
    let gate = gate.start().await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    let serving = tokio::spawn(async move {
        loop {
            // Speaks no TLS.
            let (mut stream, _) = tls.accept().await.unwrap();
            let _ = stream.write_all(b"no TLS here").await;
        }
    });
    assert_eq!(ask(&gate, "a.example", A).await.metadata.response_code, ResponseCode::ServFail);
    let record = gate.record().await;
    assert_eq!(record["reason"], "dns_failed");
    assert_eq!(record["error"], "look-up failed: the DNS server does not complete the TLS handshake");
    assert!(gate.servers.asked().is_empty());
    serving.abort();
    gate.stop(1).await;
}

#[tokio::test]
async fn open_questions_end_with_a_word_when_exeat_stops() {
    let gate = Setup::allow(&["a.example"])
        .settings(|all| all.timeouts.drain = Duration::from_millis(100))
        .start()
        .await;
    gate.servers.reply("a.example", Reply::Silence);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question("a.example", A).to_vec().unwrap(), gate.dns[0]).await.unwrap();
    while gate.servers.asked().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    gate.stop(1).await;
}
