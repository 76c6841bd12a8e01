use std::path::Path;

use jiff::civil::date;

use super::*;
use crate::host::Name;
use crate::policy::document::{Sources, load_text};
use crate::policy::{Question, Seen};

const POLICY: &str = r#"version: 1
profiles:
  - name: build
    clients: [10.0.1.0/24]
    allow:
      - "*.example.com"
      - { host: intra.example, private: [10.20.0.0/16], reason: "the internal mirror" }
      - { host: git.example, ports: [22], protocol: tcp, until: 2027-01-31 }
      - { host: pub.example, protocol: http, methods: [GET, HEAD], paths: ["/pub/**"] }
      - { cidr: 203.0.113.0/24, ports: [8443] }
      - { host: browser.example, ech: outer }
      - { host: .deep.example, private: [10.0.0.0/8] }
      - { host: db.deep.example, private: [10.20.0.0/16, 192.168.0.0/16] }
    deny:
      - { host: gist.example.com, reason: "no pastes" }
  - name: watched
    clients: [10.0.2.0/24]
    mode: report
  - name: tenant
    clients: [10.0.3.0/24]
    outgoing: { source: [198.51.100.7], mark: 0x15 }
    allow: [a.example.com]
  - name: chained
    clients: [10.0.4.0/24]
    parent: corp
    allow: [a.example.com, { host: b.example.com, parent: direct }]
"#;

fn policy() -> Policy {
    load_text(Path::new("p.yaml"), POLICY).unwrap().builder.finish(1)
}

fn client(ip: &str) -> Client {
    Client::supposed(ip.parse().unwrap())
}

fn ask(ip: &str, destination: &str) -> Explanation {
    explain(&policy(), &client(ip), &Asked::parse(destination).unwrap(), date(2026, 11, 22))
}

#[test]
fn an_allow_says_which_parent_it_goes_through() {
    for (destination, parent) in [("a.example.com", Some("corp")), ("b.example.com", None)] {
        let explanation = ask("10.0.4.9", destination);
        let text = explanation.to_string();
        assert_eq!(explanation.requires.unwrap().parent.as_deref(), parent);
        assert_eq!(text.contains("\n  parent:    corp\n"), parent.is_some(), "{text}");
    }
}

#[test]
fn an_allow_says_what_it_still_depends_on() {
    for (destination, rule, inside, addresses) in [
        ("a.example.com", "*.example.com", "TLS with the server name a.example.com", "public ones only"),
        ("http://a.example.com", "*.example.com", "HTTP requests to a.example.com", "public ones only"),
        (
            "intra.example",
            "intra.example",
            "TLS with the server name intra.example",
            "public ones, and those in 10.20.0.0/16",
        ),
        (
            "git.example:22",
            "git.example",
            "anything: exeat does not look inside, until 2027-01-31",
            "public ones only",
        ),
        (
            "http://pub.example/pub/a",
            "pub.example",
            "HTTP requests to pub.example, GET or HEAD only, to /pub/** only",
            "public ones only",
        ),
        (
            "203.0.113.7:8443",
            "203.0.113.0/24",
            "TLS with any server name that is not denied, or none, or HTTP requests to 203.0.113.7",
            "203.0.113.7 itself",
        ),
    ] {
        let explanation = ask("10.0.1.9", destination);
        assert_eq!((explanation.verdict, explanation.reason), ("allow", "allowed"), "{destination}");
        assert_eq!(explanation.rule.unwrap().pattern, rule, "{destination}");
        let requires = explanation.requires.unwrap();
        assert_eq!(
            (requires.inside.as_str(), requires.addresses.as_str()),
            (inside, addresses),
            "{destination}"
        );
        assert_eq!(explanation.remedy, None, "{destination}");
    }
}

#[test]
fn a_denial_says_what_would_allow_it_and_where() {
    let add = |line: &str| format!("add to `allow` of the profile build in p.yaml: {line}");
    for (destination, reason, remedy) in [
        ("crates.io", "no_rule", add("- crates.io")),
        ("true.", "no_rule", add("- \"true\"")),
        ("crates.io:8443", "no_rule", add("- { host: crates.io, ports: [8443] }")),
        ("198.51.100.1", "no_rule", add("- { cidr: 198.51.100.1/32 }")),
        ("[2001:db8::1]:25", "no_rule", add("- { cidr: 2001:db8::1/128, ports: [25] }")),
        // A rule that looks inside would not let it pass.
        ("crates.io:22", "no_rule", add("- { host: crates.io, ports: [22], protocol: tcp }")),
        (
            "gist.example.com",
            "denied_by_rule",
            "a deny rule wins over every allow: remove or narrow p.yaml:15 \"gist.example.com\"".to_owned(),
        ),
    ] {
        let explanation = ask("10.0.1.9", destination);
        assert_eq!((explanation.verdict, explanation.reason), ("deny", reason), "{destination}");
        assert_eq!(explanation.remedy.map(|remedy| remedy.to_string()), Some(remedy), "{destination}");
        assert!(explanation.requires.is_none(), "{destination}");
    }
}

