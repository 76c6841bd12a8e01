//! What it costs to read a ClientHello; it should stay about a microsecond, however large the hello.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exeat::sniff::{client_hello, first_bytes};

fn sniff(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("client_hello");
    for client in ["curl", "chromium"] {
        let bytes = recorded(client);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(client, |bencher| bencher.iter(|| client_hello(black_box(&bytes))));

        let split = in_small_records(&bytes);
        let name = format!("{client} in records of 100 bytes");
        group.bench_function(name, |bencher| bencher.iter(|| client_hello(black_box(&split))));

        let half = &bytes[..bytes.len() / 2];
        group.bench_function(format!("{client}, half of it"), |bencher| {
            bencher.iter(|| client_hello(black_box(half)));
        });
    }
    group.finish();

    let request = b"GET /index.html HTTP/1.1\r\nHost: gate.example\r\n\r\n";
    criterion.bench_function("first_bytes of an HTTP request", |bencher| {
        bencher.iter(|| first_bytes(black_box(request)));
    });
}

fn recorded(client: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hello").join(client).with_extension("bin");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The hello, which is one record, in many.
fn in_small_records(bytes: &[u8]) -> Vec<u8> {
    bytes[5..]
        .chunks(100)
        .flat_map(|fragment| [&[0x16, 3, 1, 0, fragment.len() as u8], fragment].concat())
        .collect()
}

criterion_group!(benches, sniff);
criterion_main!(benches);
