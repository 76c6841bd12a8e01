//! What is set apart, and where no wildcard reaches.

use super::*;

#[test]
fn no_wildcard_takes_in_what_is_set_apart_or_is_a_blind_rule() {
    let names: Vec<&'static str> = (0..9).map(|number| &*format!("h{number}.example.com").leak()).collect();
    let mut flows: Vec<Seen> = names.iter().map(|name| Seen { name, ..SEEN }).collect();
    flows.push(Seen { name: "secret.example.com", reason: "denied_by_rule", ..SEEN });
    let text = suggest(&flows);
    assert!(!text.contains('*'), "{text}");
    assert!(text.contains("# Not allowed: a deny rule covers it"), "{text}");
    let flows: Vec<Seen> =
        names.iter().map(|name| Seen { name, inside: "other", port: 22, ..SEEN }).collect();
    assert!(!suggest(&flows).contains('*'));
}

#[test]
fn no_rule_opens_what_a_deny_rule_refused() {
    let denied = |port| Seen { port, inside: "nothing", reason: "denied_by_rule", ..SEEN };
    let http = Seen { port: 80, inside: "http", ..SEEN };
    for (flows, rule) in [
        ([SEEN, denied(80)], "- { host: a.example.com, ports: [443], protocol: tls } "),
        ([http, denied(443)], "- { host: a.example.com, ports: [80], protocol: http } "),
        ([SEEN, denied(8080)], "- a.example.com "),
        // Of some clients: who shares a profile is for its author to say.
        ([SEEN, denied(443)], "- a.example.com "),
    ] {
        let text = suggest(&flows);
        assert!(text.contains(&format!("\n      {rule}")), "{text}");
        assert!(text.contains("# Not allowed: a deny rule covers it"), "{text}");
    }
}

#[test]
fn noise_and_risk_are_set_apart_with_the_reason_and_what_would_allow_them() {
    const LONG: &str = "nbswy3dpeb3w64tmmqqgc3tebuqho2lunaqgiylumeqgc3teebwgk5a.t.example.com";
    for (seen, why, offer) in [
        (
            Seen { name: "203.0.114.7", inside: "other", ..SEEN },
            "given by address",
            "- { cidr: 203.0.114.7, ports: [443], protocol: tcp }",
        ),
        (
            Seen { name: "2a00:1450::1", inside: "other", port: 22, ..SEEN },
            "given by address",
            "- { cidr: \"2a00:1450::1\", ports: [22], protocol: tcp }",
        ),
        (
            Seen { name: "10.9.9.9", inside: "nothing", ..SEEN },
            "a private or other special address",
            "- { cidr: 10.9.9.9 }",
        ),
        (
            Seen { name: "10.9.9.9", port: 5432, inside: "nothing", reason: "address_prohibited", ..SEEN },
            "a private or other special address",
            "- { cidr: 10.9.9.9, ports: [5432] }",
        ),
        (Seen { name: "169.254.169.254", port: 80, inside: "http", ..SEEN }, "a cloud metadata address", ""),
        (
            Seen { name: "169.254.169.254", inside: "nothing", reason: "address_prohibited", ..SEEN },
            "a cloud metadata address",
            "",
        ),
        (Seen { address: "169.254.169.254", ..SEEN }, "a cloud metadata address", ""),
        (
            Seen { address: "10.20.0.5", ..SEEN },
            "the name led to a private",
            "- { host: a.example.com, private: [10.20.0.5] }",
        ),
        (Seen { inside: "b.example.com", ..SEEN }, "the server name inside was another", ""),
        (Seen { reason: "server_name_mismatch", ..SEEN }, "the server name inside was another", ""),
        (Seen { reason: "host_mismatch", ..SEEN }, "the Host of a request", ""),
        (Seen { reason: "ech_denied", ..SEEN }, "Encrypted Client Hello", ""),
        (Seen { inside: "ech", ..SEEN }, "Encrypted Client Hello", ""),
        (Seen { reason: "denied_by_rule", ..SEEN }, "a deny rule covers it", ""),
        (Seen { reason: "address_prohibited", ..SEEN }, "the name led to no address that may be dialled", ""),
        (
            Seen { reason: "not_tls", ..SEEN },
            "not TLS inside",
            "- { host: a.example.com, ports: [443], protocol: tcp }",
        ),
        (
            Seen { reason: "dns_failed", inside: "nothing", address: "", ..SEEN },
            "there never was a connection",
            "- a.example.com",
        ),
        (
            Seen { reason: "dial_refused", inside: "nothing", port: 81, ..SEEN },
            "there never was",
            "- { host: a.example.com, ports: [81] }",
        ),
        (Seen { name: LONG, ..SEEN }, "a long, random label", "- nbswy3d"),
    ] {
        let text = suggest(&[seen]);
        assert!(text.contains(&format!("# Not allowed: {why}")), "{why}: {text}");
        assert!(!text.lines().any(|line| line.starts_with("      -")), "{text}");
        if offer.is_empty() {
            assert!(!text.contains("# - "), "{text}");
            continue;
        }
        assert!(text.contains(&format!("# {offer}")), "{offer}: {text}");
        // Whoever takes an offer gets a policy.
        policy(&text.replace("# allow:", "allow:").replace("# - ", "- "));
    }
}

#[test]
fn a_tunnel_of_names_is_one_line_and_opens_nothing() {
    let names: Vec<&'static str> =
        (0..2000).map(|number| &*format!("q{number}.tunnel.example.com").leak()).collect();
    for (count, shown) in
        [(60, "# 60 names below example.com"), (2000, "more than 1000 names below example.com")]
    {
        for ingress in ["dns", "connect"] {
            let inside = if ingress == "dns" { "TXT" } else { "tls" };
            let flows: Vec<Seen> =
                names[..count].iter().map(|name| Seen { name, ingress, inside, ..SEEN }).collect();
            let text = suggest(&flows);
            let expected = shown.trim_start_matches("# ");
            assert!(text.contains(expected) && text.contains("carry data out"), "{text}");
            assert!(text.lines().count() < 12, "{text}");
        }
    }
}

#[test]
fn questions_alone_are_no_rules() {
    let text = suggest(&[
        Seen { ..SEEN },
        Seen { name: "a.example.com", port: 53, ingress: "dns", inside: "A", ..SEEN },
        Seen { name: "asked.example.com", port: 53, ingress: "dns", inside: "A", ..SEEN },
    ]);
    assert_eq!(allowed(&text)[0], "- a.example.com   # 1 flow, last 2026-11-22");
    assert!(
        text.ends_with("# Only asked for over DNS, never connected to: 1 name, 1 flow, last 2026-11-22.\n"),
        "{text}"
    );
}

#[test]
fn what_was_denied_is_taken_in_on_request_alone() {
    let seen =
        || [Seen { ..SEEN }, Seen { name: "b.example.com", reason: "no_rule", inside: "nothing", ..SEEN }];
    let text = suggest(&seen());
    assert!(!text.contains("b.example.com"), "{text}");
    assert!(
        text.contains(
            "# Not taken into account, no_rule: 1 flow, last 2026-11-22; --denied takes them in.\n"
        ),
        "{text}"
    );
    let text = suggest_with(Options { denied: true, ..Options::default() }, &seen());
    assert!(text.contains("- b.example.com "), "{text}");
}