#[test]
fn the_suggested_line_allows_what_was_denied() {
    for destination in
        ["crates.io", "true.", "crates.io:8443", "198.51.100.1", "[2001:db8::1]:22", "http://b.example/x"]
    {
        let line = ask("10.0.1.9", destination).remedy.and_then(|remedy| remedy.line).unwrap();
        let text = POLICY.replace("    allow:\n", &format!("    allow:\n      {line}\n"));
        let policy = load_text(Path::new("p.yaml"), &text).unwrap().builder.finish(1);
        let asked = Asked::parse(destination).unwrap();
        let again = explain(&policy, &client("10.0.1.9"), &asked, date(2026, 11, 22));
        assert_eq!(again.verdict, "allow", "{destination}: {line}");
    }
}

#[test]
fn a_client_without_a_profile_is_told_where_profiles_are() {
    let explanation = ask("192.0.2.1", "a.example.com");
    assert_eq!(explanation.reason, "no_profile");
    assert_eq!(
        explanation.remedy.unwrap().to_string(),
        "no profile is for this client: add its address to the `clients` of one in p.yaml: - 192.0.2.1"
    );
}

#[test]
fn a_pass_in_report_mode_still_says_what_is_missing() {
    let explanation = ask("10.0.2.1", "crates.io");
    assert_eq!(
        (explanation.verdict, explanation.would_deny, explanation.reason),
        ("allow", true, "report_only")
    );
    assert_eq!(
        explanation.remedy.unwrap().to_string(),
        "add to `allow` of the profile watched in p.yaml: - crates.io"
    );
}

#[test]
fn what_was_seen_inside_has_its_own_remedy() {
    let policy = policy();
    let client = client("10.0.1.9");
    let subject = policy.subject(&client);
    let to = Destination::parse("a.example.com:443").unwrap();
    let name = to.host.name();
    for (seen, address, remedy_line) in [
        (Seen::Other, None, Some("- { host: a.example.com, ports: [443], protocol: tcp }")),
        (Seen::Tls { server_name: name, ech: true }, None, Some("- { host: a.example.com, ech: outer }")),
        (Seen::Unknown, Some("10.1.1.1"), Some("- { host: a.example.com, private: true }")),
        (Seen::Unknown, Some("169.254.169.254"), None),
    ] {
        let address = address.map(|address| address.parse().unwrap());
        let question = Question { to: &to, seen, address };
        let verdict = policy.decide(&subject, &question, date(2026, 11, 22));
        let remedy = remedy(&policy, &subject, &client, &to, &Denial::from(&verdict)).unwrap();
        assert_eq!(remedy.line.as_deref(), remedy_line, "{seen:?} {address:?}: {remedy}");
    }
}

#[test]
fn a_further_rule_says_what_those_for_the_destination_say_already() {
    let (policy, name) = (policy(), Name::parse("browser.example").unwrap());
    for (from, to, seen, address, line) in [
        (
            "10.0.1.9",
            "git.example:22",
            Seen::Other,
            "10.1.1.1",
            "- { host: git.example, ports: [22], protocol: tcp, private: true }",
        ),
        (
            "10.0.4.9",
            "b.example.com:443",
            Seen::Other,
            "93.184.216.34",
            "- { host: b.example.com, ports: [443], protocol: tcp, parent: direct }",
        ),
        (
            "10.0.1.9",
            "intra.example:443",
            Seen::Other,
            "10.20.0.7",
            "- { host: intra.example, ports: [443], protocol: tcp, private: [10.20.0.0/16] }",
        ),
        (
            "10.0.1.9",
            "browser.example:443",
            Seen::Tls { server_name: Some(&name), ech: true },
            "10.1.1.1",
            "- { host: browser.example, private: true, ech: outer }",
        ),
        (
            "10.0.1.9",
            "browser.example:443",
            Seen::Other,
            "93.184.216.34",
            "- { host: browser.example, ports: [443], protocol: tcp }",
        ),
        // The closest says it best.
        (
            "10.0.1.9",
            "db.deep.example:443",
            Seen::Other,
            "192.168.0.1",
            "- { host: db.deep.example, ports: [443], protocol: tcp, private: [10.20.0.0/16, 192.168.0.0/16] }",
        ),
    ] {
        let to = Destination::parse(to).unwrap();
        let question = Question { to: &to, seen, address: Some(address.parse().unwrap()) };
        let (client, today) = (client(from), date(2026, 11, 22));
        let subject = policy.subject(&client);
        let verdict = policy.decide(&subject, &question, today);
        let remedy = remedy(&policy, &subject, &client, &to, &Denial::from(&verdict)).unwrap();
        assert_eq!(remedy.line.as_deref(), Some(line), "{remedy}");
        let text = POLICY.replace("    allow:\n", &format!("    allow:\n      {line}\n"));
        let text = text.replace("allow: [", &format!("allow: [{}, ", &line[2..]));
        let policy = load_text(Path::new("p.yaml"), &text).unwrap().builder.finish(2);
        let subject = policy.subject(&client);
        assert_eq!(policy.decide(&subject, &question, today).reason, Reason::Allowed, "{line}");
    }
}

