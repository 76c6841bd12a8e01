//! The JSON that scripts read, against the documents that tell of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use exeat::lockdown::status::{ChainStatus, RuleStatus};
use exeat::reason::Reason;
use exeat::reply::{Refusal, status};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::documents::table;
use crate::read;
use crate::serving::{EXEAT, Serving};

#[test]
fn the_readme_lists_every_key_of_a_body_and_whom_it_blames() {
    let readme = read("README.md");
    let rows = table(&readme, "key of a body");
    for reason in Reason::ALL.iter().filter(|reason| !status(**reason).0.is_success()) {
        let body = body(*reason);
        assert_eq!(told(&readme, "key of a body"), keys(&body));
        let (error, code) = (body["error"].as_str().unwrap(), status(*reason).0.as_u16().to_string());
        let (_, after) = rows[0][1].split_once(&format!("`{error}` (")).unwrap_or_else(|| panic!("{error}"));
        assert!(after.split(')').next().unwrap().contains(&code), "{error} {code}");
    }
}

#[test]
fn what_the_admin_door_shows_has_the_keys_that_are_told() {
    let document = read("docs/metrics.md");
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = upstream.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    let rule = format!("{{ cidr: 127.0.0.1/32, ports: [{}], protocol: tcp }}", to.port());
    fs::write(&policy, format!("version: 1\nprofiles: [{{ name: a, allow: [{rule}] }}]\n")).unwrap();
    let exeat = Serving::start(&["--policy", policy.to_str().unwrap()]);
    let mut tunnel = TcpStream::connect(exeat.proxy.trim_start_matches("http://")).unwrap();
    tunnel.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).unwrap();
    let mut head = [0; 12];
    tunnel.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");

    let ask = |path: &str| {
        json(Command::new("curl").args(["-sS", "--noproxy", "*"]).arg(exeat.admin.clone() + path))
    };
    let flows = ask("/flows");
    assert_eq!(keys(&flows), BTreeSet::from(["open".to_owned(), "flows".to_owned()]));
    assert_eq!(told(&document, "key of an open flow"), keys(&flows["flows"][0]));
    let policy = ask("/policy");
    assert_eq!(told(&document, "key of the policy"), keys(&policy));
    assert_eq!(told(&document, "key of a profile"), keys(&policy["profiles"][0]));
    assert_eq!(told(&document, "key of a rule"), keys(&policy["rules"][0]));
}

#[test]
fn what_commands_print_as_json_has_the_keys_that_are_told() {
    let document = read("docs/metrics.md");
    let explain = |to: &str| {
        json(Command::new(EXEAT).args(["explain", "--allow", "a.example", "--format", "json", to]))
    };
    let (allowed, denied) = (explain("a.example"), explain("b.example"));
    assert_eq!(told(&document, "key of an explanation"), keys(&allowed));
    for (key, value) in
        [("rule", &allowed["rule"]), ("requires", &allowed["requires"]), ("remedy", &denied["remedy"])]
    {
        assert_below(&document, "key of an explanation", key, value);
    }

    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let policy = directory.path().join("policy.yaml");
        fs::write(&policy, text).unwrap();
        json(Command::new(EXEAT).args(["check", "--format", "json"]).arg(policy))
    };
    let bad = check("version: 2\nprofiles: []\n");
    assert_eq!(told(&document, "key of a check"), keys(&bad));
    assert_below(&document, "key of a check", "mistakes", &bad["mistakes"][0]);
    let failing =
        "version: 1\nprofiles: [{ name: a, allow: [a.example] }]\ntests: [{ to: a.example, expect: deny }]\n";
    assert_below(&document, "key of a check", "tests_failed", &check(failing)["tests_failed"][0]);

    // Where there is no network at all, nothing is asked of anybody.
    let alone = |args: &[&str]| {
        json(
            Command::new("unshare")
                .args(["--map-root-user", "--net", EXEAT])
                .args(args)
                .args(["--format", "json"]),
        )
    };
    let proof = alone(&["verify", "--patience", "1"]);
    assert_eq!(told(&document, "key of a proof"), keys(&proof));
    assert_below(&document, "key of a proof", "findings", &proof["findings"][0]);
    let locked = alone(&["lockdown", "status"]);
    assert_eq!(told(&document, "key of a family"), keys(&locked[0]));
    let rules = vec![RuleStatus { comment: String::new(), packets: 0, bytes: 0 }];
    let chain = ChainStatus { name: String::new(), rules, expected: 1 };
    let chain = serde_json::to_value(&chain).unwrap();
    assert_below(&document, "key of a family", "chains", &chain);
    assert_below(&document, "key of a family", "chains", &chain["rules"][0]);
}

/// The keys in the first column of a table; several may share a row.
fn told(text: &str, heading: &str) -> BTreeSet<String> {
    let rows = table(text, heading);
    rows.iter().flat_map(|row| row[0].split("`, `")).map(str::to_owned).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect()
}

/// Each key of a value that is itself an object stands in the words about it.
fn assert_below(text: &str, heading: &str, key: &str, value: &Value) {
    let rows = table(text, heading);
    let row = rows.iter().find(|row| row[0].split("`, `").any(|told| told == key)).unwrap();
    for below in keys(value) {
        assert!(row[1].contains(&format!("`{below}`")), "{heading}: {key}: {below}");
    }
}

/// What a client gets whose flow ends for this reason.
fn body(reason: Reason) -> Value {
    let refusal = Refusal {
        received: None,
        challenges: Vec::new(),
        reason,
        message: String::new(),
        destination: None,
        rule: None,
        hint: None,
        flow: String::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(refusal.response(&[]).into_body().collect()).unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

/// What a program prints; how it ends says something of its own.
fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run tests/need.sh"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {command:?}: {output:?}"))
}
