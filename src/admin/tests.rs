use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::header::{ALLOW, HOST};
use serde_json::{Value, json};

use super::*;
use crate::client::Client;
use crate::destination::Destination;
use crate::flow::{Flow, Limits};
use crate::host::Name;
use crate::ingress::Ingress;
use crate::metrics::Metrics;
use crate::policy::document::load_text;
use crate::record::Sink;

const POLICY: &str = "version: 1
profiles:
  - name: build
    clients: [10.0.1.0/24]
    allow: [crates.io, '*.crates.io', { host: updates.example, protocol: http, methods: [GET] }]
    deny: [gist.github.com]
  - name: idle
";

fn state(access: Access) -> State {
    let policy = load_text(Path::new("p.yaml"), POLICY).unwrap().builder.finish(7);
    let ledger = Ledger::new(Arc::new(Metrics::new().unwrap()), Sink::none(), Limits::default());
    State::new(Arc::new(ledger), Arc::new(ArcSwap::from_pointee(policy)), Arc::default(), access)
}

fn begin(state: &State, port: u16) -> Flow {
    let client = Client::new(([10, 0, 1, 9], port).into(), [10, 0, 1, 1].into());
    let flow = state.ledger.begin(Ingress::Connect, client);
    flow.to(&Destination::parse("static.crates.io:443").unwrap());
    flow
}

