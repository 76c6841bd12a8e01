//! Rules of other programs: what they decide and what the imported policy decides, case by case; Squid decides itself.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use exeat::client::Client;
use exeat::destination::Destination;
use exeat::learn::import::{Imported, aviatrix, smokescreen, squid};
use exeat::policy::document::{Sources, load_text};
use exeat::policy::lint::lint;
use exeat::policy::{Policy, Question, Seen};
use exeat::reason::Reason;
use jiff::civil::date;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::support::squid::Squid;
use crate::support::{fixture, read_to_end};

/// Somebody does something, and what the other program says. `differs` is why exeat says the opposite, on purpose.
struct Row {
    client: &'static str,
    /// `CONNECT` for TLS, `TCP` for anything else, or the method of a request in plain HTTP.
    what: &'static str,
    to: &'static str,
    allowed: bool,
    differs: Option<&'static str>,
}

const fn row(client: &'static str, what: &'static str, to: &'static str, allowed: bool) -> Row {
    Row { client, what, to, allowed, differs: None }
}

const fn but(why: &'static str, row: Row) -> Row {
    Row { differs: Some(why), ..row }
}

/// The policy that was imported; `check` must find nothing in it.
fn policy(imported: &Imported) -> Policy {
    let text = imported.policy();
    let loaded =
        load_text(Path::new("p.yaml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
    let mut warnings = loaded.warnings;
    let policy = loaded.builder.finish(0);
    warnings.extend(lint(&policy, &loaded.columns, jiff::civil::date(2026, 11, 25)));
    assert!(warnings.is_empty(), "{warnings:?}\n{text}");
    policy
}

fn decides(policy: &Policy, row: &Row, address: Option<IpAddr>) -> Reason {
    let subject = policy.subject(&Client::supposed(row.client.parse().unwrap()));
    let to = Destination::parse(row.to).unwrap();
    let seen = match row.what {
        "CONNECT" => Seen::Tls { server_name: to.host.name(), ech: false },
        "TCP" => Seen::Other,
        method => Seen::Http { method, path: "/" },
    };
    policy.decide(&subject, &Question { to: &to, seen, address }, jiff::civil::date(2026, 11, 25)).reason
}

/// Holds a policy to its table.
fn compare(imported: &Imported, rows: &[Row]) {
    let policy = policy(imported);
    for row in rows {
        let address = row.to.starts_with("blocked.").then(|| "127.66.0.1".parse().unwrap());
        let reason = decides(&policy, row, address);
        let expected = row.allowed != row.differs.is_some();
        let Row { client, what, to, differs, .. } = row;
        assert_eq!(
            reason.allows(),
            expected,
            "{client} {what} {to} ({differs:?}): {reason}\n{}",
            imported.policy()
        );
    }
}

fn remarks(imported: &Imported) -> String {
    imported.remarks.iter().map(|remark| format!("{remark}\n")).collect()
}

fn exeat(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exeat")).arg("import").args(arguments).output().unwrap()
}

const PRIVATE: &str = "what leads to a special address needs `private`, whatever the name";
const BUILD: &str = "127.0.1.20";
const VIP: &str = "127.0.1.7";
const GUEST: &str = "127.0.9.9";

/// Against `squid.conf`.
const SQUID: &[Row] = &[
    row(BUILD, "CONNECT", "static.crates.example:443", true),
    row(BUILD, "CONNECT", "crates.example:443", true),
    row(BUILD, "CONNECT", "a.b.crates.example:8443", true),
    row(BUILD, "GET", "crates.example:80", true),
    row(BUILD, "POST", "crates.example:8080", true),
    row(BUILD, "CONNECT", "notcrates.example:443", false),
    row(BUILD, "CONNECT", "crates.example:9443", false),
    row(BUILD, "CONNECT", "crates.example:22", false),
    row(BUILD, "GET", "crates.example:81", false),
    row(BUILD, "CONNECT", "index.registry.example:443", true),
    row(BUILD, "CONNECT", "mirror.example:443", true),
    row(BUILD, "CONNECT", "sub.mirror.example:443", false),
    row(BUILD, "GET", "archive.example:80", true),
    row(BUILD, "HEAD", "archive.example:80", true),
    row(BUILD, "POST", "archive.example:80", false),
    row(BUILD, "CONNECT", "archive.example:443", false),
    row(BUILD, "CONNECT", "www.social.example:443", false),
    row(BUILD, "CONNECT", "chat.example:443", false),
    row(BUILD, "CONNECT", "other.example:443", false),
    row("127.0.2.63", "CONNECT", "crates.example:443", true),
    row("127.0.2.64", "CONNECT", "crates.example:443", false),
    row("127.0.3.200", "CONNECT", "crates.example:443", true),
    row(VIP, "CONNECT", "www.social.example:443", true),
    row(VIP, "CONNECT", "tracker.example:443", true),
    row(VIP, "GET", "other.example:80", true),
    but(PRIVATE, row(VIP, "GET", "127.55.0.1:80", true)),
    row(VIP, "CONNECT", "other.example:444", false),
    but(PRIVATE, row(VIP, "CONNECT", "blocked.crates.example:443", true)),
    row(BUILD, "CONNECT", "blocked.crates.example:443", false),
    row(GUEST, "GET", "crates.example:80", true),
    row(GUEST, "GET", "archive.example:80", true),
    row(GUEST, "POST", "archive.example:80", true),
    row(GUEST, "CONNECT", "crates.example:443", false),
    row(GUEST, "GET", "www.social.example:80", false),
    row("127.0.8.1", "CONNECT", "crates.example:443", false),
    but(
        "80 is for HTTP and 443 for TLS, unless a rule says otherwise",
        row(BUILD, "GET", "crates.example:443", true),
    ),
];

/// Against `open.conf`.
const OPEN: &[Row] = &[
    row(BUILD, "CONNECT", "other.example:443", true),
    row(BUILD, "GET", "other.example:80", true),
    row(BUILD, "CONNECT", "www.social.example:443", false),
    row(BUILD, "CONNECT", "evil.example:443", false),
    row(BUILD, "CONNECT", "sub.evil.example:443", true),
    row("127.0.2.1", "CONNECT", "other.example:443", false),
];

/// Against `order.conf`.
const ORDER: &[Row] = &[
    row(BUILD, "CONNECT", "crates.example:443", true),
    row(BUILD, "CONNECT", "other.example:443", true),
    row(BUILD, "CONNECT", "www.social.example:443", false),
    row("127.0.2.1", "CONNECT", "other.example:443", false),
    but(
        "a deny wins over what an earlier line allows",
        row(BUILD, "CONNECT", "docs.social.example:443", true),
    ),
];

/// Against `apart.conf`.
const APART: &[Row] = &[
    row(BUILD, "CONNECT", "127.66.0.9:443", false),
    row(BUILD, "GET", "127.66.0.9:80", false),
    row(BUILD, "CONNECT", "crates.example:443", true),
    row(BUILD, "CONNECT", "docs.social.example:443", true),
    row("127.0.2.1", "CONNECT", "crates.example:443", false),
    but(
        "a deny rule on addresses covers whatever name leads there",
        row(BUILD, "CONNECT", "blocked.crates.example:443", true),
    ),
];

#[tokio::test]
async fn squid_and_the_policy_made_of_its_rules_decide_alike() {
    for (conf, rows) in
        [("squid.conf", SQUID), ("open.conf", OPEN), ("order.conf", ORDER), ("apart.conf", APART)]
    {
        let proxy = Judge::start(conf).await;
        for row in rows {
            let Row { client, what, to, allowed, .. } = row;
            assert_eq!(proxy.allows(row).await, *allowed, "Squid with {conf}: {client} {what} {to}");
        }
        compare(&squid::import(&fixture("import/squid").join(conf)).unwrap(), rows);
    }
}

#[test]
fn what_squid_says_and_exeat_does_not_is_told_line_by_line() {
    let order = squid::import(&fixture("import/squid/order.conf")).unwrap();
    assert_eq!(order.lost(), 1, "{}", remarks(&order));
    assert!(
        remarks(&order)
            .contains("order.conf:6: no equal: http_access deny social\n  .social.example is denied"),
        "{}",
        remarks(&order)
    );

    let apart = squid::import(&fixture("import/squid/apart.conf")).unwrap();
    for line in ["8: no equal: http_access deny !known inner", "9: no equal: http_access deny docs inner"] {
        let why = "a deny rule on the addresses of `dst` covers all names that lead there, not only some";
        let told = remarks(&apart);
        let (_, rest) = told.split_once(line).unwrap_or_else(|| panic!("{line}\n{told}"));
        assert!(rest.lines().nth(1).is_some_and(|told| told.contains(why)), "{told}");
    }

    let foreign = squid::import(&fixture("import/squid/foreign.conf")).unwrap();
    let told = remarks(&foreign);
    for line in [
        "foreign.conf:10: no equal: auth_param basic program",
        "foreign.conf:11: no equal: http_access allow staff\n  staff: exeat does not look at `proxy_auth`; the line allows only what is certain",
        "foreign.conf:12: no equal: http_access deny games !lunch\n  lunch: exeat does not look at `time`; the line denies all that it might mean",
        "foreign.conf:13: no equal: http_access allow localnet build\n  localnet: these are no addresses: gateway.example; the line allows only what is certain",
        "foreign.conf:15: no equal: http_access allow localnet build media",
        "foreign.conf:16: no equal: http_access deny ads\n  ads: these have no equal: ads[0-9]+\\.; the line denies all",
        "foreign.conf:18: no equal: http_reply_access deny media",
        "foreign.conf:19: no equal: cache_peer parent.example parent 3128 0 no-query\n  exeat has no equal to this directive\n  hint: write it by hand: `parents` in exeat.yaml",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    compare(
        &foreign,
        &[
            row(BUILD, "CONNECT", "crates.example:443", true),
            row(BUILD, "CONNECT", "a.tls.example:443", true),
            row(BUILD, "CONNECT", "www.adserver.example:443", false),
            row("127.0.2.1", "CONNECT", "crates.example:443", false),
            but(
                "a line that can't be read denies whatever it may mean",
                row(BUILD, "CONNECT", "www.games.example:443", true),
            ),
        ],
    );
    // Everything that is told stands in the file too.
    for line in told.lines() {
        assert!(foreign.policy().contains(&format!("# {line}\n")), "{line}");
    }
}

/// By the order in Smokescreen's `acl.go`: the role's domains, the denied ones, the allowed ones, the role's action.
#[test]
fn smokescreen_and_the_policy_made_of_its_acl_decide_alike() {
    let file = fixture("import/smokescreen/acl.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let client = |role: &str, network: &str| (role.to_owned(), network.parse().unwrap());
    let options = smokescreen::Options {
        clients: vec![
            client("payments", "10.0.1.0/24"),
            client("crawler", "10.0.2.0/24"),
            client("sandbox", "10.0.3.0/24"),
            client("reporting", "10.0.4.0/24"),
        ],
        ports: Vec::new(),
    };
    let imported = smokescreen::import(&file, &text, &options).unwrap();
    let (payments, crawler, sandbox, reporting, default) =
        ("10.0.1.1", "10.0.2.1", "10.0.3.1", "10.0.4.1", "10.0.9.1");
    compare(
        &imported,
        &[
            row(payments, "CONNECT", "api.bank.example:443", true),
            row(payments, "GET", "api.bank.example:80", true),
            row(payments, "CONNECT", "x.partner.example:443", true),
            row(payments, "CONNECT", "a.b.partner.example:443", true),
            row(payments, "CONNECT", "partner.example:443", false),
            row(payments, "CONNECT", "bad.example:443", true),
            row(payments, "CONNECT", "x.tracker.example:443", false),
            row(payments, "CONNECT", "ntp.example:443", true),
            row(payments, "CONNECT", "a.shared.example:443", true),
            row(payments, "CONNECT", "secret.shared.example:443", false),
            row(payments, "CONNECT", "other.example:443", false),
            row(crawler, "CONNECT", "sitemap.example:443", true),
            row(crawler, "CONNECT", "other.example:443", true),
            row(crawler, "CONNECT", "bad.example:443", false),
            row(crawler, "CONNECT", "x.tracker.example:443", false),
            row(sandbox, "CONNECT", "other.example:443", true),
            row(sandbox, "CONNECT", "203.0.114.7:443", true),
            row(sandbox, "CONNECT", "x.tracker.example:443", false),
            row(sandbox, "CONNECT", "tracker.example:443", true),
            row(sandbox, "CONNECT", "secret.shared.example:443", false),
            row(reporting, "CONNECT", "reports.shared.example:443", true),
            row(reporting, "CONNECT", "warehouse.example:443", true),
            row(reporting, "CONNECT", "api.bank.example:443", false),
            row(default, "CONNECT", "status.example:443", true),
            row(default, "CONNECT", "api.bank.example:443", false),
            but(
                "Smokescreen does not look at ports",
                row(payments, "CONNECT", "api.bank.example:8443", true),
            ),
            but(
                "Smokescreen lets anything through a CONNECT",
                row(payments, "TCP", "api.bank.example:443", true),
            ),
        ],
    );
    let told = remarks(&imported);
    for line in [
        "acl.yaml:10: differs: - bad.example          # although the list below denies it\n  line 46 denies it for all",
        "acl.yaml:29: no equal: - proxy.vendor.example",
        "acl.yaml:31: no equal: - domain: warehouse.example",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert_eq!(imported.lost(), 2, "{told}");

    // Open ports are said by whoever knows them.
    let options = smokescreen::Options { ports: vec![(443, 443), (8000, 8100)], ..options };
    let imported = smokescreen::import(&file, &text, &options).unwrap();
    compare(&imported, &[row(payments, "CONNECT", "api.bank.example:8001", true)]);
}

#[test]
fn a_role_is_known_by_its_certificate() {
    let file = fixture("import/smokescreen/acl.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let roles = ["payments", "crawler", "sandbox", "reporting"];
    let clients = roles.map(|role| (role.to_owned(), format!("cert:{role}").parse().unwrap()));
    let options = smokescreen::Options { clients: clients.into(), ports: Vec::new() };
    let imported = smokescreen::import(&file, &text, &options).unwrap();
    let policy = load_text(Path::new("imported.yaml"), &imported.policy()).unwrap().builder.finish(1);
    for (certificate, to, allowed) in [
        (Some("payments"), "api.bank.example:443", true),
        (Some("payments"), "x.tracker.example:443", false),
        (Some("reporting"), "api.bank.example:443", false),
        (Some("reporting"), "warehouse.example:443", true),
        (Some("somebody"), "api.bank.example:443", false),
        // The default is for whoever has no role, and nobody can be named by having none.
        (Some("somebody"), "status.example:443", false),
        (None, "api.bank.example:443", false),
        (None, "status.example:443", false),
    ] {
        let client = Client::supposed("10.0.1.1".parse().unwrap()).named(None, certificate);
        let to = Destination::parse(to).unwrap();
        let question = Question { to: &to, seen: Seen::Unknown, address: None };
        let verdict = policy.decide(&policy.subject(&client), &question, date(2026, 11, 25)).is_allow();
        assert_eq!(verdict, allowed, "{certificate:?} {to}");
    }
    assert!(remarks(&imported).contains("--client default=10.0.1.0/24"), "{}", remarks(&imported));
}

#[test]
fn a_role_that_nobody_names_opens_nothing() {
    let file = fixture("import/smokescreen/acl.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let clients = vec![("payments".to_owned(), "10.0.1.0/24".parse().unwrap())];
    let imported =
        smokescreen::import(&file, &text, &smokescreen::Options { clients, ports: Vec::new() }).unwrap();
    compare(
        &imported,
        &[
            row("10.0.1.1", "CONNECT", "api.bank.example:443", true),
            // Not even what every role may, since nobody knows whether it is one.
            row("10.0.9.1", "CONNECT", "ntp.example:443", false),
            row("10.0.9.1", "CONNECT", "status.example:443", false),
            row("10.0.9.1", "CONNECT", "other.example:443", false),
        ],
    );
    assert!(
        remarks(&imported).contains("--client crawler=cert:crawler, or crawler=10.0.1.0/24"),
        "{}",
        remarks(&imported)
    );
    // What is commented out is a policy, once its clients are known.
    let text = imported.policy();
    let text = text.split("# What the source says").next().unwrap();
    let opened: String = text
        .lines()
        .map(|line| {
            format!("{}\n", line.strip_prefix("# ").filter(|line| line.starts_with(' ')).unwrap_or(line))
        })
        .collect();
    assert!(load_text(Path::new("p.yaml"), &opened).is_err(), "{opened}");
    let named = opened.replace("clients: []", "clients: [10.7.0.0/16]");
    assert!(load_text(Path::new("p.yaml"), &named).is_ok(), "{named}");
}

/// By the documents of Aviatrix' egress control: base policy and exceptions, wildcards on 80 and 443 alone.
#[test]
fn aviatrix_and_the_policy_made_of_its_tags_decide_alike() {
    let import = |name: &str, options: &aviatrix::Options| {
        let file = fixture("import/aviatrix").join(name);
        aviatrix::import(&file, &fs::read_to_string(&file).unwrap(), options).unwrap()
    };
    let none = aviatrix::Options::default();
    let (prod, build, other) = ("10.1.2.3", "10.2.3.4", "10.9.9.9");
    let egress = import("egress.tf", &none);
    compare(
        &egress,
        &[
            row(prod, "CONNECT", "s3.amazonaws.com:443", true),
            row(build, "CONNECT", "s3.eu-west-1.amazonaws.com:443", true),
            row(prod, "CONNECT", "amazonaws.com:443", false),
            row(prod, "CONNECT", "logs.eu-west-1.amazonaws.com:443", false),
            row(prod, "GET", "s3.amazonaws.com:80", false),
            row(prod, "GET", "archive.example.com:80", true),
            row(prod, "CONNECT", "archive.example.com:443", false),
            row(prod, "TCP", "github.com:22", true),
            row(prod, "CONNECT", "github.com:443", false),
            row(prod, "TCP", "sftp.example.com:2005", true),
            row(prod, "TCP", "sftp.example.com:2011", false),
            row(prod, "TCP", "partner.example.com:5000", true),
            row(prod, "CONNECT", "partner.example.com:443", true),
            row(prod, "CONNECT", "updates.example.com:443", true),
            row(other, "CONNECT", "updates.example.com:443", true),
            row(other, "CONNECT", "s3.amazonaws.com:443", false),
            row(prod, "CONNECT", "legacy.example.com:443", false),
            row(prod, "CONNECT", "x.wild.example.com:8443", false),
        ],
    );
    let told = remarks(&egress);
    for line in [
        "egress.tf:2: no equal: provider aviatrix",
        "no equal: *.wild.example.com,tcp,8443,\n  a wildcard means something on ports 80 and 443 alone",
        "no equal: time.example.com,udp,123,\n  exeat passes no UDP",
        "no equal: probe.example.com,icmp,ping,\n  exeat passes no ICMP",
        "differs: old\n  the tag is disabled",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }

    let tag = import("tag.csv", &none);
    compare(
        &tag,
        &[
            row(other, "CONNECT", "static.crates.example:443", true),
            row(other, "CONNECT", "secret.crates.example:443", false),
            row(other, "GET", "mirror.example:80", true),
            row(other, "TCP", "github.example:22", true),
            row(other, "CONNECT", "203.0.114.7:443", true),
            row(other, "CONNECT", "203.0.114.8:443", false),
        ],
    );
    assert!(
        remarks(&tag).contains("tag.csv:7: no equal: ntp.example,udp,123,Base Policy"),
        "{}",
        remarks(&tag)
    );
    let clients = vec![("tag".to_owned(), "10.1.0.0/16".parse().unwrap())];
    let own = import("tag.csv", &aviatrix::Options { clients, black: false });
    compare(
        &own,
        &[
            row(prod, "CONNECT", "static.crates.example:443", true),
            row(other, "CONNECT", "static.crates.example:443", false),
        ],
    );

    compare(
        &import("black.json", &none),
        &[
            row(other, "CONNECT", "www.social.example:443", false),
            row(other, "GET", "www.social.example:80", false),
            row(other, "CONNECT", "social.example:443", true),
            row(other, "CONNECT", "evil.example:443", false),
            row(other, "GET", "evil.example:80", true),
            row(other, "CONNECT", "other.example:443", true),
            but(
                "the rest of a black list is open, but exeat has to be able to read it",
                row(other, "TCP", "other.example:22", true),
            ),
        ],
    );
}

#[test]
fn what_an_aviatrix_black_list_leaves_open_is_tls_on_443_and_http_on_80() {
    let options = aviatrix::Options { black: true, ..aviatrix::Options::default() };
    let tag = "*.bad.example,tcp,443\ngood.bad.example,tcp,8443,Allow\n*.worse.example,all,all\n";
    let client = "10.1.2.3";
    compare(
        &aviatrix::import(Path::new("b.csv"), tag, &options).unwrap(),
        &[
            row(client, "CONNECT", "a.example:443", true),
            row(client, "GET", "a.example:80", true),
            row(client, "GET", "a.example:443", false),
            row(client, "CONNECT", "a.example:80", false),
            row(client, "CONNECT", "x.bad.example:443", false),
            row(client, "GET", "x.bad.example:443", false),
            row(client, "GET", "x.bad.example:80", true),
            row(client, "CONNECT", "x.worse.example:443", false),
            row(client, "GET", "x.worse.example:80", false),
            row(client, "CONNECT", "good.bad.example:443", false),
            row(client, "TCP", "good.bad.example:8443", true),
        ],
    );
}

#[test]
fn clients_of_an_aviatrix_tag_that_is_not_there_are_a_mistake() {
    let clients = vec![("prod".to_owned(), "10.1.0.0/16".parse().unwrap())];
    let options = aviatrix::Options { clients, black: false };
    let mistakes = aviatrix::import(Path::new("tag.csv"), "a.example,tcp,443\n", &options).unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "tag.csv:1:1: error: --client prod=… is for a tag that the file does not have\n  hint: its tags are tag"
    );
}

#[test]
fn what_can_not_be_read_of_an_aviatrix_tag_opens_nothing() {
    let import = |file: &str, text: &str| {
        aviatrix::import(Path::new(file), text, &aviatrix::Options::default()).unwrap()
    };
    let (client, other) = ("10.1.2.3", "10.9.9.9");

    // An action that nobody knows may be a denial; the name is known, so it denies no other.
    let action = import("a.csv", "*.example.com,tcp,443\nbad.example.com,tcp,443,Drop\n");
    compare(
        &action,
        &[
            row(client, "CONNECT", "good.example.com:443", true),
            row(client, "CONNECT", "bad.example.com:443", false),
        ],
    );
    assert!(remarks(&action).contains("a.csv:2: no equal: bad.example.com,tcp,443,Drop"), "{action:?}");
    let protocol = import("a.csv", "a.example.com,all,443\n");
    assert!(remarks(&protocol).contains("the protocol \"all\" has ports"), "{}", remarks(&protocol));

    // Clients that nobody knows are none where something is allowed, and may be any where it is denied.
    let tag = |sources: &str, action: &str| {
        format!(
            "resource \"aviatrix_fqdn\" \"a\" {{\n  fqdn_tag = \"a\"\n  fqdn_enabled = true\n  fqdn_mode = \"white\"\n  \
             gw_filter_tag_list {{\n    gw_name = \"g\"\n    source_ip_list = [{sources}]\n  }}\n  \
             domain_names {{\n    fqdn = \"x.example.com\"\n    proto = \"tcp\"\n    port = \"443\"\n    action = \"{action}\"\n  }}\n}}\n"
        )
    };
    let range = "\"10.1.2.1-10.1.2.9\"";
    let x = |client, allowed| row(client, "CONNECT", "x.example.com:443", allowed);
    compare(&import("a.tf", &tag(range, "Allow")), &[x(client, false), x(other, false)]);
    let some = format!("\"10.1.0.0/16\", {range}");
    compare(&import("a.tf", &tag(&some, "Allow")), &[x(client, true), x(other, false)]);
    let open = tag("", "Allow").replace("\"a\"", "\"open\"").replace("x.example", "*.example");
    let both = import("a.tf", &(open + &tag(&some, "Deny")));
    compare(&both, &[x(client, false), x(other, false), row(other, "CONNECT", "y.example.com:443", true)]);

    // What Terraform is not told is as its provider has it: disabled, and attached to nothing.
    for left_out in [
        "  fqdn_enabled = true\n",
        "  gw_filter_tag_list {\n    gw_name = \"g\"\n    source_ip_list = []\n  }\n",
    ] {
        let imported = import("a.tf", &tag("", "Allow").replace(left_out, ""));
        compare(&imported, &[x(client, false)]);
        assert_eq!(imported.remarks.len(), 1, "{left_out}");
    }
}

#[test]
fn what_aviatrix_denies_on_a_port_is_not_let_through_by_a_range_of_ports() {
    let text = "a.example.com,tcp,440:450,\na.example.com,tcp,443,Deny\nb.example.com,all,all,\n*.example.com,tcp,80,Deny\n";
    let imported = aviatrix::import(Path::new("a.csv"), text, &aviatrix::Options::default()).unwrap();
    let client = "10.1.2.3";
    compare(
        &imported,
        &[
            row(client, "CONNECT", "a.example.com:443", false),
            row(client, "GET", "a.example.com:443", true),
            but(
                "what is neither TLS nor HTTP can't be told from them without a look",
                row(client, "TCP", "a.example.com:443", true),
            ),
            row(client, "TCP", "a.example.com:444", true),
            row(client, "CONNECT", "a.example.com:444", true),
            row(client, "GET", "b.example.com:80", false),
            row(client, "CONNECT", "b.example.com:80", true),
            row(client, "TCP", "b.example.com:81", true),
        ],
    );
    let told = remarks(&imported);
    for line in ["a.csv:1: no equal: a.example.com,tcp,440:450", "a.csv:3: no equal: b.example.com,all,all"] {
        assert!(told.contains(line), "{told}");
    }
    assert_eq!(imported.remarks.len(), 2, "{told}");
}

#[test]
fn a_plan_of_terraform_is_what_will_be() {
    let values = |name: &str| {
        format!(
            r#"{{"fqdn_tag":"t","fqdn_enabled":true,"fqdn_mode":"white","gw_filter_tag_list":[{{"gw_name":"g","source_ip_list":[]}}],"domain_names":[{{"fqdn":"{name}","proto":"tcp","port":"443","action":"Base Policy"}}]}}"#
        )
    };
    let (old, new) = (values("old.example.com"), values("new.example.com"));
    let plan = format!(
        r#"{{"planned_values":{{"root_module":{{"resources":[{{"values":{new}}}]}}}},"resource_changes":[{{"change":{{"before":{old},"after":{new}}}}}],"configuration":{{"root_module":{{"resources":[{{"expressions":{{"fqdn_tag":{{"constant_value":"t"}}}}}}]}}}}}}"#
    );
    let imported = aviatrix::import(Path::new("plan.json"), &plan, &aviatrix::Options::default()).unwrap();
    compare(
        &imported,
        &[
            row("10.1.2.3", "CONNECT", "new.example.com:443", true),
            row("10.1.2.3", "CONNECT", "old.example.com:443", false),
        ],
    );
    assert!(imported.remarks.is_empty(), "{}", remarks(&imported));
}

#[test]
fn the_command_prints_a_policy_and_tells_what_it_left_out() {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let path = |name: &str| fixture("import").join(name).to_str().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (vec!["squid".to_owned(), path("squid/open.conf")], 0),
        (vec!["squid".to_owned(), path("squid/foreign.conf")], 3),
        (
            vec![
                "smokescreen".to_owned(),
                "--client".to_owned(),
                "payments=10.0.1.0/24".to_owned(),
                path("smokescreen/acl.yaml"),
            ],
            3,
        ),
        (vec!["aviatrix".to_owned(), path("aviatrix/black.json")], 0),
        (vec!["aviatrix".to_owned(), path("aviatrix/egress.tf")], 3),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = exeat(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        let file = directory.path().join("policy.yaml");
        fs::write(&file, &output.stdout).unwrap();
        assert!(Sources { paths: vec![file], allow: Vec::new() }.load().is_ok());
        let strict = exeat(&[&["--strict"], &arguments[..]].concat());
        assert_eq!(strict.status.code(), Some(code));
        assert_eq!(strict.stdout.is_empty(), code == 3);
    }
    let written = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let alone = written("squid.conf", "http_access allow all\ninclude none/*.conf\ninclude *.none\n");
    let denied = written("acl.yaml", "version: v1\nservices: []\nglobal_deny_list: evil.example\n");
    let deep =
        written("deep.tf", &format!("resource \"aviatrix_fqdn\" \"a\" {{ a = {}", "[".repeat(1 << 20)));
    for (arguments, said) in [
        (["squid", "/none/squid.conf"], "/none/squid.conf:1:1: error: it can't be read"),
        (["squid", &path("smokescreen/acl.yaml")], "acl.yaml:1:1: error: it is no configuration of Squid: "),
        (["squid", &alone], "squid.conf:2:1: error: it includes "),
        (["squid", &alone], "squid.conf:3:1: error: it includes "),
        (["smokescreen", &path("aviatrix/tag.csv")], "error"),
        (["smokescreen", &denied], "acl.yaml:3:19: error: `global_deny_list` is no list"),
        (["aviatrix", &path("smokescreen/acl.yaml")], "error"),
        (["aviatrix", &deep], "deep.tf:1:1: error: nested more than 32 deep"),
    ] {
        let output = exeat(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn an_include_beside_a_file_without_a_directory_is_found() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("squid.conf"), "include *.inc\n").unwrap();
    fs::write(directory.path().join("rules.inc"), "http_access allow all\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_exeat"));
    let output = command.current_dir(&directory).args(["import", "squid", "squid.conf"]).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
}

/// The real Squid, with a fixture as its configuration.
struct Judge(Squid);

impl Judge {
    async fn start(conf: &str) -> Self {
        let fixtures = fixture("import/squid");
        let text = fs::read_to_string(fixtures.join(conf)).unwrap();
        let own =
            text.lines().filter(|line| !line.starts_with("http_port") && !line.starts_with("coredump_dir"));
        let own: String = own.map(|line| format!("{line}\n")).collect();
        let names = [
            "crates",
            "static.crates",
            "a.b.crates",
            "notcrates",
            "index.registry",
            "mirror",
            "sub.mirror",
            "archive",
            "www.social",
            "docs.social",
            "chat",
            "tracker",
            "other",
            "evil",
            "sub.evil",
        ];
        let hosts: String = names.iter().map(|name| format!("127.55.0.1 {name}.example\n")).collect();
        let hosts = hosts + "127.66.0.1 blocked.crates.example\n";
        Self(Squid::start(&fixtures, &hosts, |_| own.clone()).await)
    }

    /// Whether it lets a row through: names lead to addresses at which nobody listens, so that what it allows fails.
    async fn allows(&self, row: &Row) -> bool {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((row.client.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], self.0.port).into()).await.unwrap();
        let Row { what, to, .. } = row;
        let target = if *what == "CONNECT" { (*to).to_owned() } else { format!("http://{to}/") };
        let request = format!(
            "{what} {target} HTTP/1.1\r\nHost: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        let status: u16 = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
        match (status, answer.contains("X-Squid-Error: ERR_ACCESS_DENIED")) {
            (403, true) => false,
            (503, false) => true,
            _ => panic!("{what} {to}: {answer}"),
        }
    }
}
