//! How connections leave this host: by which address, by which family, and what is said when they can't.

use std::path::Path;

use exeat::families::Families;
use exeat::policy::Policy;
use exeat::policy::document::load_text;
use exeat::policy::outgoing::Outgoing;
use exeat::reason::Reason;
use tokio::net::TcpListener;

use crate::dialling::{Scene, listen};

/// One profile with this `outgoing`, whose rule is for the names below `example` and for loopback addresses.
fn policy(outgoing: &str) -> Policy {
    several(&[("only", outgoing, "*.example")])
}

/// Profiles by name, `outgoing` and pattern, for every client.
fn several(profiles: &[(&str, &str, &str)]) -> Policy {
    let mut text = "version: 1\nprofiles:\n".to_owned();
    for (name, outgoing, pattern) in profiles {
        let outgoing =
            if outgoing.is_empty() { String::new() } else { format!("    outgoing: {outgoing}\n") };
        text += &format!(
            "  - name: {name}\n{outgoing}    allow:\n      \
             - {{ host: \"{pattern}\", ports: [1-65535], protocol: tcp, private: true }}\n      \
             - {{ cidr: 127.0.0.0/8, ports: [1-65535], protocol: tcp }}\n      \
             - {{ cidr: ::1, ports: [1-65535], protocol: tcp }}\n"
        );
    }
    load_text(Path::new("policy.yaml"), &text).unwrap().builder.finish(1)
}

/// Where the next connection to a listener comes from.
async fn came_from(listener: &TcpListener) -> String {
    listener.accept().await.unwrap().1.ip().to_string()
}

#[tokio::test]
async fn a_connection_comes_from_the_source_of_the_profile_whose_rule_allows_it() {
    let scene = Scene::new(several(&[
        ("one", "{ source: [127.0.7.1] }", "one.example"),
        ("two", "{ source: [127.0.7.2, \"::1\"] }", "two.example"),
        ("silent", "", "silent.example"),
        ("empty", "{}", "empty.example"),
    ]))
    .await
    .leaving(Outgoing { source_v4: Some([127, 0, 7, 9].into()), ..Outgoing::default() });
    let (listeners, port) = listen(&["127.0.0.1"]).await;
    for (name, source) in [
        ("one.example", "127.0.7.1"),
        ("two.example", "127.0.7.2"),
        ("silent.example", "127.0.7.9"),
        ("empty.example", "127.0.0.1"),
    ] {
        scene.dns.set(name, &["127.0.0.1"]);
        assert!(scene.dial(name, port).await.is_ok());
        assert_eq!(came_from(&listeners[0]).await, source, "{name}");
    }
}

#[tokio::test]
async fn a_family_without_a_source_is_neither_dialled_nor_asked_for() {
    let scene = Scene::new(policy("{ source: [127.0.7.1] }")).await;
    let (listeners, port) = listen(&["127.0.0.1", "::1"]).await;
    scene.dns.set("both.example", &["127.0.0.1", "::1"]);
    assert_eq!(scene.dialled("both.example", port).await.ip().to_string(), "127.0.0.1");
    assert_eq!(came_from(&listeners[0]).await, "127.0.7.1");
    assert_eq!(scene.dns.asked(), ["both.example A"]);
    scene.dns.set("v6.example", &["::1"]);
    let error = (Reason::DnsFailed, "look-up failed: the name has no IPv4 addresses".to_owned());
    assert_eq!(scene.error("v6.example", port).await, error);
    let text = format!("connecting to [::1]:{port} failed: `outgoing` has no IPv6 source address");
    assert_eq!(scene.error("[::1]", port).await, (Reason::DialFailed, text));
}

#[tokio::test]
async fn the_family_says_what_is_dialled_and_what_first() {
    for (family, dialled, asked) in [
        ("ipv4", "127.0.0.1", &["both.example A"][..]),
        ("ipv6", "::1", &["both.example AAAA"]),
        ("prefer_ipv4", "127.0.0.1", &["both.example A", "both.example AAAA"]),
        ("prefer_ipv6", "::1", &["both.example A", "both.example AAAA"]),
    ] {
        let scene = Scene::new(policy(&format!("{{ family: {family} }}"))).await;
        let (_listeners, port) = listen(&["127.0.0.1", "::1"]).await;
        scene.dns.set("both.example", &["127.0.0.1", "::1"]);
        assert_eq!(scene.dialled("both.example", port).await.ip().to_string(), dialled, "{family}");
        assert_eq!(scene.dns.asked(), asked, "{family}");
    }
}

#[tokio::test]
async fn a_preferred_family_gives_way_to_the_other() {
    let scene = Scene::new(policy("{ family: prefer_ipv4 }")).await;
    let (_listeners, port) = listen(&["::1"]).await;
    scene.dns.set("both.example", &["127.0.0.1", "::1"]);
    assert_eq!(scene.dialled("both.example", port).await.ip().to_string(), "::1");
    scene.dns.set("v6.example", &["::1"]);
    assert_eq!(scene.dialled("v6.example", port).await.ip().to_string(), "::1");
}

#[tokio::test]
async fn a_family_that_another_profile_may_dial_is_asked_for() {
    let scene =
        Scene::new(several(&[("narrow", "{ family: ipv4 }", "*.example"), ("wide", "", "both.example")]))
            .await;
    let (_listeners, port) = listen(&["127.0.0.1", "::1"]).await;
    scene.dns.set("both.example", &["127.0.0.1", "::1"]);
    assert_eq!(scene.dialled("both.example", port).await.ip().to_string(), "::1");
    // The rule of the narrow one is the only one for this name.
    scene.dns.set("other.example", &["127.0.0.1", "::1"]);
    assert_eq!(scene.dialled("other.example", port).await.ip().to_string(), "127.0.0.1");
    scene.dns.set("v6.example", &["::1"]);
    let text = format!("connecting to [::1]:{port} failed: `outgoing` leaves its family out");
    assert_eq!(scene.error("v6.example", port).await, (Reason::DialFailed, text));
}

#[tokio::test]
async fn what_can_not_leave_as_it_should_fails_and_says_why() {
    let (listeners, port) = listen(&["127.0.0.1"]).await;
    for (outgoing, why) in [
        ("{ source: [192.0.2.7] }", "the source address 192.0.2.7 is not one of this host"),
        ("{ interface: exeat-none0 }", "the interface exeat-none0 is not there"),
    ] {
        let scene = Scene::new(policy(outgoing)).await;
        let text = format!("connecting to 127.0.0.1:{port} failed: {why}");
        assert_eq!(scene.error("127.0.0.1", port).await, (Reason::DialFailed, text));
    }
    let listener = listeners.into_iter().next().unwrap().into_std().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "something connected");
}

#[tokio::test]
async fn a_default_holds_where_no_profile_says_anything() {
    let scene = Scene::new(policy("")).await;
    let scene = scene.leaving(Outgoing { families: Families::V4, ..Outgoing::default() });
    let (_listeners, port) = listen(&["127.0.0.1", "::1"]).await;
    scene.dns.set("both.example", &["127.0.0.1", "::1"]);
    assert_eq!(scene.dialled("both.example", port).await.ip().to_string(), "127.0.0.1");
    assert_eq!(scene.dns.asked(), ["both.example A"]);
}
