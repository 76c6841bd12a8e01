//! Many redirected connections, each with its record.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::exeat::Exeat;
use crate::internet::EVIL_V4;
use crate::place::As;
use crate::world::World;

const THREADS: usize = 8;
const EACH: usize = 1250;

pub(crate) fn ten_thousand_connections_leave_ten_thousand_records_on_the_instance() {
    ten_thousand_connections_leave_ten_thousand_records(&World::instance(), &[]);
}

pub(crate) fn ten_thousand_connections_leave_ten_thousand_records_on_the_gateway() {
    ten_thousand_connections_leave_ten_thousand_records(
        &World::gateway(),
        &["--gateway", "--interface", "in0"],
    );
}

pub(crate) fn ten_thousand_connections_leave_ten_thousand_records_by_tproxy() {
    let how = ["--gateway", "--interface", "in0", "--tproxy"];
    ten_thousand_connections_leave_ten_thousand_records(&World::gateway(), &how);
}

fn ten_thousand_connections_leave_ten_thousand_records(world: &World, how: &[&str]) {
    let mut exeat = Exeat::start_as(world, As::Taker);
    world.apply(how).good();
    let dialling = (0..THREADS).map(|_| {
        world.instance.thread(|| {
            // A port that no rule names: reset at once.
            let to = SocketAddr::new(EVIL_V4.parse().unwrap(), 9999);
            for _ in 0..EACH {
                let mut stream = match TcpStream::connect(to) {
                    Ok(stream) => stream,
                    // It was reset before this end had looked at it.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => continue,
                    Err(error) => panic!("{error}"),
                };
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
            }
        })
    });
    for thread in dialling.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    exeat.stop();
    let records = exeat.records();
    let redirected = records.iter().filter(|record| record["ingress"] == "transparent");
    let denied = redirected.filter(|record| record["verdict"] == "deny" && record["port"] == 9999);
    assert_eq!(denied.count(), THREADS * EACH);
}
