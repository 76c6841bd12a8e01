use super::*;
use crate::client::Client;
use crate::destination::Destination;
use crate::ingress::Ingress;
use crate::policy::Seen;
use crate::record::FlowId;

fn record() -> Record {
    let client = Client::new("10.0.1.9:40000".parse().unwrap(), "10.0.1.1".parse().unwrap());
    let mut record = Record::new(FlowId(0xfeed), Ingress::Connect, client);
    record.time = "2026-11-22T16:00:00.0123456Z".parse().unwrap();
    record.duration = Some(Duration::from_micros(4_321_500));
    record
}

fn line(record: &Record) -> String {
    let mut line = Vec::new();
    record.write_line(&mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn a_record_has_the_keys_of_the_contract_in_their_order() {
    let mut record = record();
    record.profiles = Some(["build-runners".into()].into());
    record.to = Some(Destination::parse("static.crates.io:443").unwrap());
    record.inside = Seen::Tls { server_name: record.to.as_ref().unwrap().host.name(), ech: false }.into();
    record.address = Some("151.101.2.137".parse().unwrap());
    record.parent = Some("corp".into());
    record.reason = Some(Reason::Allowed);
    record.rule = Some("policies/build.yaml:8 \"*.crates.io\"".into());
    (record.sent, record.received) = (517, 4096);
    record.dial = Some(Duration::from_micros(1_250));
    record.status = Some(200);
    assert_eq!(
        line(&record),
        concat!(
            r#"{"schema":"exeat.flow/v1","time":"2026-11-22T16:00:00.012Z","flow":"000000000000feed","#,
            r#""ingress":"connect","client":"10.0.1.9","client_port":40000,"user":null,"#,
            r#""profiles":["build-runners"],"host":"static.crates.io","port":443,"#,
            r#""server_name":"static.crates.io","ech":false,"method":null,"path":null,"address":"151.101.2.137","parent":"corp","#,
            r#""verdict":"allow","would_deny":false,"reason":"allowed","#,
            r#""rule":"policies/build.yaml:8 \"*.crates.io\"","sent":517,"received":4096,"#,
            r#""dial_ms":1.25,"duration_ms":4321.5,"status":200,"error":null}"#,
            "\n"
        )
    );
}

#[test]
fn keys_are_there_when_nothing_is_known() {
    let mut record = record();
    record.reason = Some(Reason::BadRequest);
    let value: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
    for key in [
        "user",
        "host",
        "port",
        "server_name",
        "ech",
        "method",
        "path",
        "address",
        "parent",
        "rule",
        "dial_ms",
        "status",
    ] {
        assert!(value.get(key).is_some_and(serde_json::Value::is_null), "{key}");
    }
    assert_eq!((value["verdict"].as_str(), value["profiles"].as_array()), (Some("deny"), Some(&Vec::new())));
}

#[test]
fn a_flow_that_opens_has_a_schema_of_its_own() {
    let mut record = record();
    record.duration = None;
    record.reason = Some(Reason::Allowed);
    let value: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
    assert_eq!(value["schema"], "exeat.flow.opened/v1");
    assert!(value["duration_ms"].is_null());
}

#[test]
fn queries_are_left_out_and_client_bytes_are_bounded_and_escaped() {
    let path = format!("/pub/\"\u{1}\n{}?token=secret", "x".repeat(5_000));
    let mut record = record();
    record.inside = Seen::Http { method: &"M".repeat(100), path: &path }.into();
    let names: Vec<Box<str>> = (0..1_000).map(|number| format!("profile-{number}").into()).collect();
    record.profiles = Some(names.into());
    let text = line(&record);
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.contains("secret") && text.len() < 4096, "{}", text.len());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["path"].as_str().map(str::len), Some(1024));
    assert_eq!(value["method"].as_str().map(str::len), Some(32));
    for (path, kept) in [("/a?b", "/a"), ("/a#b", "/a"), ("?b", ""), ("/ü", "/ü")] {
        record.inside = Seen::Http { method: "GET", path }.into();
        assert_eq!(record.inside.path(), Some(kept), "{path}");
    }
}

#[test]
fn what_a_terminal_obeys_or_turns_or_a_reader_ends_a_line_at_is_escaped_too() {
    let mut record = record();
    let text = "/a\u{7f}\u{80}\u{9b}31m\u{9f}\u{a0}\u{2027}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}ü\u{1b}";
    record.inside = Seen::Http { method: "GET", path: text }.into();
    let line = line(&record);
    assert!(
        line.contains(
            "\"/a\\u007f\\u0080\\u009b31m\\u009f\u{a0}\u{2027}\\u2028\\u2029\\u202e\\u2066\\ufeffü\\u001b\""
        ),
        "{line}"
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["path"], text);
}

#[test]
fn addresses_stand_without_brackets() {
    let mut record = record();
    record.to = Some(Destination::parse("[2001:db8::1]:443").unwrap());
    assert!(line(&record).contains(r#""host":"2001:db8::1","port":443"#));
}

#[test]
fn what_serde_json_would_say_is_said() {
    let mut line = Vec::new();
    for text in ["", "plain", "a \"b\" \\ c\\", "\"", "tab\there", "\u{0}\u{1f}\"", "ü\"日本\""] {
        line.clear();
        Object { line: &mut line }.string(text);
        assert_eq!(line, serde_json::to_vec(text).unwrap(), "{text:?}");
    }
    for address in ["0.0.0.0", "10.0.1.9", "255.255.255.255", "2001:db8::1", "::ffff:10.0.1.9"] {
        let address: IpAddr = address.parse().unwrap();
        line.clear();
        Object { line: &mut line }.address(address);
        assert_eq!(line, serde_json::to_vec(&address).unwrap());
    }
    for micros in
        [0, 1, 9, 10, 100, 120, 123, 999, 1_000, 1_250, 4_321_500, 86_400_000_001, 31_536_000_000_000]
    {
        line.clear();
        Object { line: &mut line }.milliseconds(Duration::from_nanos(micros * 1_000 + 999));
        assert_eq!(line, serde_json::to_vec(&(micros as f64 / 1000.0)).unwrap());
    }
}

#[test]
fn times_are_in_utc_to_the_millisecond() {
    for time in ["2026-11-22T16:00:00.0129999Z", "1970-01-01T00:00:00Z", "2028-02-29T23:59:59.999999999Z"] {
        let time: Timestamp = time.parse().unwrap();
        let mut line = Vec::new();
        Object { line: &mut line }.time(time);
        assert_eq!(String::from_utf8(line).unwrap(), format!("\"{time:.3}\""));
    }
}