async fn ask(state: &State, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let answer = respond(state, [127, 0, 0, 1].into(), request).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn request(method: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(target).header(HOST, "127.0.0.1:3130");
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

async fn get(state: &State, target: &str) -> (StatusCode, String) {
    ask(state, request("GET", target, "")).await
}

async fn json_of(state: &State, target: &str) -> Value {
    let (status, body) = get(state, target).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_browser_can_not_be_rebound_to_the_door() {
    let state = state(Access { names: vec![Name::parse("exeat.corp.example").unwrap()], expose_all: false });
    for (hosts, status) in [
        (&["127.0.0.1:3130"] as &[&str], 200),
        (&["localhost:3130"], 200),
        (&["LOCALHOST."], 200),
        (&["[::1]:3130"], 200),
        (&["exeat.corp.example"], 200),
        (&["evil.example"], 403),
        (&["evil.example:3130"], 403),
        (&["127.0.0.1.evil.example"], 403),
        (&["127.1"], 400),
        (&[""], 400),
        (&[], 400),
        (&["127.0.0.1", "127.0.0.1"], 400),
    ] {
        let mut request = request("GET", "/healthz", "");
        request.headers_mut().remove(HOST);
        for host in hosts {
            request.headers_mut().append(HOST, host.parse().unwrap());
        }
        assert_eq!(ask(&state, request).await.0, status, "{hosts:?}");
    }
    let absolute = request("GET", "http://evil.example/healthz", "");
    assert_eq!(ask(&state, absolute).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn beyond_loopback_nobody_learns_who_goes_where() {
    for expose_all in [false, true] {
        let state = state(Access { names: Vec::new(), expose_all });
        for (target, private) in [
            ("/metrics", false),
            ("/healthz", false),
            ("/flows", true),
            ("/policy", true),
            ("/explain", true),
        ] {
            let answer = respond(&state, [10, 0, 0, 1].into(), request("GET", target, "")).await;
            let refused = answer.status() == StatusCode::FORBIDDEN;
            assert_eq!(refused, private && !expose_all, "{target}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let state = state(Access::default());
    for (method, target, status, allow) in [
        ("GET", "/", 404, None),
        ("GET", "/metrics/", 404, None),
        ("POST", "/metrics", 405, Some("GET, HEAD")),
        ("DELETE", "/flows", 405, Some("GET, HEAD")),
        ("GET", "/explain", 405, Some("POST")),
        ("HEAD", "/flows", 200, None),
        ("GET", "/flows?limit=x", 400, None),
        ("GET", "/policy?offset=-1", 400, None),
        ("GET", "/policy?limit=0", 400, None),
        ("GET", "/policy?limit=1", 200, None),
        ("GET", "/policy?limit=10000", 200, None),
        ("GET", "/policy?limit=10001", 400, None),
    ] {
        let answer = respond(&state, [127, 0, 0, 1].into(), request(method, target, "")).await;
        let allowed = answer.headers().get(ALLOW).map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), allowed), (status, allow), "{method} {target}");
    }
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let state = state(Access::default());
    let (status, body) = get(&state, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "not ready: the listeners are not bound, no policy is loaded\n");
    state.readiness.listening();
    state.readiness.policy_loaded();
    assert_eq!(get(&state, "/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    state.readiness.draining();
    assert_eq!(get(&state, "/readyz").await.1, "not ready: exeat is draining\n");
    assert_eq!(get(&state, "/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn open_flows_are_shown_up_to_a_limit() {
    let state = state(Access::default());
    assert_eq!(json_of(&state, "/flows").await, json!({ "open": 0, "flows": [] }));
    let flows: Vec<Flow> = (1..=2_000).map(|port| begin(&state, port)).collect();
    flows[0].counters().sent.store(5, std::sync::atomic::Ordering::Relaxed);
    for (target, shown) in [
        ("/flows", 1_000),
        ("/flows?limit=0", 0),
        ("/flows?limit=1", 1),
        ("/flows?limit=1500", 1_500),
        ("/flows?limit=5000", 2_000),
    ] {
        let value = json_of(&state, target).await;
        assert_eq!(value["open"], 2_000);
        assert_eq!(value["flows"].as_array().map(Vec::len), Some(shown), "{target}");
    }
    let value = json_of(&state, "/flows?limit=2000").await;
    let rows = value["flows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["client"] == "10.0.1.9:1").unwrap();
    assert_eq!((&row["destination"], &row["sent"]), (&json!("static.crates.io:443"), &json!(5)));
    assert_eq!(row["flow"], flows[0].id().to_string());
}

#[tokio::test]
async fn a_scrape_counts_the_bytes_of_open_flows_once() {
    let state = state(Access::default());
    let flow = begin(&state, 1);
    flow.counters().received.store(1_000, std::sync::atomic::Ordering::Relaxed);
    let line = "exeat_bytes_total{direction=\"received\"} 1000\n";
    assert!(get(&state, "/metrics").await.1.contains(line));
    assert!(get(&state, "/metrics").await.1.contains(line));
    flow.end(Ok(()));
    assert!(get(&state, "/metrics").await.1.contains(line));
}

#[tokio::test]
async fn the_policy_is_shown_a_page_at_a_time() {
    let state = state(Access::default());
    let first = json_of(&state, "/policy?limit=3").await;
    assert_eq!((&first["revision"], &first["rule_count"], &first["next"]), (&json!(7), &json!(4), &json!(3)));
    assert_eq!(first["rules"][0]["pattern"], "crates.io");
    // One file, however many profiles it has.
    assert_eq!((&first["source_count"], &first["sources"]), (&json!(1), &json!(["p.yaml"])));
    assert_eq!(
        first["profiles"],
        json!([
            { "name": "build", "mode": "enforce", "clients": ["10.0.1.0/24"], "outgoing": null, "parent": null, "rules": 4 },
            { "name": "idle", "mode": "enforce", "clients": null, "outgoing": null, "parent": null, "rules": 0 },
        ])
    );
    let last = json_of(&state, "/policy?offset=3").await;
    assert_eq!(last["rules"].as_array().map(Vec::len), Some(1));
    assert_eq!((&last["rules"][0]["action"], &last["next"]), (&json!("deny"), &Value::Null));
    let (_, body) = get(&state, "/policy?limit=20000").await;
    assert!(body.contains("?limit= takes a number from 1 to 10000"), "{body}");
}

#[tokio::test]
async fn a_verdict_can_be_asked_for() {
    let state = state(Access::default());
    for (body, status, reason) in [
        (r#"{"client":"10.0.1.9","to":"https://static.crates.io/x"}"#, 200, "allowed"),
        (r#"{"client":"10.0.1.9","to":"gist.github.com"}"#, 200, "denied_by_rule"),
        (r#"{"client":"10.0.1.9","to":"evil.example:443"}"#, 200, "no_rule"),
        (r#"{"client":"10.0.1.9","to":"http://updates.example/","method":"GET"}"#, 200, "allowed"),
        (r#"{"client":"10.0.1.9","to":"http://updates.example/","method":"PUT"}"#, 200, "no_rule"),
        (r#"{"client":"10.0.1.9","to":"https://crates.io","method":"PUT"}"#, 400, ""),
        (r#"{"client":"ten","to":"crates.io"}"#, 400, ""),
        (r#"{"client":"10.0.1.9","to":"ftp://crates.io"}"#, 400, ""),
        (r#"{"client":"10.0.1.9","to":"crates.io","port":443}"#, 400, ""),
        ("", 400, ""),
    ] {
        let (found, answer) = ask(&state, request("POST", "/explain", body)).await;
        let value: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (found.as_u16(), value["reason"].as_str().unwrap_or_default()),
            (status, reason),
            "{body}: {answer}"
        );
    }
    let long = format!("{{\"to\":\"{}\"}}", "a".repeat(20_000));
    assert_eq!(ask(&state, request("POST", "/explain", &long)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}
