use super::*;
use crate::auth::{KeySource, KeyUrl, PasswordFiles, Required};
use crate::identity::{Algorithm, TokenRules};
use crate::parent::{PasswordSource, Resolve};

fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    Settings::parse(Path::new("/etc/exeat/exeat.yaml"), text)
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse(""), Ok(Settings::default()));
    assert_eq!(parse("# nothing yet\n"), Ok(Settings::default()));
}

#[test]
fn every_key_is_read() {
    let text = r#"
listen:
  explicit: ["0.0.0.0:3128", "[::]:3128"]
  transparent: ["[::]:3129"]
  dns: ["127.0.0.1:3153", "[::1]:3153"]
  admin: null
policy: [policies, /srv/policies/a.yaml]
audit: { path: ../../var/log/exeat.jsonl, opened: true, required: true }
threads: 4
limits: { flows: 0, flows_per_client: 200, connections: 5000, connections_per_client: 100, head_bytes: 65536 }
timeouts: { head: 5s, dial: 2500ms, keepalive: 1m, idle: 2h, half_closed: 1m 30s, drain: 1s }
dns: { servers: [10.0.0.2, "[2001:db8::2]:5353", tls://10.0.0.3#dns.example], ca: ca.pem, hosts: /run/hosts, min_ttl: 5s, max_ttl: 1m, denied: refused, https: without_ech }
outgoing: { source: [198.51.100.7], interface: eth1, mark: 0x15, family: ipv4 }
admin_expose: all
admin_names: [Exeat.example]
"#;
    let settings = parse(text).unwrap();
    assert_eq!(settings.listen.explicit, ["0.0.0.0:3128".parse().unwrap(), "[::]:3128".parse().unwrap()]);
    assert_eq!(settings.listen.transparent, ["[::]:3129".parse().unwrap()]);
    assert_eq!(settings.listen.dns, ["127.0.0.1:3153".parse().unwrap(), "[::1]:3153".parse().unwrap()]);
    assert_eq!(settings.listen.admin, None);
    assert_eq!(settings.policy, [PathBuf::from("/etc/exeat/policies"), "/srv/policies/a.yaml".into()]);
    assert_eq!(
        settings.audit,
        Audit { path: "/etc/exeat/../../var/log/exeat.jsonl".into(), opened: true, required: true }
    );
    assert_eq!(settings.threads, Some(4));
    let limits = Limits {
        flows: None,
        flows_per_client: NonZeroUsize::new(200),
        connections: NonZeroUsize::new(5000),
        connections_per_client: NonZeroUsize::new(100),
        head_bytes: 65536,
    };
    assert_eq!(settings.limits, limits);
    assert_eq!(settings.timeouts.dial, Duration::from_millis(2500));
    assert_eq!(settings.timeouts.half_closed, Duration::from_secs(90));
    let servers: Vec<String> = settings.dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "[2001:db8::2]:5353", "tls://10.0.0.3:853#dns.example"]);
    assert_eq!(settings.dns.ca, Some("/etc/exeat/ca.pem".into()));
    assert_eq!(settings.dns.max_ttl, Duration::from_secs(60));
    assert_eq!(settings.dns.manners, Manners { denied: Denied::Refused, https: Https::WithoutEch });
    let outgoing = settings.outgoing.map(|outgoing| outgoing.to_string());
    assert_eq!(outgoing.as_deref(), Some("source 198.51.100.7, interface eth1, mark 0x15, IPv4 alone"));
    assert_eq!(settings.admin_expose, Expose::All);
    assert_eq!(settings.admin_names[0].as_str(), "exeat.example");
}

