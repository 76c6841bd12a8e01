//! `--report`: what passes, what does not, and that the policy at its end is enough.

use std::fs;
use std::process::Command;

use rustix::process::geteuid;

use crate::held::Sshd;
use crate::servers::{Trust, Web};
use crate::weaker::without;
use crate::world::{self, ALLOWED, DENIED, Ran, Who, World};

/// How the policy begins.
const HEAD: &str = "# A policy that would have been enough";

/// Plain and TLS servers for a.example and b.example, and one at another address.
struct Behind {
    plain: Web,
    tls: Web,
    evil: Web,
    trust: String,
}

impl Behind {
    fn new(world: &World) -> Self {
        let trust = Trust::new(world.directory.path());
        let files = world.path("none");
        Self {
            plain: Web::plain(&format!("{ALLOWED}:0"), &files),
            tls: Web::tls(&format!("{ALLOWED}:0"), &files, &trust),
            evil: Web::plain(&format!("{DENIED}:0"), &files),
            trust: trust.file.to_str().unwrap().to_owned(),
        }
    }

    /// A name by the proxy, another by the DNS door and TLS.
    fn line(&self) -> String {
        let (plain, tls, trust) = (self.plain.port, self.tls.port, &self.trust);
        format!(
            "curl -sS --max-time 20 http://a.example:{plain}/; \
             curl -sS --noproxy '*' --max-time 20 --cacert {trust} https://b.example:{tls}/"
        )
    }

    fn hello(&self) -> String {
        format!("hello from a.example:{}\nhello from b.example:{}\n", self.plain.port, self.tls.port)
    }

    fn rules(&self) -> String {
        let (plain, tls) = (self.plain.port, self.tls.port);
        format!(
            "- {{ host: a.example, ports: [{plain}], protocol: http }} - {{ host: b.example, ports: [{tls}], protocol: tls }}"
        )
    }
}

/// The policy at the end of what was said, and all that is no comment in its list.
fn policy(ran: &Ran) -> (&str, String) {
    let start = ran.error.find(HEAD).unwrap_or_else(|| panic!("no policy: {ran:#?}"));
    let policy = &ran.error[start..];
    let rules = policy.lines().map(str::trim).filter(|line| line.starts_with("- {"));
    let rules: Vec<&str> = rules.map(|line| line.split("   #").next().unwrap().trim()).collect();
    (policy, rules.join(" "))
}

#[track_caller]
fn check(world: &World, file: &str) {
    let check =
        Command::new(env!("CARGO_BIN_EXE_exeat")).arg("check").arg(world.path(file)).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success() && said.contains("0 errors, 0 warnings"), "{said}");
}

#[test]
fn what_no_rule_allows_passes_and_the_policy_at_the_end_is_enough() {
    world::test("report::what_no_rule_allows_passes_and_the_policy_at_the_end_is_enough", |who, world| {
        let behind = Behind::new(world);
        let evil = format!("curl -fsS --max-time 20 http://evil.example:{}/", behind.evil.port);
        // Nothing is allowed at first, and what leads to the host itself never is.
        let line = format!(
            "{}; getent hosts git.example >/dev/null || echo unknown; \
             curl -sS -o /dev/null -w '%{{http_code}}' --max-time 20 http://inner.example:{}/; exit 4",
            behind.line(),
            behind.plain.port
        );
        let mut command = world.exeat_alone(who, &["--report"], &["sh", "-c", &line]);
        let ran = Ran::new(command.output().unwrap());
        assert_eq!((ran.code, ran.out.clone()), (Some(4), behind.hello() + "403"), "{ran:#?}");
        let (text, rules) = policy(&ran);
        assert_eq!(rules, behind.rules(), "{ran:#?}");
        assert!(text.contains("# Not allowed: the name led to no address that may be dialled."), "{text}");
        assert!(text.contains("Only asked for over DNS, never connected to: 1 name"), "{text}");
        let before = &ran.error[..ran.error.find(HEAD).unwrap()];
        assert!(before.contains("--report lets through what no rule allows"), "{before}");
        assert!(before.contains("1 destination was denied"), "{before}");
        assert!(before.contains("inner.example") && !before.contains("a.example:"), "{before}");

        fs::write(world.path("policy.yaml"), text).unwrap();
        check(world, "policy.yaml");
        let ran = world.sh(who, &format!("{}; {evil}", behind.line()));
        assert_eq!(ran.out, behind.hello(), "{ran:#?}");
        assert_eq!(behind.evil.connections(), 0);
        assert!(ran.code != Some(0) && ran.error.contains("1 destination was denied"), "{ran:#?}");
        assert!(ran.error.contains("evil.example") && !ran.error.contains(HEAD), "{ran:#?}");
    });
}

