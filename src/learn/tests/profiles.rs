//! Whom a suggested profile is for, and what it is called.

use super::*;

#[test]
fn clients_share_a_profile_by_what_they_did_or_by_their_profiles() {
    let seen = || {
        [
            Seen { client: "10.0.1.1", ..SEEN },
            Seen { client: "10.0.1.2", profile: "other", ..SEEN },
            Seen { client: "10.0.7.3", name: "b.example.com", ..SEEN },
        ]
    };
    let shape = |text: &str| -> Vec<String> {
        let keys = ["- name: ", "clients: ", "- a.", "- b."];
        let lines = text.lines().map(|line| line.split("   # ").next().unwrap().trim().to_owned());
        lines.filter(|line| keys.iter().any(|key| line.starts_with(key))).collect()
    };
    assert_eq!(
        shape(&suggest(&seen())),
        [
            "- name: learn",
            "clients: [10.0.1.1, 10.0.7.3]",
            "- a.example.com",
            "- b.example.com",
            "- name: other",
            "clients: [10.0.1.2]",
            "- a.example.com"
        ]
    );
    let by_client = Options { by: By::Client, ..Options::default() };
    assert_eq!(
        shape(&suggest_with(by_client.clone(), &seen())),
        [
            "- name: clients-1",
            "clients: [10.0.1.1, 10.0.1.2]",
            "- a.example.com",
            "- name: client-10.0.7.3",
            "clients: [10.0.7.3]",
            "- b.example.com"
        ]
    );
    let by_network = Options { network: Some(24), ..by_client };
    assert_eq!(
        shape(&suggest_with(by_network, &seen())),
        [
            "- name: client-10.0.1.0-24",
            "clients: [10.0.1.0/24]",
            "- a.example.com",
            "- name: client-10.0.7.0-24",
            "clients: [10.0.7.0/24]",
            "- b.example.com"
        ]
    );
    let by_all = Options { by: By::All, name: "run".to_owned(), ..Options::default() };
    assert_eq!(shape(&suggest_with(by_all, &seen())), ["- name: run", "- a.example.com", "- b.example.com"]);
}

#[test]
fn a_baseline_leaves_what_is_new() {
    const BASELINE: &str = "version: 1\nprofiles:\n  - name: learn\n    clients: [10.0.0.0/16]\n    mode: report\n    \
                            allow: [a.example.com]\n    deny: [d.example.com]\n";
    let lines: String =
        ["a.example.com", "b.example.com", "d.example.com"].map(|name| Seen { name, ..SEEN }.line()).concat();
    let text = tally(Options::default(), Some(BASELINE), &lines).suggest().to_string();
    assert!(text.contains("- name: learn-new\n    clients: [10.0.0.0/16]\n"), "{text}");
    assert_eq!(allowed(&text)[0], "- b.example.com   # 1 flow, last 2026-11-22");
    assert!(
        text.contains("Not allowed: a deny rule covers it") && !text.contains("- a.example.com"),
        "{text}"
    );
    assert!(text.contains("# Allowed by the baseline already: 1 flow, last 2026-11-22.\n"), "{text}");
    let lines = Seen { ..SEEN }.line();
    let text = tally(Options::default(), Some(BASELINE), &lines).suggest().to_string();
    assert!(text.contains("profiles: []\n"), "{text}");
}

#[test]
fn a_baseline_knows_users_and_certificates_by_their_names() {
    const BASELINE: &str = "version: 1\nprofiles:\n  - name: people\n    clients: [\"user:alice\", \"cert:*.corp.example\"]\n    \
                            allow: [a.example.com]\n";
    let of = |user: &str| {
        let line = Seen { name: "a.example.com", ..SEEN }.line();
        line.replace("\"user\":null", &format!("\"user\":\"{user}\""))
    };
    let lines = ["alice", "ci.corp.example", "mallory"].map(of).concat();
    let text = tally(Options::default(), Some(BASELINE), &lines).suggest().to_string();
    assert!(text.contains("# Allowed by the baseline already: 2 flows, last 2026-11-22.\n"), "{text}");
    assert_eq!(allowed(&text)[0], "- a.example.com   # 1 flow, last 2026-11-22");
}

#[test]
fn clients_with_a_name_are_pointed_out() {
    let lines = SEEN.line().replace("\"user\":null", "\"user\":\"alice\"");
    let text = tally(Options::default(), None, &lines).suggest().to_string();
    assert!(text.contains("has the addresses alone: 1 flow, last 2026-11-22. Name them before"), "{text}");
}

#[test]
fn nothing_seen_allows_nothing() {
    let text = suggest(&[]);
    assert!(text.ends_with("version: 1\nprofiles:\n  - name: learned\n"), "{text}");
}

#[test]
fn profiles_have_names_that_a_policy_may_have() {
    let text = suggest(&[
        Seen { profile: "--allow", ..SEEN },
        Seen { profile: "\\u001b[31mred", ..SEEN },
        Seen { profile: "a/b", ..SEEN },
        Seen { profile: "a:b", ..SEEN },
    ]);
    for name in ["allow", "31mred", "a-b", "a-b-new"] {
        assert!(text.contains(&format!("- name: {name}\n")), "{text}");
    }
}
