//! Questions on the terminal: each answer, and whatever can happen while one stands.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use tempfile::TempDir;

use crate::servers::{Trust, Web};
use crate::world::{self, ALLOWED, DENIED, Ran, Who, World};

/// Plays a scenario of `ask.py`; an allowed and another server are there, for HTTP and TLS.
fn play(who: Who, world: &World, scenario: &str) {
    // Ports that have a meaning: there is one server for all who play.
    static TRUST: OnceLock<(TempDir, Trust)> = OnceLock::new();
    let (_, trust) = TRUST.get_or_init(|| {
        let files = tempfile::tempdir().unwrap();
        let trust = Trust::new(files.path());
        Web::plain(&format!("{ALLOWED}:80"), files.path());
        Web::plain(&format!("{DENIED}:80"), files.path());
        Web::tls(&format!("{DENIED}:443"), files.path(), &trust);
        speak_first(&format!("{DENIED}:9999"));
        (files, trust)
    });
    fs::copy(&trust.file, world.path("ca.pem")).unwrap();
    let policy =
        "version: 1\nprofiles:\n  - name: everyone # mine\n    allow:\n      - x.example\n    # the end\n";
    fs::write(world.path("policy.yaml"), policy).unwrap();
    if who == Who::User {
        chown(world.path("policy.yaml"), Some(world::USER), Some(world::USER)).unwrap();
    }
    let script = world.path("ask.py");
    fs::write(&script, include_str!("ask.py")).unwrap();
    let exeat = world.exeat(who, &[], &[] as &[&str]);
    let mut python = Command::new("/usr/bin/python3");
    python.arg(&script).arg(scenario).arg(world.directory.path());
    python.arg(exeat.get_program()).args(exeat.get_args()).current_dir(world.directory.path());
    python.env("HOME", world.directory.path()).env("LC_ALL", "C").env_remove("XDG_RUNTIME_DIR");
    let ran = Ran::new(python.output().unwrap());
    assert_eq!(ran.code, Some(0), "{scenario}: {}", ran.error);
}

/// A server that does not wait for its client to say something.
fn speak_first(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever has gone needs no greeting.
            let _ = stream.unwrap().write_all(b"the server speaks first\n");
        }
    });
}

#[test]
fn once_is_what_waits_and_what_a_look_up_leads_to() {
    world::test("ask::once_is_what_waits_and_what_a_look_up_leads_to", |who, world| {
        play(who, world, "once");
        play(who, world, "once_without_the_proxy");
    });
}

#[test]
fn nothing_can_stand_in_for_the_question() {
    world::test("ask::nothing_can_stand_in_for_the_question", |who, world| {
        play(who, world, "nothing_moves_while_one_is_asked");
        play(who, world, "a_yes_to_what_may_be_a_lie_is_none");
    });
}

#[test]
fn a_yes_for_this_run_is_a_rule_of_the_policy() {
    world::test("ask::a_yes_for_this_run_is_a_rule_of_the_policy", |who, world| {
        play(who, world, "for_this_run");
        let records = world.records("audit.jsonl");
        let allowed = records.iter().filter(|record| record["ingress"] != "dns");
        let rules: Vec<_> = allowed.map(|record| (&record["rule"], &record["reason"])).collect();
        assert_eq!(rules.len(), 4, "{records:#?}");
        assert!(rules.iter().all(|rule| *rule == (&"--ask:1 \"evil.example\"".into(), &"allowed".into())));
    });
}

#[test]
fn an_answer_can_be_written_into_the_policy() {
    world::test("ask::an_answer_can_be_written_into_the_policy", |who, world| {
        play(who, world, "write");
        let policy = fs::read_to_string(world.path("policy.yaml")).unwrap();
        assert!(policy.contains("everyone # mine\n"), "{policy}");
        assert!(policy.ends_with("      - x.example\n      - evil.example\n    # the end\n"), "{policy}");
        if who == Who::User {
            play(who, world, "write_where_one_may_not");
        }
    });
}

#[test]
fn silence_is_a_no_that_is_remembered() {
    world::test("ask::silence_is_a_no_that_is_remembered", |who, world| play(who, world, "silence"));
}

#[test]
fn one_name_is_asked_about_once_whatever_waits() {
    world::test("ask::one_name_is_asked_about_once_whatever_waits", |who, world| {
        play(who, world, "many_at_once");
    });
}

#[test]
fn tls_is_told_no_by_an_alert_and_addresses_are_asked_about_unless_they_are_guarded() {
    world::test(
        "ask::tls_is_told_no_by_an_alert_and_addresses_are_asked_about_unless_they_are_guarded",
        |who, world| {
            play(who, world, "alert");
            play(who, world, "addresses");
            play(who, world, "who_speaks_last");
            play(who, world, "rules_have_answered");
        },
    );
}

#[test]
fn keys_that_send_signals_do_so_at_a_question_too() {
    world::test("ask::keys_that_send_signals_do_so_at_a_question_too", |who, world| {
        play(who, world, "ctrl_c");
        play(who, world, "ctrl_z");
        play(who, world, "in_the_background");
    });
}

#[test]
fn a_question_stands_in_nobodys_way() {
    world::test("ask::a_question_stands_in_nobodys_way", |who, world| {
        play(who, world, "a_signal");
        play(who, world, "an_end");
    });
}

#[test]
fn a_command_has_its_terminal_as_it_was() {
    world::test("ask::a_command_has_its_terminal_as_it_was", |who, world| {
        play(who, world, "raw");
        play(who, world, "reader");
        play(who, world, "jobs");
    });
}

#[test]
fn a_command_can_not_change_the_policy_that_holds_it() {
    world::test("ask::a_command_can_not_change_the_policy_that_holds_it", |who, world| {
        play(who, world, "a_policy_of_its_own");
    });
}

#[test]
fn without_a_terminal_nobody_can_be_asked() {
    world::test("ask::without_a_terminal_nobody_can_be_asked", |who, world| {
        let exeat = world.exeat(who, &["--ask"], &["true"]);
        let mut alone = Command::new("setsid");
        alone.arg("--wait").arg(exeat.get_program()).args(exeat.get_args());
        let ran = Ran::new(alone.current_dir(world.directory.path()).output().unwrap());
        assert!(ran.code == Some(2) && ran.error.contains("--ask needs a terminal"), "{ran:?}");
        for other in ["--report", "--explicit-only"] {
            let ran = world.run(who, &["--ask", other], &["true"]);
            assert!(ran.code == Some(2) && ran.error.contains("cannot be used with"), "{ran:?}");
        }
    });
}
