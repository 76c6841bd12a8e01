//! Which addresses are dialled, in which order, and what is said when none connects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exeat::client::Client;
use exeat::destination::Destination;
use exeat::dial::{Dialer, Failed, Source, Upstream};
use exeat::error::Error;
use exeat::mistake::Place;
use exeat::parent::Parents;
use exeat::policy::outgoing::Outgoing;
use exeat::policy::pattern::Pattern;
use exeat::policy::terms::{Action, Mode, Ports, Private, Profile, Protocol, Terms};
use exeat::policy::{Builder, Policy, Question, Seen, Target};
use exeat::reason::Reason;
use exeat::resolve::{Resolver, Settings};
use exeat::stream::Stream;
use hickory_proto::rr::RecordType;
use jiff::civil::{Date, date};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::dns::{Dns, Reply};

const TODAY: Date = date(2027, 1, 31);
/// Long enough that only a test which means to can reach it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an attempt has before the next one joins it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What a dial needs, around one DNS server.
pub(crate) struct Scene {
    pub(crate) dns: Dns,
    policy: Policy,
    dialer: Dialer,
}

impl Scene {
    pub(crate) async fn new(policy: Policy) -> Self {
        Self::with(policy, &[], TIMEOUT).await
    }

    pub(crate) async fn with(policy: Policy, listeners: &[SocketAddr], timeout: Duration) -> Self {
        let dns = Dns::start().await;
        let settings = Settings {
            servers: vec![dns.address().into()],
            hosts: Some(PathBuf::from("/dev/null")),
            ..Settings::default()
        };
        let resolver = Arc::new(Resolver::new(settings).unwrap());
        Self { dns, policy, dialer: Dialer::new(resolver, listeners, timeout) }
    }

    /// The same, with how connections leave where the policy says nothing of it.
    pub(crate) fn leaving(self, outgoing: Outgoing) -> Self {
        Self { dialer: self.dialer.leaving(Some(Arc::new(outgoing))), ..self }
    }

    /// The same, with parents to go through.
    pub(crate) fn through(self, parents: Arc<Parents>) -> Self {
        Self { dialer: self.dialer.with_parents(parents), ..self }
    }

    /// Dials as a flow does, and says of a failure its error and the rule that decided.
    pub(crate) async fn dial(&self, host: &str, port: u16) -> Result<Box<Upstream>, (Error, Option<String>)> {
        let to = Destination::parse(&format!("{host}:{port}")).unwrap();
        let subject = self.policy.subject(&client());
        let question = Question { to: &to, seen: Seen::Unknown, address: None };
        let admission =
            self.policy.decide(&subject, &question, TODAY).admit().map_err(|error| (error, None))?;
        let result = self.dialer.dial(&admission, &client(), Source::LookUp, Instant::now()).await;
        let result = result.map(|(upstream, _)| upstream);
        result.map_err(|Failed { error, rule }| (error, rule.map(|rule| rule.to_string())))
    }

    pub(crate) async fn dialled(&self, host: &str, port: u16) -> SocketAddr {
        self.dial(host, port).await.unwrap().reached().address.unwrap()
    }

    /// The error of a dial that has to fail, as records tell it.
    pub(crate) async fn error(&self, host: &str, port: u16) -> (Reason, String) {
        let (error, _) = self.dial(host, port).await.unwrap_err();
        (error.reason(), error.to_string())
    }

    /// Opens the upstream as the gate of a `tcp` rule does.
    fn open(&self, upstream: Upstream, to: &Destination) -> Stream {
        let subject = self.policy.subject(&client());
        let question = Question { to, seen: Seen::Unread, address: upstream.reached().ip() };
        upstream.open(&self.policy.decide(&subject, &question, TODAY).pass(None).unwrap()).0
    }
}

