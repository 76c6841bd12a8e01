//! The metrics and alerts of the document, against what exeat counts and what Prometheus makes of them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::documents::{output, table};
use crate::read;
use crate::serving::Serving;

#[test]
fn the_document_lists_every_metric_and_alerts_go_by_those() {
    let document = read("docs/metrics.md");
    let listed: BTreeSet<String> =
        table(&document, "metric").into_iter().map(|row| row[0].trim_end_matches('*').to_owned()).collect();
    let is_listed = |name: &str| {
        listed.contains(name) || listed.iter().any(|of| of.ends_with('_') && name.starts_with(of))
    };
    let exeat = Serving::start(&[]);
    let page =
        output(Command::new("curl").args(["-sS", "--noproxy", "*"]).arg(exeat.admin.clone() + "/metrics"));
    let counted: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(counted.len() > 20, "{page}");
    let alerts = alerts(&document);
    let words = alerts.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let used = words.filter(|word| word.starts_with("exeat_") || word.starts_with("process_"));
    for name in counted.into_iter().chain(used) {
        assert!(is_listed(name), "{name}");
    }
}

#[test]
fn prometheus_takes_the_alerts_and_those_of_size_tell_of_one_replica() {
    let document = read("docs/metrics.md");
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("alerts.yaml"), alerts(&document)).unwrap();
    output(Command::new("promtool").args(["check", "rules"]).arg(at("alerts.yaml")));
    // One replica is beyond both marks, the other one just below them.
    let series = |name: &str, labels: &str, values: &str| {
        format!("      - {{ series: '{name}{{job=\"exeat\",{labels}}}', values: '{values}' }}\n")
    };
    let mut test = "rule_files: [alerts.yaml]\ntests:\n  - interval: 1m\n    input_series:\n".to_owned();
    for (instance, flows, cpu) in [("full", "26+0x60", "0+75x60"), ("free", "25+0x60", "0+70x60")] {
        let instance = format!("instance=\"{instance}\"");
        for ingress in ["connect", "transparent"] {
            test += &series("exeat_flows_active", &format!("{instance},ingress=\"{ingress}\""), flows);
        }
        test += &series("exeat_limit_flows", &instance, "100+0x60");
        test += &series("exeat_threads", &instance, "2+0x60");
        test += &series("process_cpu_seconds_total", &instance, cpu);
    }
    test += "    alert_rule_test:\n";
    for name in ["ExeatHalfFull", "ExeatBusy"] {
        let (_, after) = document.split_once(&format!("alert: {name}\n")).unwrap();
        let summary = after.split("summary: \"").nth(1).unwrap().split('"').next().unwrap();
        test += &format!(
            "      - eval_time: 30m\n        alertname: {name}\n        exp_alerts:\n          - exp_labels: {{ job: exeat, instance: full }}\n            exp_annotations: {{ summary: \"{summary}\" }}\n"
        );
    }
    fs::write(at("test.yaml"), test).unwrap();
    output(
        Command::new("promtool").args(["test", "rules"]).arg(at("test.yaml")).current_dir(directory.path()),
    );
}

/// The file of rules that stands in the document.
fn alerts(document: &str) -> String {
    let block = document.split("```yaml\n").find(|block| block.starts_with("groups:")).unwrap();
    block.split("```").next().unwrap().to_owned()
}
