//! What it costs to read the authority of a CONNECT, which every flow pays once.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use exeat::destination::Destination;
use exeat::host::NAME_MAX;

fn host(criterion: &mut Criterion) {
    let longest = format!("{}:443", "a.".repeat(NAME_MAX / 2) + "a");
    let mut group = criterion.benchmark_group("authority");
    for (what, authority, is_good) in [
        ("name", "index.crates.io:443", true),
        ("name in capitals", "INDEX.CRATES.IO:443", true),
        ("longest name", &longest, true),
        ("IPv4 address", "192.0.2.1:443", true),
        ("IPv6 address", "[2001:db8::1]:443", true),
        ("refused: octal IPv4 address", "0300.0.2.1:443", false),
    ] {
        assert_eq!(Destination::parse(authority).is_ok(), is_good, "{authority}");
        group.bench_function(what, |bencher| bencher.iter(|| Destination::parse(black_box(authority))));
    }
    group.finish();
}

criterion_group!(benches, host);
criterion_main!(benches);