fn client() -> Client {
    Client::new("127.0.0.1:50000".parse().unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// One profile of `tcp` rules on every port, each on a line of its own.
fn policy(rules: &[(Action, Target, Private)]) -> Policy {
    let mut builder = Builder::new();
    let source = builder.source(Path::new("policy.yaml"));
    let place = Place { file: Path::new("policy.yaml").into(), line: 1, column: 1 };
    let profile = Profile {
        name: "all".to_owned(),
        place,
        clients: None,
        mode: Mode::Enforce,
        ech_outer: false,
        outgoing: None,
        way: None,
    };
    let profile = builder.profile(profile);
    for (line, (action, target, private)) in (1..).zip(rules) {
        let terms = builder.terms(Terms {
            action: *action,
            ports: Ports::all(),
            protocol: Some(Protocol::Tcp),
            private: private.clone(),
            until: None,
            methods: Vec::new(),
            paths: None,
            ech_outer: false,
            way: None,
            reason: None,
        });
        builder.rule(profile, target, terms, source, line);
    }
    builder.finish(1)
}

fn name(pattern: &str) -> Target {
    Target::Name(Pattern::parse(pattern).unwrap())
}

fn cidr(network: &str) -> Target {
    Target::Cidr(network.parse().unwrap())
}

/// Lets the names below `example` lead to this host's loopback addresses, where every upstream here is.
fn private() -> Policy {
    policy(&[
        (Action::Allow, name("*.example"), Private::Any),
        (Action::Allow, cidr("127.0.0.0/8"), Private::Any),
        (Action::Allow, cidr("::1/128"), Private::Any),
    ])
}

/// Listeners on one port of several addresses: the kernel picks it for the first, and now and then
/// one of the others is taken.
pub(crate) async fn listen(addresses: &[&str]) -> (Vec<TcpListener>, u16) {
    loop {
        let mut listeners = Vec::new();
        let mut port = 0;
        for address in addresses {
            let address: IpAddr = address.parse().unwrap();
            match TcpListener::bind((address, port)).await {
                Ok(listener) => {
                    port = listener.local_addr().unwrap().port();
                    listeners.push(listener);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => break,
                Err(error) => panic!("{address}: {error}"),
            }
        }
        if listeners.len() == addresses.len() {
            return (listeners, port);
        }
    }
}

/// A port that refuses on every IPv4 address while the socket lives: it is bound, and nobody listens.
fn closed() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// A port of an address that swallows connections: its queue is full, so the kernel drops each SYN.
struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _queued: std::net::TcpStream,
}

impl BlackHole {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.bind(&address.into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().unwrap();
        // A queue of length 0 holds one connection; on a busy machine it can be on its way for a while.
        let queued = std::net::TcpStream::connect(address)?;
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], None)?;
        Ok(Self { address, _listener: listener, _queued: queued })
    }

    fn any() -> Self {
        Self::new("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// A black hole at one address and a listener at another, on the same port.
    async fn beside(hole: &str, listener: &str) -> (Self, TcpListener, u16) {
        loop {
            let (mut listeners, port) = listen(&[listener]).await;
            if let Ok(hole) = Self::new(SocketAddr::new(hole.parse().unwrap(), port)) {
                return (hole, listeners.remove(0), port);
            }
        }
    }
}

/// Whether a connection has come to a listener. On loopback it is there before `connect` returns.
pub(crate) async fn was_reached(listener: TcpListener) -> bool {
    let listener = listener.into_std().unwrap();
    match listener.accept() {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_upstream_carries_bytes_once_it_is_open() {
    let scene = Scene::new(private()).await;
    let (listeners, port) = listen(&["127.0.0.1"]).await;
    scene.dns.set("a.example", &["127.0.0.1"]);
    let upstream = scene.dial("a.example", port).await.unwrap();
    assert_eq!(upstream.reached().address.unwrap(), listeners[0].local_addr().unwrap());
    let to = Destination::parse(&format!("a.example:{port}")).unwrap();
    let mut stream = scene.open(*upstream, &to);
    let socket = SockRef::from(stream.bare().unwrap());
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    stream.write_all(b"hello").await.unwrap();
    drop(stream);
    let (mut accepted, _) = listeners[0].accept().await.unwrap();
    let mut received = String::new();
    accepted.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "hello");
}

#[tokio::test]
async fn an_address_needs_no_look_up() {
    let scene = Scene::new(private()).await;
    let (_listeners, port) = listen(&["127.0.0.1"]).await;
    assert_eq!(scene.dialled("127.0.0.1", port).await.to_string(), format!("127.0.0.1:{port}"));
    assert!(scene.dns.asked().is_empty());
}

#[tokio::test]
async fn a_denied_name_is_never_looked_up() {
    let scene = Scene::new(policy(&[(Action::Allow, name("*.example"), Private::No)])).await;
    scene.dns.set("a.test", &["127.0.0.1"]);
    assert_eq!(scene.error("a.test", 443).await.0, Reason::NoRule);
    assert!(scene.dns.asked().is_empty());
}

#[tokio::test]
async fn ipv6_goes_first_and_either_family_does_alone() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // this host has no IPv6
    }
    let scene = Scene::new(private()).await;
    scene.dns.set("both.example", &["127.0.0.1", "::1"]);
    scene.dns.set("v6.example", &["::1"]);
    scene.dns.set("v4.example", &["127.0.0.1"]);
    let (_listeners, port) = listen(&["127.0.0.1", "::1"]).await;
    for (host, address) in
        [("both.example", "::1"), ("v6.example", "::1"), ("v4.example", "127.0.0.1"), ("[::1]", "::1")]
    {
        assert_eq!(scene.dialled(host, port).await.ip().to_string(), address, "{host}");
    }
    let (_v4_only, port) = listen(&["127.0.0.1"]).await;
    assert_eq!(scene.dialled("both.example", port).await.ip().to_string(), "127.0.0.1");
}

#[tokio::test]
async fn ipv4_in_ipv6_dress_is_judged_and_dialled_as_ipv4() {
    let scene = Scene::new(private()).await;
    scene.dns.set("a.example", &["::ffff:127.0.0.1"]);
    let (_listeners, port) = listen(&["127.0.0.1"]).await;
    assert_eq!(scene.dialled("a.example", port).await.to_string(), format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn an_address_that_refuses_gives_way_at_once() {
    let scene = Scene::new(private()).await;
    scene.dns.set("a.example", &["127.0.6.1", "127.0.6.2", "127.0.6.3"]);
    let (_listeners, port) = listen(&["127.0.6.3"]).await;
    let upstream = scene.dial("a.example", port).await.unwrap();
    assert_eq!(upstream.reached().address.unwrap().ip().to_string(), "127.0.6.3");
}

#[tokio::test]
async fn an_address_that_swallows_connections_is_joined_by_the_next() {
    let scene = Scene::new(private()).await;
    scene.dns.set("a.example", &["127.0.0.2", "127.0.0.3"]);
    let (_hole, _listener, port) = BlackHole::beside("127.0.0.2", "127.0.0.3").await;
    let upstream = scene.dial("a.example", port).await.unwrap();
    assert_eq!(upstream.reached().address.unwrap().ip().to_string(), "127.0.0.3");
    assert!(upstream.connect() >= ATTEMPT_DELAY, "{:?}", upstream.connect());
}

#[tokio::test]
async fn a_silent_ipv6_look_up_does_not_hold_ipv4_up() {
    let scene = Scene::new(private()).await;
    let v4 = Reply::Addresses(vec!["127.0.0.1".parse().unwrap()]);
    scene.dns.script("a.example", RecordType::A, [v4]);
    scene.dns.script("a.example", RecordType::AAAA, [Reply::Silence]);
    let (_listeners, port) = listen(&["127.0.0.1"]).await;
    let upstream = scene.dial("a.example", port).await.unwrap();
    assert!(upstream.dns() >= Duration::from_millis(50), "{:?}", upstream.dns());
}

#[tokio::test]
async fn what_goes_wrong_has_its_own_reason() {
    let scene = Scene::new(private()).await;
    let (_socket, closed) = closed();
    scene.dns.set("refusing.example", &["127.0.0.1", "127.0.0.2"]);
    scene.dns.set("empty.example", &[]);
    for (host, reason, text) in [
        ("refusing.example", Reason::DialRefused, format!("127.0.0.2:{closed} refused the connection")),
        ("127.0.0.1", Reason::DialRefused, format!("127.0.0.1:{closed} refused the connection")),
        (
            "missing.example",
            Reason::DnsFailed,
            "look-up failed: the name does not exist (NXDOMAIN)".to_owned(),
        ),
        ("empty.example", Reason::DnsFailed, "look-up failed: the name has no addresses".to_owned()),
    ] {
        assert_eq!(scene.error(host, closed).await, (reason, text), "{host}");
    }
}

#[tokio::test]
async fn the_deadline_is_for_look_up_and_connection_together() {
    let scene = Scene::with(private(), &[], Duration::from_millis(400)).await;
    let hole = BlackHole::any();
    let port = hole.address.port();
    scene.dns.reply("silent.example", Reply::Silence);
    scene.dns.set("hole.example", &["127.0.0.1"]);
    let silent = (Reason::DnsFailed, "look-up failed: no DNS server answered in time".to_owned());
    assert_eq!(scene.error("silent.example", port).await, silent);
    let hole = (Reason::DialTimeout, "no address answered in time".to_owned());
    assert_eq!(scene.error("hole.example", port).await, hole);

    // The other family is never heard of: what came of the one is told.
    let (_socket, closed) = closed();
    for (private, reason) in [(Private::No, Reason::AddressProhibited), (Private::Any, Reason::DialRefused)] {
        let policy = policy(&[(Action::Allow, name("*.example"), private)]);
        let scene = Scene::with(policy, &[], Duration::from_millis(400)).await;
        let v4 = Reply::Addresses(vec!["127.0.0.1".parse().unwrap()]);
        scene.dns.script("half.example", RecordType::A, [v4]);
        scene.dns.script("half.example", RecordType::AAAA, [Reply::Silence]);
        assert_eq!(scene.error("half.example", closed).await.0, reason);
    }
}

#[tokio::test]
async fn a_prohibited_address_is_passed_over_and_spoils_no_other() {
    let only = Private::Networks(vec!["127.0.0.3/32".parse().unwrap()]);
    let scene = Scene::new(policy(&[(Action::Allow, name("*.example"), only)])).await;
    scene.dns.set("a.example", &["127.0.0.2", "169.254.169.254", "127.0.0.3"]);
    let (mut listeners, port) = listen(&["127.0.0.2", "127.0.0.3"]).await;
    assert_eq!(scene.dialled("a.example", port).await.ip().to_string(), "127.0.0.3");
    assert!(!was_reached(listeners.remove(0)).await);
}

#[tokio::test]
async fn nothing_but_prohibited_addresses_is_told_with_the_first_and_the_rule() {
    let scene = Scene::new(policy(&[(Action::Allow, name("*.example"), Private::No)])).await;
    let (mut listeners, port) = listen(&["127.0.0.1"]).await;
    scene.dns.set("a.example", &["127.0.0.1", "169.254.169.254"]);
    let (error, rule) = scene.dial("a.example", port).await.unwrap_err();
    assert_eq!(error.to_string(), "127.0.0.1 is a loopback address (127.0.0.0/8)");
    assert_eq!(error.reason(), Reason::AddressProhibited);
    assert_eq!(rule.as_deref(), Some("policy.yaml:1 \"*.example\""));
    assert!(!was_reached(listeners.remove(0)).await);
}

#[tokio::test]
async fn an_address_that_a_rule_denies_is_told_with_that_rule() {
    let scene = Scene::new(policy(&[
        (Action::Allow, name("*.example"), Private::Any),
        (Action::Deny, cidr("127.0.0.2/32"), Private::No),
    ]))
    .await;
    let (mut listeners, port) = listen(&["127.0.0.2", "127.0.0.3"]).await;
    scene.dns.set("denied.example", &["127.0.0.2"]);
    scene.dns.set("mixed.example", &["127.0.0.2", "127.0.0.3"]);
    let (error, rule) = scene.dial("denied.example", port).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DeniedByRule);
    assert_eq!(rule.as_deref(), Some("policy.yaml:2 \"127.0.0.2/32\""));
    assert_eq!(scene.dialled("mixed.example", port).await.ip().to_string(), "127.0.0.3");
    assert!(!was_reached(listeners.remove(0)).await);
}

#[tokio::test]
async fn a_name_is_looked_up_once_so_rebinding_meets_nobody() {
    let only = Private::Networks(vec!["127.0.0.3/32".parse().unwrap()]);
    let scene = Scene::new(policy(&[(Action::Allow, name("*.example"), only)])).await;
    let (mut listeners, port) = listen(&["127.0.0.1", "127.0.0.3"]).await;
    let then = |text: &str| Reply::Addresses(vec![text.parse().unwrap()]);
    scene.dns.script("a.example", RecordType::A, [then("127.0.0.3"), then("127.0.0.1")]);
    scene.dns.script("a.example", RecordType::AAAA, [Reply::Addresses(Vec::new())]);
    assert_eq!(scene.dialled("a.example", port).await.ip().to_string(), "127.0.0.3");
    assert_eq!(scene.dns.asked(), ["a.example A", "a.example AAAA"]);
    assert!(!was_reached(listeners.remove(0)).await);
}

#[tokio::test]
async fn exeat_does_not_dial_itself_under_any_address() {
    let (mut listeners, port) = listen(&["127.0.0.1"]).await;
    let own = listeners[0].local_addr().unwrap();
    let elsewhere = listen(&["127.0.0.1"]).await;
    let scene = Scene::with(private(), &[own], TIMEOUT).await;
    scene.dns.set("own.example", &["127.0.0.1"]);
    scene.dns.set("other.example", &["127.9.9.9"]);
    for host in ["own.example", "other.example", "127.0.0.1", "127.0.0.2"] {
        assert_eq!(scene.error(host, port).await.0, Reason::SelfConnect, "{host}");
    }
    assert_eq!(scene.error("127.0.0.1", port).await.1, format!("127.0.0.1:{port} is exeat itself"));
    assert_eq!(scene.dialled("own.example", elsewhere.1).await.port(), elsewhere.1);
    assert!(!was_reached(listeners.remove(0)).await);
}

#[tokio::test]
async fn only_so_many_addresses_are_tried() {
    let scene = Scene::new(private()).await;
    let addresses: Vec<String> = (1..=17).map(|last| format!("127.0.7.{last}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    scene.dns.set("a.example", &addresses);
    scene.dns.set("b.example", &addresses[1..]);
    let (_listeners, port) = listen(&["127.0.7.17"]).await;
    assert_eq!(scene.error("a.example", port).await.0, Reason::DialRefused);
    assert_eq!(scene.dialled("b.example", port).await.ip().to_string(), "127.0.7.17");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dial_that_is_dropped_ends_its_attempts() {
    let scene = Scene::new(private()).await;
    let hole = BlackHole::any();
    let port = hole.address.port();
    let mut dial = Box::pin(scene.dial("127.0.0.1", port));
    tokio::select! {
        biased;
        _ = &mut dial => panic!("connected to a black hole"),
        () = tokio::task::yield_now() => {}
    }
    until_connecting(port, 1).await;
    drop(dial);
    // Left alone, it would go on for two minutes (`tcp_syn_retries`).
    until_connecting(port, 0).await;
}

/// Waits for so many sockets: the table is read in pieces, between which others change it, so once is not enough.
#[cfg(target_os = "linux")]
async fn until_connecting(port: u16, count: usize) {
    let deadline = Instant::now() + TIMEOUT / 2;
    while connecting(port) != count {
        assert!(Instant::now() < deadline, "{} sockets are connecting, not {count}", connecting(port));
        sleep(Duration::from_millis(5)).await;
    }
}

/// How many sockets of this host are in SYN_SENT to that port of 127.0.0.1 (proc_net_tcp(5)).
#[cfg(target_os = "linux")]
fn connecting(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    table
        .lines()
        .filter(|line| line.split_ascii_whitespace().skip(2).take(2).eq([remote.as_str(), "02"]))
        .count()
}

#[tokio::test]
async fn a_dial_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let scene = Scene::new(private()).await;
    let (_listeners, port) = listen(&["127.0.0.1"]).await;
    let to = Destination::parse(&format!("127.0.0.1:{port}")).unwrap();
    let subject = scene.policy.subject(&client());
    let question = Question { to: &to, seen: Seen::Unknown, address: None };
    let admission = scene.policy.decide(&subject, &question, TODAY).admit().unwrap();
    assert!(is_send(scene.dialer.dial(&admission, &client(), Source::LookUp, Instant::now())).await.is_ok());
}