#[test]
fn the_rules_that_are_given_hold_and_what_they_allow_is_in_the_policy_too() {
    world::test(
        "report::the_rules_that_are_given_hold_and_what_they_allow_is_in_the_policy_too",
        |who, world| {
            let behind = Behind::new(world);
            let policy_file = format!(
                "version: 1\nprofiles:\n  - name: everyone\n    allow:\n      \
                 - {{ host: a.example, ports: [{}], protocol: http }}\n    deny: [evil.example]\n",
                behind.plain.port
            );
            let evil = format!(
                "curl -sS -o /dev/null -w '%{{http_code}}' http://evil.example:{}/",
                behind.evil.port
            );
            let line = format!("{}; {evil}", behind.line());
            let mut ways = vec![vec!["--report", "--allow", "c.example", "--audit", "records.jsonl"]];
            if who == Who::Myself {
                ways.push(vec!["--report", "--explicit-only"]);
            }
            for flags in ways {
                fs::write(world.path("policy.yaml"), &policy_file).unwrap();
                let ran = world.run(who, &flags, &["sh", "-c", &line]);
                let is_jail = !flags.contains(&"--explicit-only");
                let (text, rules) = policy(&ran);
                if is_jail {
                    assert_eq!((ran.code, ran.out.clone()), (Some(0), behind.hello() + "403"), "{ran:#?}");
                    assert_eq!(rules, behind.rules(), "{ran:#?}");
                    let records = world.records("records.jsonl");
                    let would_deny = |host: &str| {
                        let is_it = |record: &&serde_json::Value| {
                            record["host"] == host && record["ingress"] != "dns"
                        };
                        records.iter().find(is_it).unwrap()["would_deny"].clone()
                    };
                    assert_eq!(
                        (would_deny("a.example"), would_deny("b.example")),
                        (false.into(), true.into())
                    );
                }
                assert!(rules.contains("host: a.example"), "{ran:#?}");
                assert!(text.contains("# Not allowed: a deny rule covers it"), "{text}");
                assert!(
                    ran.error.contains("evil.example") && ran.error.contains("denied_by_rule"),
                    "{ran:#?}"
                );
                assert_eq!(behind.evil.connections(), 0);
                fs::write(world.path("policy.yaml"), text).unwrap();
                check(world, "policy.yaml");
            }
            fs::remove_file(world.path("records.jsonl")).unwrap();
        },
    );
}

#[test]
fn what_nobody_can_look_into_gets_a_rule_by_the_name_that_was_asked_for() {
    world::test(
        "report::what_nobody_can_look_into_gets_a_rule_by_the_name_that_was_asked_for",
        |who, world| {
            let ssh = Sshd::start(world, ALLOWED);
            let line = ssh.client_line(world, who, "git.example");
            let mut command = world.exeat_alone(who, &["--report"], &["sh", "-c", &line]);
            let ran = Ran::new(command.output().unwrap());
            assert_eq!(ran.good(), "over ssh");
            let (text, rules) = policy(&ran);
            assert_eq!(rules, format!("- {{ host: git.example, ports: [{}], protocol: tcp }}", ssh.port));
            fs::write(world.path("policy.yaml"), text).unwrap();
            check(world, "policy.yaml");
            assert_eq!(world.sh(who, &line).good(), "over ssh");
        },
    );
}

#[test]
fn where_nothing_can_redirect_the_usual_ports_are_open_for_any_name() {
    world::test("report::where_nothing_can_redirect_the_usual_ports_are_open_for_any_name", |who, world| {
        if !geteuid().is_root() {
            return;
        }
        // The server is there as long as the test.
        if who == Who::Myself {
            Web::plain(&format!("{ALLOWED}:80"), &world.path("none"));
        }
        let curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "http://a.example/"];
        let command = world.exeat_alone(who, &["--report"], &curl);
        let ran = without("nft iptables-restore ip6tables-restore", &command, world);
        assert_eq!(ran.good(), "hello from a.example", "{ran:?}");
        assert!(ran.error.contains("a port of the policy, 80 or 443 is refused"), "{ran:?}");
        assert!(policy(&ran).0.contains("      - a.example "), "{ran:?}");
    });
}

#[test]
fn a_command_that_reaches_nothing_needs_a_policy_of_nothing() {
    world::test("report::a_command_that_reaches_nothing_needs_a_policy_of_nothing", |who, world| {
        let mut command = world.exeat_alone(who, &["--report"], &["sh", "-c", "exit 7"]);
        let ran = Ran::new(command.output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (Some(7), ""), "{ran:#?}");
        fs::write(world.path("policy.yaml"), policy(&ran).0).unwrap();
        check(world, "policy.yaml");
        assert_eq!(world.sh(who, "exit 7").code, Some(7));
        // Where nothing ran there is nothing to tell.
        let missing = world.run(who, &["--report"], &["/no/such/command"]);
        assert!(missing.code == Some(127) && !missing.error.contains(HEAD), "{missing:#?}");
    });
}