#[test]
fn a_listener_may_have_tls_and_senders() {
    let text = r#"
listen:
  explicit:
    - "127.0.0.1:3128"
    - { address: "[::]:3443", tls: { certificate: tls.crt, key: /k/tls.key }, proxy_protocol: { from: [10.0.0.0/28, "2001:db8::1"] } }
    - address: 127.0.0.1:3444
      tls: { certificate: a, key: b, client_ca: c, client_auth: optional, name_from: cn, crl: d }
  transparent: [{ address: "[::]:3129", proxy_protocol: { from: [10.0.0.1] } }]
  dns: [{ address: "[::]:3153" }]
"#;
    let listen = parse(text).unwrap().listen;
    assert_eq!(listen.explicit[0], "127.0.0.1:3128".parse().unwrap());
    let files = |certificate: &str, key: &str, clients| tls::Files {
        certificate: certificate.into(),
        key: key.into(),
        clients,
    };
    assert_eq!(listen.explicit[1].tls, Some(files("/etc/exeat/tls.crt", "/k/tls.key", None)));
    assert_eq!(
        listen.explicit[1].senders,
        ["10.0.0.0/28".parse().unwrap(), "2001:db8::1/128".parse().unwrap()]
    );
    let clients = tls::Clients {
        ca: "/etc/exeat/c".into(),
        required: false,
        crl: vec!["/etc/exeat/d".into()],
        name_from: Some(tls::NameFrom::CommonName),
    };
    assert_eq!(listen.explicit[2].tls, Some(files("/etc/exeat/a", "/etc/exeat/b", Some(clients))));
    assert_eq!(listen.transparent[0].senders, ["10.0.0.1/32".parse().unwrap()]);
    assert_eq!(listen.dns[0], "[::]:3153".parse().unwrap());

    let text = "\
listen:
  explicit: [{ tls: yes }, { address: x, proxy_protocol: { from: [] } }, { address: '1.2.3.4:5', proxy_protocol: { from: [ten, '::ffff:10.0.0.0/104'] } }, { address: '1.2.3.4:6', proxy_protocol: { from: all } }]
  dns: [{ address: '1.2.3.4:53', tls: {} }]
";
    let told: Vec<String> = parse(text).unwrap_err().iter().map(|mistake| mistake.what.clone()).collect();
    for what in [
        "`address` is missing in a listener",
        "`tls` is the text \"yes\"",
        "`address` is the text \"x\": invalid socket address syntax",
        "`from` is an empty list",
        "`from` is the text \"ten\"",
        "`from` is the text \"::ffff:10.0.0.0/104\": it is an IPv4 network in an IPv6 dress, which nobody has: write 10.0.0.0/8",
        "`dns` has no key \"tls\"",
        "`from` is the text \"all\"",
    ] {
        let is_told = told.iter().filter(|told| told.starts_with(what)).count();
        assert_eq!(is_told, 1, "{what}: {told:#?}");
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = "\
listn: {}
threads: many
limits: { head_bytes: 12 }
timeouts: { head: 10, idle: 0s, drain: -1s }
listen: { explicit: [\"3128\", \"localhost:3128\"], admin: true }
dns: { min_ttl: 1h, servers: [tls://dns.example, 10.0.0.2, \"10.0.0.2:53\", dns.example], ca: ca.pem }
audit: stdout
admin_expose: everything
";
    let mistakes: Vec<String> = parse(text).unwrap_err().iter().map(ToString::to_string).collect();
    for (mistake, expected) in mistakes.iter().zip([
        "exeat.yaml:1:1: error: `the settings` has no key \"listn\"\n  hint: did you mean `listen`?",
        "exeat.yaml:2:10: error: `threads` is the text \"many\"",
        "exeat.yaml:3:23: error: `head_bytes` is the number 12\n  hint: it must be a whole number from 8192",
        "exeat.yaml:4:19: error: `head` is the number 10: not a number with a unit of time\n  hint: it must be a duration",
        "exeat.yaml:4:29: error: `idle` is the text \"0s\": out of range",
        "exeat.yaml:4:40: error: `drain` is the text \"-1s\": out of range",
        "exeat.yaml:5:22: error: `explicit` is the text \"3128\"",
        "exeat.yaml:5:30: error: `explicit` is the text \"localhost:3128\"",
        "exeat.yaml:5:56: error: `admin` is the boolean true",
        "exeat.yaml:6:8: error: `min_ttl` is longer than `max_ttl`",
        "exeat.yaml:6:31: error: `servers` is the text \"tls://dns.example\": the address has to be given",
        "exeat.yaml:6:60: error: `servers` has 10.0.0.2:53 twice",
        "exeat.yaml:6:75: error: `servers` is the text \"dns.example\": it is no address\n  hint: it must be an address",
        "exeat.yaml:6:93: error: `ca` is for servers over TLS, and none is listed",
        "exeat.yaml:7:8: error: `audit` is the text \"stdout\"",
        "exeat.yaml:8:15: error: `admin_expose` is the text \"everything\"",
    ]) {
        assert!(mistake.contains(expected), "expected {expected}\n     got {mistake}");
    }
    assert_eq!(mistakes.len(), 16, "{mistakes:#?}");
}

#[test]
fn a_file_that_can_t_be_read_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let latin1 = directory.path().join("latin1.yaml");
    std::fs::write(&latin1, b"threads: 1 # one\n# f\xfcnf\n").unwrap();
    for (path, expected) in [
        (Path::new("/nonexistent/exeat.yaml"), "it can't be read: No such file or directory"),
        (directory.path(), "it is a directory"),
        (&latin1, "it is not UTF-8 at line 2, column 4"),
        (Path::new("/dev/zero"), "it is larger than 64 MiB"),
    ] {
        let mistakes = Settings::load(path).unwrap_err();
        let expected = format!("{}:1:1: error: {expected}", path.display());
        assert!(mistakes.len() == 1 && mistakes[0].to_string().starts_with(&expected), "{mistakes:?}");
    }
}

#[test]
fn credentials_are_read() {
    let text = r#"
auth:
  realm: the gate
  required: [10.0.2.0/24, 192.0.2.7]
  allow_plaintext_auth: true
  basic: { file: users, groups: /srv/groups }
  jwt: { jwks: "https://issuer.example/jwks", issuer: "https://issuer.example", audience: [exeat, gate], algorithms: [ES256],
         user_claim: email, groups_claim: /realm/roles, leeway: 0s, refresh: 10m, ca: ca.pem }
"#;
    let auth = parse(text).unwrap().auth.unwrap();
    assert_eq!(auth.place.to_string(), "/etc/exeat/exeat.yaml:3:3");
    assert_eq!((auth.realm.as_str(), auth.allow_plaintext), ("the gate", true));
    let networks = ["10.0.2.0/24", "192.0.2.7/32"].map(|network| network.parse().unwrap());
    assert_eq!(auth.required, Required::From(networks.to_vec()));
    let files = PasswordFiles { users: "/etc/exeat/users".into(), groups: Some("/srv/groups".into()) };
    assert_eq!(auth.passwords, Some(files));
    let tokens = auth.tokens.unwrap();
    let rules = TokenRules {
        issuer: "https://issuer.example".into(),
        audience: vec!["exeat".into(), "gate".into()],
        algorithms: vec![Algorithm::Es256],
        user_claim: "email".into(),
        groups_claim: Some("/realm/roles".into()),
        leeway: 0,
    };
    assert_eq!(tokens.rules, rules);
    let keys = KeySource::Url {
        url: KeyUrl::parse("https://issuer.example/jwks").unwrap(),
        ca: Some("/etc/exeat/ca.pem".into()),
        refresh: Duration::from_secs(600),
    };
    assert_eq!(tokens.keys, keys);

    let least = parse("auth: { jwt: { jwks: keys.json, issuer: i, audience: a } }").unwrap().auth.unwrap();
    assert_eq!(
        (least.realm.as_str(), least.required, least.allow_plaintext),
        ("exeat", Required::Everyone, false)
    );
    let tokens = least.tokens.unwrap();
    assert_eq!(tokens.keys, KeySource::File("/etc/exeat/keys.json".into()));
    let rules = tokens.rules;
    assert_eq!((rules.user_claim.as_str(), rules.groups_claim, rules.leeway), ("sub", None, 30));
    assert_eq!(rules.algorithms, [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]);
}

#[test]
fn every_mistake_about_credentials_is_told() {
    let text = r#"
auth:
  realm: "a\"b"
  required: sometimes
  basic: { groups: "" }
  jwt: { jwks: "http://issuer.example", audience: [], algorithms: [HS256], leeway: 10m, issuer: "" }
"#;
    let told = |text| parse(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
    let at =
        |line: &str, column: u32, rest: &str| format!("/etc/exeat/exeat.yaml:{line}:{column}: error: {rest}");
    for (mistake, expected) in told(text).iter().zip([
        at("3", 10, "`realm` is the text \"a\\\"b\""),
        at("4", 13, "`required` is the text \"sometimes\""),
        at("5", 10, "`file` is missing in `basic`"),
        at("5", 20, "`groups` is the text \"\""),
        at("6", 16, "`jwks` is the text \"http://issuer.example\": keys come over https or from a file"),
        at("6", 51, "`audience` is an empty list: no token could be for exeat"),
        at("6", 68, "`algorithms` is the text \"HS256\""),
        at("6", 84, "`leeway` is the text \"10m\": out of range"),
        at("6", 97, "`issuer` is the text \"\""),
    ]) {
        assert!(mistake.starts_with(&expected), "{mistake}\n{expected}");
    }
    assert_eq!(told(text).len(), 9, "{:#?}", told(text));
    assert!(told("auth: {}")[0].contains("`auth` says of no credentials that they are taken"));
    let url =
        told("auth: { jwt: { jwks: \"https://u:s3cret@issuer.example/keys\", issuer: i, audience: a } }");
    assert!(
        url.len() == 1 && url[0].contains("`jwks` has credentials") && !url[0].contains("s3cret"),
        "{url:?}"
    );
    let file = told("auth: { jwt: { jwks: keys.json, issuer: i, audience: a, ca: x, refresh: 5m } }");
    assert!(
        file.iter().all(|mistake| mistake.contains("is about keys that come from a URL")) && file.len() == 2
    );
}

#[test]
fn parents_are_read() {
    let settings = parse(
        "parents:\n  corp:\n    urls: [\"http://10.0.0.5:3128\", \"https://proxy.corp.example\"]\n    \
         resolve: parent\n    username: exeat\n    password_file: secrets/corp\n    ca: corp.pem\n  \
         dmz: { urls: [\"http://dmz.example:8080\"], username: a, password_env: DMZ_PASSWORD }\n",
    )
    .unwrap();
    let [corp, dmz] = &settings.parents[..] else { panic!("{settings:#?}") };
    let urls: Vec<String> = corp.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://10.0.0.5:3128", "https://proxy.corp.example"]);
    assert_eq!((corp.name.as_str(), corp.resolve), ("corp", Resolve::Parent));
    assert_eq!(corp.ca, Some("/etc/exeat/corp.pem".into()));
    let account = corp.account.as_ref().unwrap();
    assert_eq!(account.password, PasswordSource::File("/etc/exeat/secrets/corp".into()));
    assert_eq!((dmz.resolve, &dmz.ca), (Resolve::Here, &None));
    assert_eq!(settings.secret_variables(), ["DMZ_PASSWORD"]);
    let known: Vec<String> = settings.known_parents().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(known, ["corp", "dmz"]);
}

#[test]
fn every_mistake_about_parents_is_told() {
    for (text, expected) in [
        ("parents: [corp]", "`parents` is a list"),
        ("parents: { direct: { urls: [\"http://a:1\"] } }", "the parent's name \"direct\" can't be used"),
        ("parents: { a b: { urls: [\"http://a:1\"] } }", "the parent's name \"a b\" can't be used"),
        (
            "parents: { a: {} }",
            "`urls` is missing in a parent\n  hint: add it, like `urls: [\"http://proxy.example:3128\"]`",
        ),
        ("parents: { a: { urls: [] } }", "it must be a list of at least one URL"),
        ("parents: { a: { urls: [\"http://a:1\", \"http://A:1/\"] } }", "`urls` has http://a:1 twice"),
        ("parents: { a: { urls: [\"socks5://a:1\"] } }", "a proxy is spoken to over http or https"),
        (
            "parents: { a: { urls: [\"http://u:s3cret@a:1\"] } }",
            "`urls` has credentials, which do not stand in the URL",
        ),
        ("parents: { a: { urls: [\"http://a:1\"], ca: x } }", "`ca` is for parents over TLS"),
        ("parents: { a: { urls: [\"http://a:1\"], username: x } }", "`username` without a password"),
        ("parents: { a: { urls: [\"http://a:1\"], password_env: x } }", "`password_env` without `username`"),
        (
            "parents: { a: { urls: [\"http://a:1\"], username: x, password_env: Y, password_file: z } }",
            "both `password_file` and `password_env`",
        ),
        (
            "parents: { a: { urls: [\"http://a:1\"], username: \"a:b\", password_env: Y } }",
            "a name without colons",
        ),
        ("parents: { a: { urls: [\"http://a:1\"], resolve: upstream } }", "`here` and `parent`"),
    ] {
        let told: String = parse(text).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(told.contains(expected), "{text}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}
