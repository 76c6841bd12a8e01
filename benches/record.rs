//! What accounting for a flow costs on the flow's own thread, and what a record costs on the sink's.

#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use exeat::client::Client;
use exeat::destination::Destination;
use exeat::flow::{Flow, Ledger, Limits};
use exeat::ingress::Ingress;
use exeat::metrics::Metrics;
use exeat::policy::document::load_text;
use exeat::policy::{Policy, Question, Seen};
use exeat::record::{Audit, FlowId, Ids, Inside, Profiles, Record, Sink};

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 22);

fn accounting(criterion: &mut Criterion) {
    let client = Client::new("10.0.1.9:40000".parse().unwrap(), "10.0.1.1".parse().unwrap());
    let to = Destination::parse("static.crates.io:443").unwrap();
    let profiles: Profiles = Arc::from([Box::from("build-runners")]);
    let ledger = open_ledger(Some("/dev/null"));
    let policy = policy();
    let silent = open_ledger(None);

    criterion.bench_function("flow: begin to end, with its record", |bencher| {
        bencher.iter(|| flow(&ledger, &policy, &client, &to, &profiles).end(Ok(())));
    });
    criterion.bench_function("flow: begin to end, without a record", |bencher| {
        bencher.iter(|| flow(&silent, &policy, &client, &to, &profiles).end(Ok(())));
    });
    let subject = policy.subject(&client);
    let question = Question { to: &to, seen: Seen::Unknown, address: None };
    let open = silent.begin(Ingress::Connect, client.clone());
    criterion.bench_function("flow: tell it a verdict", |bencher| {
        let verdict = policy.decide(&subject, &question, TODAY);
        bencher.iter(|| open.verdict(black_box(&verdict), &profiles, Duration::from_nanos(300)));
    });
    let record = record(&client, &to, &profiles);
    criterion.bench_function("record: hand it over", |bencher| {
        bencher.iter_batched(
            || Box::new(record.clone()),
            |record| ledger.sink().write(record),
            criterion::BatchSize::SmallInput,
        );
    });
    ledger_of_many(criterion, &client, &to, &profiles);
    let mut line = Vec::new();
    criterion.bench_function("record: write its line", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&record).write_line(&mut line);
        });
    });
}

fn ledger_of_many(criterion: &mut Criterion, client: &Client, to: &Destination, profiles: &Profiles) {
    let ledger = open_ledger(None);
    let policy = policy();
    let flows: Vec<Flow> = (0..40_000).map(|_| flow(&ledger, &policy, client, to, profiles)).collect();
    criterion.bench_function("40,000 open flows: begin to end of one more", |bencher| {
        bencher.iter(|| flow(&ledger, &policy, client, to, profiles).end(Ok(())));
    });
    criterion.bench_function("40,000 open flows: count their bytes", |bencher| {
        bencher.iter(|| {
            let mut walk = ledger.walk();
            while walk.count_bytes() {}
        });
    });
    criterion.bench_function("40,000 open flows: judge them anew", |bencher| {
        bencher.iter(|| {
            let policy = self::policy();
            let keeps = move |client: &Client, question: &Question<'_>| {
                policy.decide(&policy.subject(client), question, TODAY).is_allow()
            };
            assert_eq!(ledger.rejudge(keeps), 0);
        });
    });
    drop(flows);
}

fn policy() -> Policy {
    let text = "version: 1\nprofiles:\n  - name: build-runners\n    allow: ['*.crates.io']\n";
    load_text(Path::new("policies/build.yaml"), text).unwrap().builder.finish(1)
}

fn open_ledger(path: Option<&str>) -> Arc<Ledger> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let audit = Audit { path: path.map(Into::into), opened: false, required: false, reserve: 0 };
    let sink = Sink::open(&audit, metrics.records()).unwrap();
    Arc::new(Ledger::new(metrics, sink, Limits { flows: 100_000, flows_per_client: None }))
}

fn flow(
    ledger: &Arc<Ledger>,
    policy: &Policy,
    client: &Client,
    to: &Destination,
    profiles: &Profiles,
) -> Flow {
    let flow = ledger.begin(Ingress::Connect, client.clone());
    flow.take_permit().unwrap();
    flow.to(to);
    let subject = policy.subject(client);
    for seen in [Seen::Unknown, Seen::Tls { server_name: to.host.name(), ech: false }] {
        flow.seen(seen);
        let question = Question { to, seen, address: None };
        let verdict = policy.decide(&subject, &question, TODAY);
        flow.verdict(&verdict, profiles, Duration::from_nanos(300));
    }
    flow.dialled(Some(upstream()), Duration::from_micros(300), Duration::from_micros(900));
    flow.status(200);
    flow
}

fn record(client: &Client, to: &Destination, profiles: &Profiles) -> Record {
    let id: FlowId = Ids::new().next();
    Record {
        profiles: Some(Arc::clone(profiles)),
        to: Some(to.clone()),
        inside: Inside::Tls { server_name: to.host.name().cloned(), ech: false },
        address: Some(upstream().ip()),
        rule: Some("policies/build.yaml:8 \"*.crates.io\"".into()),
        dial: Some(Duration::from_micros(1200)),
        duration: Some(Duration::from_millis(4321)),
        status: Some(200),
        ..Record::new(id, Ingress::Connect, client.clone())
    }
}

fn upstream() -> SocketAddr {
    SocketAddr::from(([151, 101, 2, 137], 443))
}

criterion_group!(benches, accounting);
criterion_main!(benches);
