//! Where names lead: no rule for a name opens an address that is not for the world, and no denied name is looked up.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::dns::Dns;
use crate::support::tls::{ACCESS_DENIED, hello};
use crate::support::upstream::Upstream;
use crate::support::{Gate, Setup, end};

const SPECIAL: [&str; 22] = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.1.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "2001:0:0:0:0:0:80ff:fffe",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
];

/// A gate whose rules have `ports: [port]` and `protocol: tcp`, and whose DNS is this.
async fn gate(dns: &Dns, rules: &[&str]) -> Gate {
    let mut setup = Setup::allow(rules);
    setup.settings.dns.servers = vec![dns.address().into()];
    setup.start().await
}

async fn connect(gate: &Gate, to: &str) -> String {
    gate.say(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn a_name_that_leads_to_a_special_address_is_refused_and_nothing_is_dialled() {
    let dns = Dns::start().await;
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let hosts: String = SPECIAL.iter().enumerate().map(|(n, ip)| format!("{ip} h{n}.example\n")).collect();
    let mut setup = Setup::allow(&[&format!("{{ host: '*.example', ports: [{port}], protocol: tcp }}")]);
    setup.hosts = hosts;
    setup.settings.dns.servers = vec![dns.address().into()];
    let gate = setup.start().await;
    for (n, address) in SPECIAL.iter().enumerate() {
        dns.set(&format!("d{n}.example"), &[address]);
        for name in [format!("h{n}.example"), format!("d{n}.example")] {
            let answer = connect(&gate, &format!("{name}:{port}")).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{name} {address}: {answer}");
            let said = "error=destination_ip_prohibited; details=\"address_prohibited\"";
            assert!(answer.contains(said), "{name} {address}: {answer}");
        }
    }
    for record in gate.records(2 * SPECIAL.len()).await {
        assert_eq!((&record["reason"], &record["verdict"]), (&"address_prohibited".into(), &"deny".into()));
        assert!(record["address"].is_null() && record["dial_ms"].is_null(), "{record}");
    }
    assert_eq!(upstream.connections(), 0);
    gate.stop().await;
}

#[tokio::test]
async fn one_prohibited_address_spoils_no_other_and_is_never_dialled() {
    let dns = Dns::start().await;
    let (good, port, bad) = loop {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = good.local_addr().unwrap().port();
        if let Ok(bad) = TcpListener::bind(("127.0.0.2", port)).await {
            break (good, port, bad);
        }
    };
    dns.set("mixed.example", &["127.0.0.2", "169.254.169.254", "127.0.0.1", "::1"]);
    let rule = format!("{{ host: '*.example', ports: [{port}], protocol: tcp, private: [127.0.0.1/32] }}");
    let gate = gate(&dns, &[&rule]).await;
    let tunnel = gate.tunnel(&format!("mixed.example:{port}")).await;
    good.accept().await.unwrap();
    drop(tunnel);
    assert_eq!(gate.record().await["address"], "127.0.0.1");
    let bad = bad.into_std().unwrap();
    assert!(bad.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    gate.stop().await;
}

#[tokio::test]
async fn private_opens_no_metadata_address() {
    let dns = Dns::start().await;
    dns.set("meta.example", &["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254"]);
    let gate = gate(&dns, &["{ host: meta.example, ports: [80], protocol: tcp, private: true }"]).await;
    let answer = connect(&gate, "meta.example:80").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("address_prohibited"), "{answer}");
    gate.stop().await;
}

#[tokio::test]
async fn exeat_does_not_connect_to_itself_by_whatever_way() {
    let dns = Dns::start().await;
    dns.set("self.example", &["127.0.0.1"]);
    dns.set("other.example", &["127.3.2.1"]);
    dns.set("zero.example", &["0.0.0.0"]);
    dns.set("mapped.example", &["::ffff:127.0.0.1"]);
    let gate = gate(
        &dns,
        &[
            "{ host: '*.example', ports: [1-65535], protocol: tcp, private: true }",
            "{ cidr: 127.0.0.0/8, ports: [1-65535], protocol: tcp }",
        ],
    )
    .await;
    let mut count = 0;
    for port in [gate.address.port(), gate.admin.port()] {
        for host in
            ["self.example", "other.example", "zero.example", "mapped.example", "127.0.0.1", "127.9.9.9"]
        {
            let answer = connect(&gate, &format!("{host}:{port}")).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
            assert!(
                answer.contains("error=proxy_loop_detected; details=\"self_connect\""),
                "{host}: {answer}"
            );
            count += 1;
        }
    }
    assert!(gate.records(count).await.iter().all(|record| record["reason"] == "self_connect"));
    gate.stop().await;
}

#[tokio::test]
async fn a_name_that_may_not_be_reached_is_never_looked_up() {
    let dns = Dns::start().await;
    dns.set("allowed.example", &["127.0.0.1"]);
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let rule = format!("{{ host: allowed.example, ports: [{port}], protocol: tls, private: true }}");
    let gate = gate(&dns, &[&rule]).await;
    for to in
        ["secret-data.evil.example:443", "evil.example:80", "allowed.example:8443", "x.allowed.example:443"]
    {
        assert!(connect(&gate, to).await.starts_with("HTTP/1.1 403 "), "{to}");
        let request = format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        assert!(gate.say(request).await.starts_with("HTTP/1.1 403 "), "{to}");
    }
    assert_eq!(dns.asked(), [""; 0]);

    // Nor is a server name that is not the destination's.
    let mut tunnel = gate.tunnel(&format!("allowed.example:{port}")).await;
    tunnel.write_all(&hello(&["evil.example"])).await.unwrap();
    assert_eq!(end(&mut tunnel).await.last, ACCESS_DENIED);
    drop(tunnel);
    assert_eq!(dns.asked(), ["allowed.example A", "allowed.example AAAA"]);
    gate.stop().await;
}