#[test]
fn what_no_rule_can_open_by_address_is_said() {
    for (to, hint) in [
        (
            "[64:ff9b::a01:203]",
            "no `cidr` rule opens an IPv6 address that carries 10.1.2.3: allow 10.1.2.3 itself, or a name that leads there with `private`",
        ),
        (
            "[64:ff9b::808:808]",
            "add to `allow` of the profile watched in p.yaml: - { cidr: 64:ff9b::808:808/128 }",
        ),
        ("10.1.2.3", "add to `allow` of the profile watched in p.yaml: - { cidr: 10.1.2.3/32 }"),
    ] {
        let explanation = ask("10.0.2.9", to);
        assert_eq!(explanation.reason, "address_prohibited");
        assert_eq!(explanation.remedy.unwrap().to_string(), hint);
    }
}

#[test]
fn silence_may_be_that_of_a_client_whose_server_speaks_first() {
    let policy = policy();
    let client = client("10.0.1.9");
    let denial = Denial { reason: Reason::HeadTimeout, special: None, rule: None };
    for (to, hint) in [
        (
            "a.example.com:25",
            Some(
                "if the server is the first to speak there, add to `allow` of the profile build in p.yaml: \
                 - { host: a.example.com, ports: [25], protocol: tcp }",
            ),
        ),
        ("a.example.com:443", None),
    ] {
        let to = Destination::parse(to).unwrap();
        let remedy = remedy(&policy, &policy.subject(&client), &client, &to, &denial);
        assert_eq!(remedy.map(|remedy| remedy.to_string()).as_deref(), hint, "{to}");
    }
}

#[test]
fn the_built_in_policy_is_not_to_be_edited() {
    let policy = Sources::default().load().unwrap().builder.finish(1);
    let asked = Asked::parse("a.example").unwrap();
    let explanation = explain(&policy, &client("127.0.0.1"), &asked, date(2026, 11, 22));
    assert_eq!(
        explanation.remedy.unwrap().to_string(),
        "write a policy file, give it with --policy, and add to its `allow`: - a.example"
    );
}

#[test]
fn an_explanation_reads_as_text() {
    assert_eq!(
        ask("10.0.1.9", "intra.example").to_string(),
        "allow  intra.example:443 for 10.0.1.9\n  \
         reason:    allowed\n  \
         rule:      p.yaml:7 \"intra.example\" of the profile build\n  \
         because:   the internal mirror\n  \
         profiles:  build\n  \
         inside:    TLS with the server name intra.example\n  \
         addresses: public ones, and those in 10.20.0.0/16\n"
    );
    assert_eq!(
        ask("10.0.1.9", "http://pub.example/x").to_string(),
        "deny  pub.example:80 for 10.0.1.9\n  \
         reason:    no_rule\n  \
         nearest:   p.yaml:9 \"pub.example\" of the profile build\n  \
         profiles:  build\n  \
         hint:      add to `allow` of the profile build in p.yaml: - pub.example\n"
    );
}

#[test]
fn an_allow_says_how_its_connection_leaves_where_the_policy_does() {
    let explanation = ask("10.0.3.9", "a.example.com");
    let line = "  outgoing:  source 198.51.100.7, mark 0x15, IPv4 alone\n";
    assert!(explanation.to_string().ends_with(line), "{explanation}");
    assert_eq!(ask("10.0.1.9", "a.example.com").requires.unwrap().outgoing, None);
    assert!(ask("10.0.3.9", "b.example.com").requires.is_none());
}
