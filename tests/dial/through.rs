//! By way of a parent: which connections are made at all.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use exeat::metrics::Metrics;
use exeat::mistake::Place;
use exeat::parent::{Parents, Resolve, Settings, Url};
use exeat::policy::Policy;
use exeat::policy::document::load_text;
use exeat::reason::Reason;
use exeat::via::Via;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::dialling::{Scene, TIMEOUT, was_reached};

fn policy() -> Policy {
    let text = "version: 1\nprofiles:\n  - name: all\n    parent: corp\n    allow:\n      \
                - { host: \"*.example\", ports: [7], protocol: tcp, private: true }\n";
    load_text(Path::new("p.yaml"), text).unwrap().builder.finish(1)
}

/// A scene whose flows go through a parent with this URL, and what is counted of it.
async fn scene(url: &str, own: &[SocketAddr]) -> (Scene, Metrics) {
    let corp = Settings {
        name: "corp".to_owned(),
        place: Place::start(Path::new("exeat.yaml")),
        urls: vec![Url::parse(url).unwrap()],
        resolve: Resolve::Here,
        account: None,
        ca: None,
    };
    let metrics = Metrics::new().unwrap();
    let parents = Parents::load(&[corp], &Via::new(), &metrics).unwrap();
    (Scene::with(policy(), own, TIMEOUT).await.through(Arc::new(parents)), metrics)
}

/// A proxy that answers the requests of its connections with these, one after the other; returns what was asked.
async fn answering(listener: &TcpListener, answers: &[&str]) -> Vec<String> {
    let mut asked = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        asked.push(String::from_utf8(head).unwrap().lines().next().unwrap().to_owned());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    asked
}

#[tokio::test]
async fn a_parent_that_is_exeat_itself_is_not_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    for host in ["127.0.0.1", "127.3.2.1", "parent.example"] {
        let (scene, _) = scene(&format!("http://{host}:{}", own.port()), &[own]).await;
        scene.dns.set("parent.example", &["127.0.0.1"]);
        scene.dns.set("a.example", &["127.0.0.1"]);
        let (reason, told) = scene.error("a.example", 7).await;
        assert_eq!(reason, Reason::SelfConnect, "{host}: {told}");
    }
    assert!(!was_reached(listener).await);
}

#[tokio::test]
async fn an_address_that_a_parent_can_t_reach_gives_way_to_the_next_and_a_refusal_to_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (scene, _) = scene(&format!("http://{}", listener.local_addr().unwrap()), &[]).await;
    scene.dns.set("a.example", &["127.0.9.1", "127.0.9.2"]);
    let answers = ["HTTP/1.1 503 No\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"];
    let (upstream, asked) = tokio::join!(scene.dial("a.example", 7), answering(&listener, &answers));
    assert_eq!(asked, ["CONNECT 127.0.9.1:7 HTTP/1.1", "CONNECT 127.0.9.2:7 HTTP/1.1"]);
    let upstream = upstream.unwrap();
    assert_eq!(upstream.reached().address.unwrap().to_string(), "127.0.9.2:7");
    assert_eq!(upstream.reached().parent(), Some("corp"));

    let refusal = ["HTTP/1.1 403 No\r\n\r\n"];
    let ((reason, told), asked) = tokio::join!(scene.error("a.example", 7), answering(&listener, &refusal));
    assert_eq!((reason, asked.len()), (Reason::ParentFailed, 1), "{told}");
    assert!(told.ends_with("refuses the destination: it answers 403"), "{told}");
    assert!(!was_reached(listener).await);
}

#[tokio::test]
async fn a_parent_that_is_not_there_is_not_tried_for_each_address() {
    // Bound, and nobody listens.
    let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap().as_socket().unwrap());
    let (scene, metrics) = scene(&url, &[]).await;
    scene.dns.set("a.example", &["127.0.9.1", "127.0.9.2", "127.0.9.3"]);
    let (reason, told) = scene.error("a.example", 7).await;
    assert_eq!(reason, Reason::ParentFailed);
    assert!(told.contains("refused the connection"), "{told}");
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    assert!(text.contains(&format!("{{parent=\"corp\",result=\"failed\",url=\"{url}\"}} 1\n")), "{text}");
}
