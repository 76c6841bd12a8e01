//! What accounting for a flow costs on the flow's own thread, and what a record costs on the sink's.

#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use exeat::client::Client;
use exeat::destination::Destination;
use exeat::flow::{Flow, Ledger, Limits};
use exeat::ingress::Ingress;
use exeat::metrics::Metrics;
use exeat::policy::Seen;
use exeat::record::{Audit, FlowId, Ids, Inside, Profiles, Record, Sink};

fn accounting(criterion: &mut Criterion) {
    let client = Client::new("10.0.1.9:40000".parse().unwrap(), "10.0.1.1".parse().unwrap());
    let to = Destination::parse("static.crates.io:443").unwrap();
    let profiles: Profiles = Arc::from([Box::from("build-runners")]);
    let ledger = open_ledger(Some("/dev/null"));
    let silent = open_ledger(None);

    criterion.bench_function("flow: begin to end, with its record", |bencher| {
        bencher.iter(|| flow(&ledger, client, &to, &profiles).end(Ok(())));
    });
    criterion.bench_function("flow: begin to end, without a record", |bencher| {
        bencher.iter(|| flow(&silent, client, &to, &profiles).end(Ok(())));
    });
    let record = record(client, &to, &profiles);
    criterion.bench_function("record: hand it over", |bencher| {
        bencher.iter_batched(
            || record.clone(),
            |record| ledger.sink().write(record),
            criterion::BatchSize::SmallInput,
        );
    });
    let mut line = Vec::new();
    criterion.bench_function("record: write its line", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&record).write_line(&mut line);
        });
    });
}

fn open_ledger(path: Option<&str>) -> Arc<Ledger> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let audit = Audit { path: path.map(Into::into), opened: false, required: false, reserve: 0 };
    let sink = Sink::open(&audit, metrics.records_lost()).unwrap();
    Arc::new(Ledger::new(metrics, sink, Limits { flows: 100_000, flows_per_client: 0 }))
}

fn flow(ledger: &Arc<Ledger>, client: Client, to: &Destination, profiles: &Profiles) -> Flow {
    let flow = ledger.begin(Ingress::Connect, client);
    flow.take_permit().unwrap();
    flow.to(to);
    flow.profiles(profiles);
    flow.seen(Seen::Tls { server_name: to.host.name(), ech: false });
    flow.dialled(upstream(), Duration::from_micros(300), Duration::from_micros(900));
    flow.status(200);
    flow
}

fn record(client: Client, to: &Destination, profiles: &Profiles) -> Record {
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
        ..Record::new(id, Ingress::Connect, client)
    }
}

fn upstream() -> SocketAddr {
    SocketAddr::from(([151, 101, 2, 137], 443))
}

criterion_group!(benches, accounting);
criterion_main!(benches);
