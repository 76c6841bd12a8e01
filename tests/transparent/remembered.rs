//! What is reached by the names that the DNS door has told, and what nobody can make it remember.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::gate::{Gate, PATIENCE, Setup};
use crate::namespace::{self, CLIENT_V4, redirect_questions};
use crate::server::Server;
use crate::{RESET, facts, in_order, listen, look_up, redirected};

const BANNER: &str = "SSH-2.0-OpenSSH_9.6\r\n";

async fn gate(policy: &str, zone: [&'static str; 2]) -> Gate {
    let [name, address] = zone;
    let gate = redirected(Setup::new(policy).zone(name, address)).await;
    redirect_questions(gate.dns[0]);
    gate
}

/// The connections, without the questions.
async fn connections(gate: &Gate, count: usize) -> Vec<Value> {
    let mut records = in_order(gate, count).await;
    records.retain(|record| record["ingress"] == "transparent");
    records
}

#[test]
fn an_answer_for_one_name_opens_nothing_that_is_another_names() {
    namespace::run("remembered::an_answer_for_one_name_opens_nothing_that_is_another_names", async {
        let policy = "version: 1\nprofiles:\n  - name: p\n    allow:\n      - { host: git.example, ports: [22], protocol: tcp }\n      - \"*.evil.example\"\n";
        let gate = gate(policy, ["git.example", "93.184.216.34"]).await;
        let git = Server::banner("93.184.216.34:22", BANNER).await;
        let victim = Server::banner("93.184.216.66:22", BANNER).await;
        // Whoever holds a zone that is allowed points its names where they like.
        gate.servers.set("x.evil.example", &["93.184.216.66"]);
        gate.servers.set("y.evil.example", &["93.184.216.34"]);
        for name in ["x.evil.example", "y.evil.example", "git.example"] {
            look_up(name).await;
        }
        assert_eq!(listen("93.184.216.66:22").await, RESET);
        assert_eq!(listen("93.184.216.34:22").await.unwrap(), BANNER);
        let records = connections(&gate, 5).await;
        assert_eq!(facts(&records[0]), ("transparent", "no_rule", "x.evil.example", 22));
        assert_eq!(facts(&records[1]), ("transparent", "allowed", "git.example", 22));
        assert_eq!((git.connections(), victim.connections()), (1, 0));
        gate.stop(5).await;
    });
}

#[test]
fn a_zone_whose_tcp_port_is_allowed_still_leads_to_nothing_special_or_denied() {
    namespace::run(
        "remembered::a_zone_whose_tcp_port_is_allowed_still_leads_to_nothing_special_or_denied",
        async {
            let policy = "version: 1\nprofiles:\n  - name: p\n    allow:\n      - { host: \"*.evil.example\", ports: [22], protocol: tcp }\n      - { host: \"*.in.example\", ports: [22], protocol: tcp, private: [10.8.0.0/16] }\n    deny:\n      - { cidr: 93.184.216.66/32 }\n";
            let gate = gate(policy, ["unused.example", "93.184.216.34"]).await;
            let inside = Server::banner("10.8.0.34:22", BANNER).await;
            let denied = Server::banner("93.184.216.66:22", BANNER).await;
            let metadata = ["169.254.169.254", "10.8.0.34", "93.184.216.66"];
            for (number, address) in metadata.iter().enumerate() {
                let name = format!("n{number}.evil.example");
                gate.servers.set(&name, &[address]);
                look_up(&name).await;
            }
            // Neither the answer nor what was remembered of it lets anyone there.
            assert_eq!(listen("10.8.0.34:22").await, RESET);
            assert_eq!(listen("93.184.216.66:22").await, RESET);
            // The same address under a name that may lead there.
            gate.servers.set("a.in.example", &["10.8.0.34"]);
            look_up("a.in.example").await;
            assert_eq!(listen("10.8.0.34:22").await.unwrap(), BANNER);
            let records = connections(&gate, 7).await;
            assert_eq!(records[0]["verdict"], "deny");
            assert_eq!(records[1]["verdict"], "deny");
            assert_eq!(facts(&records[2]), ("transparent", "allowed", "a.in.example", 22));
            assert_eq!((inside.connections(), denied.connections()), (1, 0));
            gate.stop(7).await;
        },
    );
}

#[test]
fn of_several_names_of_an_address_one_that_is_allowed_will_do() {
    namespace::run("remembered::of_several_names_of_an_address_one_that_is_allowed_will_do", async {
        let policy = "version: 1\nprofiles:\n  - name: p\n    allow:\n      - { host: \"*.git.example\", ports: [22], protocol: tcp }\n      - { host: \"*.data.example\", ports: [5432], protocol: tcp }\n      - \"*.example\"\n";
        let gate = gate(policy, ["unused.example", "93.184.216.34"]).await;
        let _ssh = Server::banner("93.184.216.34:22", BANNER).await;
        let _data = Server::banner("93.184.216.34:5432", "hello\n").await;
        for name in ["a.git.example", "b.data.example", "c.example"] {
            gate.servers.set(name, &["93.184.216.34"]);
            look_up(name).await;
        }
        assert_eq!(listen("93.184.216.34:22").await.unwrap(), BANNER);
        assert_eq!(listen("93.184.216.34:5432").await.unwrap(), "hello\n");
        assert_eq!(listen("93.184.216.34:5433").await, RESET);
        let records = connections(&gate, 6).await;
        assert_eq!(facts(&records[0]), ("transparent", "allowed", "a.git.example", 22));
        assert_eq!(facts(&records[1]), ("transparent", "allowed", "b.data.example", 5432));
        // Of three names nobody knows which was meant.
        assert_eq!(facts(&records[2]), ("transparent", "no_rule", "93.184.216.34", 5433));
        gate.stop(6).await;
    });
}

#[test]
fn a_name_that_a_tcp_rule_lists_is_known_where_hundreds_of_others_have_its_address() {
    namespace::run(
        "remembered::a_name_that_a_tcp_rule_lists_is_known_where_hundreds_of_others_have_its_address",
        async {
            let rule =
                |name: &str| format!("      - {{ host: {name}.git.example, ports: [22], protocol: tcp }}\n");
            let others: String = (0..400).map(|number| rule(&format!("n{number}"))).collect();
            let policy = format!(
                "version: 1\nprofiles:\n  - name: p\n    clients: [{CLIENT_V4}]\n    allow:\n{}  - name: others\n    \
                 clients: [10.77.0.0/16]\n    allow:\n{others}",
                rule("own")
            );
            let gate = gate(&policy, ["*.git.example", "93.184.216.34"]).await;
            let _git = Server::banner("93.184.216.34:22", BANNER).await;
            let deadline = Instant::now() + PATIENCE;
            // Of both families.
            while gate.servers.asked().len() < 2 * 401 {
                assert!(Instant::now() < deadline, "{} names are looked up", gate.servers.asked().len() / 2);
                sleep(Duration::from_millis(20)).await;
            }
            let mut flows = 1;
            while listen("93.184.216.34:22").await != Ok(BANNER.to_owned()) {
                assert!(Instant::now() < deadline, "the name is not remembered");
                sleep(Duration::from_millis(20)).await;
                flows += 1;
            }
            let records = connections(&gate, flows).await;
            assert_eq!(facts(&records[flows - 1]), ("transparent", "allowed", "own.git.example", 22));
            gate.stop(flows).await;
        },
    );
}
