//! What real clients send is read, however it is cut.

use std::fs;
use std::path::Path;

use exeat::sniff::{ClientHello, First, Sniff, client_hello, first_bytes, second_hello};

use crate::acceptor::{Opinion, opinion};
use crate::wire::{RECORDED, in_records, message, padded, record, recorded};

/// A hello as it must be read.
fn hello(client: &str, length: usize) -> Sniff<ClientHello> {
    let (_, server_name, ech) = RECORDED.into_iter().find(|(name, ..)| *name == client).unwrap();
    let server_name = server_name.map(|name| exeat::host::Name::parse(name).unwrap());
    Sniff::Found(ClientHello { server_name, ech, length })
}

/// Asks about every prefix: each but the whole is incomplete, and needs more than it has but not too much.
fn check_prefixes(whole: &[u8], sniff: impl Fn(&[u8]) -> Sniff<ClientHello>) {
    for length in 0..whole.len() {
        match sniff(&whole[..length]) {
            Sniff::Incomplete { need } => {
                assert!((length + 1..=whole.len()).contains(&need), "{length} of {}: {need}", whole.len());
            }
            other => panic!("{length} of {}: {other:?}", whole.len()),
        }
    }
}

#[test]
fn every_recorded_file_is_known() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hello");
    let mut files: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".bin").map(str::to_owned)
        })
        .collect();
    let mut known = RECORDED.map(|(client, ..)| client);
    files.sort();
    known.sort_unstable();
    assert_eq!(files, known);
}

#[test]
fn every_client_is_read_whole_and_incomplete_in_every_prefix() {
    for (client, ..) in RECORDED {
        let bytes = recorded(client);
        assert_eq!(client_hello(&bytes), hello(client, bytes.len()), "{client}");
        assert_eq!(second_hello(&bytes), hello(client, bytes.len()), "{client}");
        check_prefixes(&bytes, client_hello);
        check_prefixes(&bytes, second_hello);
    }
}

#[test]
fn first_bytes_know_tls_without_being_told() {
    let bytes = recorded("curl");
    assert_eq!(first_bytes(&bytes), hello("curl", bytes.len()).map(First::Tls));
}

#[test]
fn rustls_agrees_on_every_client_that_it_serves() {
    for (client, server_name, _) in RECORDED {
        let expected = match client {
            // rustls has no TLS 1.0.
            "openssl-tls10" => Opinion::Refuse,
            _ => Opinion::Accept(server_name.map(str::to_owned)),
        };
        assert_eq!(opinion(&recorded(client)), expected, "{client}");
    }
}

#[test]
fn records_may_cut_a_hello_anywhere() {
    for (client, ..) in RECORDED {
        let bytes = recorded(client);
        for size in [1, 2, 3, 4, 5, 7, 100, 1000] {
            let cut = in_records(message(&bytes), size);
            assert_eq!(client_hello(&cut), hello(client, cut.len()), "{client} in records of {size}");
            // Every prefix of every cut of every client would take half a minute.
            if size >= 100 || client == "openssl-tls10" {
                check_prefixes(&cut, client_hello);
            }
        }
    }
}

#[test]
fn long_hellos_are_read_to_the_end() {
    for (client, ..) in RECORDED {
        for (padding, size) in [(8 << 10, 16 << 10), (8 << 10, 700), (60_000, 16 << 10), (60_000, 1000)] {
            let bytes = in_records(&padded(message(&recorded(client)), padding), size);
            assert_eq!(
                client_hello(&bytes),
                hello(client, bytes.len()),
                "{client} with {padding} more bytes"
            );
            for prefix in (0..bytes.len()).step_by(997) {
                assert!(
                    matches!(client_hello(&bytes[..prefix]), Sniff::Incomplete { .. }),
                    "{client}: {prefix}"
                );
            }
        }
    }
}

#[test]
fn what_follows_in_other_records_is_not_looked_at() {
    for (client, ..) in RECORDED {
        let bytes = recorded(client);
        for after in
            [record(0x14, &[1]), record(0x17, &[0; 40]), record(0x16, &[0xff; 9]), b"anything".to_vec()]
        {
            let followed = [&bytes[..], &after].concat();
            assert_eq!(client_hello(&followed), hello(client, bytes.len()), "{client}");
        }
    }
}

#[test]
fn the_second_hello_is_found_behind_early_bytes() {
    for (client, ..) in RECORDED {
        let bytes = recorded(client);
        for before in [
            record(0x14, &[1]),
            record(0x17, &[0; 9]),
            [record(0x14, &[1]), record(0x17, &[0xff; 16 << 10]), record(0x17, &[22; 100])].concat(),
        ] {
            let whole = [&before[..], &bytes].concat();
            assert_eq!(second_hello(&whole), hello(client, whole.len()), "{client}");
            assert!(
                matches!(client_hello(&whole), Sniff::Bad(_)),
                "{client}: nothing comes before the first"
            );
            check_prefixes(&whole, second_hello);
        }
    }
}

/// The worst a peer can do: every byte in a record of its own, every byte of that in a segment of its own.
#[test]
fn a_byte_at_a_time_is_read_in_few_attempts() {
    let bytes = in_records(&padded(message(&recorded("curl")), 10_000), 1);
    let (mut attempts, mut arrived) = (1, 0);
    while let Sniff::Incomplete { need } = client_hello(&bytes[..arrived]) {
        (attempts, arrived) = (attempts + 1, need);
    }
    assert_eq!(arrived, bytes.len());
    assert!(attempts < 100, "{attempts} attempts");
}
