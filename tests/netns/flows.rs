//! Flows that were open before the lockdown, and those that come from outside.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::exeat::Exeat;
use crate::internet::{ALLOWED_V4, EVIL_V4, EVIL_V6};
use crate::place::{As, Place};
use crate::world::{INSTANCE_V4, INSTANCE_V6, VISITOR_V4, VISITOR_V6, World};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two ends of a connection that one place opened to the other.
pub(crate) struct Pair {
    pub(crate) opener: TcpStream,
    pub(crate) server: TcpStream,
}

impl Pair {
    pub(crate) fn open(from: (&Place, &str), to: (&Place, &str), port: u16) -> Self {
        let parse = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
        let (source, target) = (parse(from.1, 0), parse(to.1, port));
        let listener = to.0.inside(move || TcpListener::bind(target).unwrap());
        let opener = from.0.inside(move || {
            let domain = socket2::Domain::for_address(source);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect_timeout(&target.into(), PATIENCE).unwrap();
            TcpStream::from(socket)
        });
        let (server, _) = listener.accept().unwrap();
        // The listener stays: what it accepted is known by it.
        std::mem::forget(listener);
        for end in [&opener, &server] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { opener, server }
    }

    pub(crate) fn lives(&mut self) -> bool {
        carries(&mut self.opener, &mut self.server) && carries(&mut self.server, &mut self.opener)
    }

    /// The same, and the server is the first to speak.
    pub(crate) fn lives_backwards(&mut self) -> bool {
        carries(&mut self.server, &mut self.opener) && self.lives()
    }
}

fn carries(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut read = [0; 4];
    from.write_all(b"data").is_ok() && to.read_exact(&mut read).is_ok()
}

/// Whether a program that writes on and on is told that its connection is gone.
pub(crate) fn is_ended(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    loop {
        match stream.write_all(b"secret").and_then(|()| stream.read(&mut buffer)) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

fn flows_opened_before_end_and_those_from_outside_live(format: &str, tracked: bool, kills_sockets: bool) {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let (instance, internet) = (&world.instance, &world.internet);
    if tracked {
        instance.must("iptables -I INPUT -m conntrack --ctstate ESTABLISHED");
        instance.must("ip6tables -I INPUT -m conntrack --ctstate ESTABLISHED");
    }
    let mut ssh = [(VISITOR_V4, INSTANCE_V4), (VISITOR_V6, INSTANCE_V6)]
        .map(|(visitor, address)| Pair::open((internet, visitor), (instance, address), 22));
    let mut old = [(INSTANCE_V4, EVIL_V4), (INSTANCE_V6, EVIL_V6)]
        .map(|(address, evil)| Pair::open((instance, address), (internet, evil), 7000));
    assert!(ssh.iter_mut().chain(&mut old).all(Pair::lives));

    let path = world.path("without-ss");
    if !kills_sockets {
        let tools =
            ["iptables-nft-save", "iptables-nft-restore", "ip6tables-nft-save", "ip6tables-nft-restore"];
        std::fs::create_dir(&path).unwrap();
        for tool in tools.into_iter().chain(["nft", "id"]) {
            let found = instance.must(&format!("which {tool}"));
            std::os::unix::fs::symlink(found.trim(), format!("{path}/{tool}")).unwrap();
        }
        let binary = world.binary.to_str().unwrap();
        let (settings, with) = (world.path("exeat.yaml"), format!("PATH={path}"));
        let words = ["env", &with, binary, "lockdown", "apply", "--uid", "61002", "--config", &settings];
        instance.run(As::Root, &[&words[..], &["--format", format]].concat(), "").good();
    } else {
        world.apply(&["--format", format]).good();
    }
    world.settle();
    world.tap.clear();
    for pair in &mut old {
        // The far side speaks first: with `nf_conntrack_tcp_loose` it would look like the opener.
        let _ = pair.server.write_all(b"come out");
        assert!(is_ended(&mut pair.opener), "{format}, tracked: {tracked}, kills: {kills_sockets}");
    }
    assert!(ssh.iter_mut().all(Pair::lives), "connections from outside live on");
    let mut new = Pair::open((internet, VISITOR_V4), (instance, INSTANCE_V4), 2222);
    assert!(new.lives(), "and new ones come in");
    assert_eq!(world.leaks(), []);
}

pub(crate) fn untracked_flows_opened_before_end_and_those_from_outside_live() {
    for format in ["iptables-nft", "nft"] {
        flows_opened_before_end_and_those_from_outside_live(format, false, true);
    }
}

pub(crate) fn tracked_flows_opened_before_end_and_those_from_outside_live() {
    for format in ["iptables-nft", "nft"] {
        flows_opened_before_end_and_those_from_outside_live(format, true, true);
    }
}

pub(crate) fn flows_opened_before_end_even_where_sockets_can_not_be_closed() {
    for tracked in [false, true] {
        flows_opened_before_end_and_those_from_outside_live("iptables-nft", tracked, false);
    }
}

pub(crate) fn udp_answers_only_from_ports_that_are_served() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let bind = |place: &Place, at: String| place.inside(move || UdpSocket::bind(at).unwrap());
    let old = bind(&world.instance, format!("{INSTANCE_V4}:7001"));
    let served = bind(&world.instance, format!("{INSTANCE_V4}:7002"));
    let evil = bind(&world.internet, format!("{EVIL_V4}:7001"));
    let visitor = bind(&world.internet, format!("{VISITOR_V4}:7002"));
    for socket in [&old, &served, &evil, &visitor] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut buffer = [0; 64];
    old.send_to(b"hello", (EVIL_V4, 7001)).unwrap();
    evil.recv_from(&mut buffer).unwrap();

    world.apply(&["--serve-udp", "7002"]).good();
    world.settle();
    world.tap.clear();
    assert!(served.send_to(b"secret", (EVIL_V4, 7001)).is_err(), "what nobody asked for is no answer");
    // As if it had opened the flow.
    evil.send_to(b"come out", (INSTANCE_V4, 7001)).unwrap();
    old.recv_from(&mut buffer).unwrap();
    assert!(old.send_to(b"secret", (EVIL_V4, 7001)).is_err());
    assert_eq!(world.leaks(), []);

    visitor.send_to(b"question", (INSTANCE_V4, 7002)).unwrap();
    served.recv_from(&mut buffer).unwrap();
    served.send_to(b"answer", (VISITOR_V4, 7002)).unwrap();
    assert_eq!(visitor.recv_from(&mut buffer).unwrap().0, 6);
}

pub(crate) fn what_exeat_sent_before_it_closed_arrives_whole() {
    const LENGTH: usize = 200_000;
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    for format in ["iptables-nft", "nft"] {
        world.apply(&["--format", format]).good();
        std::fs::write(world.path("large"), vec![7; LENGTH]).unwrap();
        let listener = world.internet.inside(|| TcpListener::bind((ALLOWED_V4, 7003)).unwrap());
        let from = format!("OPEN:{}", world.path("large"));
        let sent = world.instance.run(
            As::Exeat,
            &["socat", "-u", &from, &format!("TCP4:{ALLOWED_V4}:7003,sndbuf=400000")],
            "",
        );
        sent.good();
        // The program is gone, and its socket has no owner any more.
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), LENGTH);
    }
}
