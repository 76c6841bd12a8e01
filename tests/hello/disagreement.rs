//! Where exeat and rustls read the same bytes, they never read different names.

use exeat::sniff::{Sniff, client_hello};

use crate::acceptor::{Opinion, opinion};
use crate::wire::{RECORDED, in_records, message, padded, recorded};

/// A small generator of pseudo-random numbers (xorshift64*), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// Holds both opinions against each other; says whether both found a name.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Sniff::Found(hello) = client_hello(bytes) else {
        return false;
    };
    let ours = hello.server_name.map(|name| name.to_string());
    match opinion(bytes) {
        Opinion::Accept(theirs) => {
            assert_eq!(ours, theirs, "{bytes:02x?}");
            ours.is_some()
        }
        Opinion::Refuse => false,
        Opinion::Wait => panic!("rustls waits for more than {bytes:02x?}"),
    }
}

#[test]
fn flipped_bits_never_part_the_names() {
    let mut agreed = 0;
    for (client, ..) in RECORDED {
        let bytes = recorded(client);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x20, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= flip;
                agreed += usize::from(check(&flipped));
            }
        }
    }
    assert!(agreed > 1000, "most flips of random bytes leave a hello intact: {agreed}");
}

#[test]
fn mutations_never_part_the_names() {
    let mut random = Random(0x5eed_1e55_0000_0001);
    let messages = RECORDED.map(|(client, ..)| message(&recorded(client)).to_vec());
    for round in 0..30_000 {
        let mut message = messages[round % messages.len()].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut message, &mut random);
        }
        // Half of them stay well-formed outside, so that the mutation reaches the extensions.
        if random.below(2) == 0 && message.len() > 4 {
            let [_, length @ ..] = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
            message[1..4].copy_from_slice(&length);
        }
        check(&in_records(&message, 20 + random.below(2000)));
    }
}

fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(message.len());
    let length = random.below(8).min(message.len() - at);
    match random.below(6) {
        0 => message[at] = random.below(256) as u8,
        1 => message[at] = message[at].wrapping_add(1),
        2 => message[at] = message[at].wrapping_sub(1),
        3 => drop(message.drain(at..at + length.min(message.len() - 1))),
        4 => message.extend_from_within(at..at + length),
        _ => {
            let copy = message[at..at + length].to_vec();
            let to = random.below(message.len());
            message.splice(to..to, copy);
        }
    }
}

#[test]
fn padding_and_cuts_never_part_the_names() {
    for (client, server_name, _) in RECORDED {
        for size in [1, 7, 4000] {
            let bytes = in_records(&padded(message(&recorded(client)), 4000), size);
            assert!(check(&bytes) || server_name.is_none() || client == "openssl-tls10", "{client}");
        }
    }
}
