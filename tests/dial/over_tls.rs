//! DNS over TLS: whom is believed, how connections are used, and that nothing goes in the clear instead.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exeat::host::Name;
use exeat::resolve::{Asker, Failure, Resolver, Server, Settings};
use hickory_proto::rr::RecordType;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Pair, Wanted};
use crate::clock::Clock;
use crate::dns::{Dns, Reply};

/// The server side of one that has this certificate.
fn acceptor(pair: &Pair) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.der()], pair.key_der())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The same with one for `dns.example` by this authority.
fn good(authority: &Authority) -> TlsAcceptor {
    acceptor(&authority.sign(Wanted::named(&["dns.example"])))
}

/// TLS in front of a DNS server.
struct Front {
    address: SocketAddr,
    heard: Arc<Heard>,
    cut: watch::Sender<()>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Heard {
    connections: AtomicUsize,
    server_names: Mutex<Vec<Option<String>>>,
    lengths: Mutex<Vec<usize>>,
}

impl Front {
    async fn new(acceptor: TlsAcceptor, dns: &Dns) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, behind) = (listener.local_addr().unwrap(), dns.address());
        let (heard, (cut, cuts)) = (Arc::new(Heard::default()), watch::channel(()));
        let mut serving = JoinSet::new();
        serving.spawn({
            let heard = Arc::clone(&heard);
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    heard.connections.fetch_add(1, Ordering::SeqCst);
                    let (acceptor, heard, mut cuts) = (acceptor.clone(), Arc::clone(&heard), cuts.clone());
                    cuts.mark_unchanged();
                    connections.spawn(async move {
                        tokio::select! {
                            () = serve(acceptor, stream, behind, &heard) => {}
                            _ = cuts.changed() => {}
                        }
                    });
                }
            }
        });
        Self { address, heard, cut, _serving: serving }
    }

    /// As it stands in the settings.
    fn server(&self, name: &str) -> Server {
        format!("tls://{}#{name}", self.address).parse().unwrap()
    }

    fn connections(&self) -> usize {
        self.heard.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection that is open.
    fn cut(&self) {
        self.cut.send(()).unwrap();
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, behind: SocketAddr, heard: &Heard) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let name = stream.get_ref().1.server_name().map(str::to_owned);
    heard.server_names.lock().unwrap().push(name);
    let (mut asking, mut told) = tokio::io::split(stream);
    let mut dns = TcpStream::connect(behind).await.unwrap();
    let (mut answers, mut questions) = dns.split();
    let ask = async {
        while let Ok(length) = asking.read_u16().await {
            heard.lengths.lock().unwrap().push(length.into());
            let mut question = vec![0; length.into()];
            asking.read_exact(&mut question).await?;
            questions.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        _ = ask => {}
        _ = copy(&mut answers, &mut told) => {}
    }
}

/// What a resolver needs, around one authority and one DNS server.
struct Scene {
    directory: TempDir,
    authority: Authority,
    dns: Dns,
}

impl Scene {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("hosts"), "").unwrap();
        let authority = Authority::new("ours");
        fs::write(directory.path().join("ca.pem"), &authority.pem).unwrap();
        let dns = Dns::start().await;
        dns.set("a.example", &["192.0.2.1"]);
        Self { directory, authority, dns }
    }

    fn settings(&self, servers: Vec<Server>) -> Settings {
        Settings {
            servers,
            resolv_conf: PathBuf::from("/nonexistent"),
            hosts: Some(self.directory.path().join("hosts")),
            ca: Some(self.directory.path().join("ca.pem")),
            try_for: Duration::from_secs(20),
            ..Settings::default()
        }
    }

    fn resolver(&self, servers: Vec<Server>) -> Resolver {
        Resolver::new(self.settings(servers)).unwrap()
    }
}

async fn look_up(resolver: &Resolver, name: &str) -> Result<Vec<IpAddr>, Failure> {
    look_up_for(resolver, 1, name).await
}

/// The same for a client of that number.
async fn look_up_for(resolver: &Resolver, client: u8, name: &str) -> Result<Vec<IpAddr>, Failure> {
    let asker = Asker::Client(Ipv4Addr::new(10, 0, 0, client).into());
    let found = resolver.records(asker, &Name::parse(name).unwrap(), RecordType::A).await?;
    Ok(found.data.iter().filter_map(|data| data.ip_addr()).collect())
}

fn ok() -> Result<Vec<IpAddr>, Failure> {
    Ok(vec![Ipv4Addr::new(192, 0, 2, 1).into()])
}

#[tokio::test]
async fn questions_share_one_connection_and_their_length_tells_nothing() {
    let scene = Scene::new().await;
    let front = Front::new(good(&scene.authority), &scene.dns).await;
    let resolver = scene.resolver(vec![front.server("dns.example")]);
    let names: Vec<String> = (0..100).map(|number| format!("n{number}.of-some-length.example")).collect();
    names.iter().for_each(|name| scene.dns.set(name, &["192.0.2.1"]));
    let all = futures_util::future::join_all(names.iter().map(|name| look_up(&resolver, name))).await;
    assert!(all.iter().all(|found| *found == ok()), "{all:?}");
    assert_eq!(look_up(&resolver, "a.example").await, ok());
    assert_eq!(look_up(&resolver, "missing.example").await, Err(Failure::NoSuchName));
    assert_eq!(front.connections(), 1);
    assert_eq!(*front.heard.server_names.lock().unwrap(), [Some("dns.example".to_owned())]);
    let lengths = front.heard.lengths.lock().unwrap().clone();
    assert!(lengths.len() == 102 && lengths.iter().all(|length| *length == 128), "{lengths:?}");
    let asked = scene.dns.asked();
    assert!(asked.iter().all(|asked| asked.ends_with(" tcp")), "in the clear: {asked:?}");
}

#[tokio::test]
async fn a_server_has_to_prove_who_it_is_and_is_asked_nothing_before() {
    let scene = Scene::new().await;
    let authority = &scene.authority;
    let with = |wanted: Wanted| acceptor(&authority.sign(wanted));
    let cases = [
        (good(authority), "#dns.example", None),
        (with(Wanted::named(&["127.0.0.1"])), "", None),
        (with(Wanted::named(&["*.dns.example"])), "#one.dns.example", None),
        (good(authority), "#other.example", Some("the certificate of the DNS server is for another name")),
        (good(authority), "", Some("the certificate of the DNS server is for another name")),
        (
            with(Wanted::named(&["dns.example"]).between(2020, 2021)),
            "#dns.example",
            Some("the certificate of the DNS server has expired"),
        ),
        (
            with(Wanted::named(&["dns.example"]).between(2090, 2091)),
            "#dns.example",
            Some("the certificate of the DNS server is not valid yet"),
        ),
        (
            good(&Authority::new("another")),
            "#dns.example",
            Some("the certificate of the DNS server is from an authority that is not trusted"),
        ),
    ];
    for (acceptor, name, failure) in cases {
        let front = Front::new(acceptor, &scene.dns).await;
        let server = format!("tls://{}{name}", front.address).parse().unwrap();
        let before = scene.dns.asked().len();
        let found = look_up(&scene.resolver(vec![server]), "a.example").await;
        match failure {
            None => assert_eq!(found, ok()),
            Some(words) => {
                assert_eq!(found, Err(Failure::Tls(words)));
                assert_eq!(scene.dns.asked().len(), before, "{words}");
            }
        }
    }
    // Plain DNS where TLS should be, with an honest answer in reach.
    let server = format!("tls://{}", scene.dns.address()).parse().unwrap();
    let before = scene.dns.asked().len();
    let resolver =
        Resolver::new(Settings { try_for: Duration::from_millis(200), ..scene.settings(vec![server]) });
    assert!(look_up(&resolver.unwrap(), "a.example").await.is_err());
    assert_eq!(scene.dns.asked().len(), before);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_opened_again_for_the_next_questions() {
    let scene = Scene::new().await;
    let front = Front::new(good(&scene.authority), &scene.dns).await;
    let resolver = scene.resolver(vec![front.server("dns.example")]);
    for round in 1..4 {
        let names: Vec<String> = (0..100).map(|number| format!("n{number}.{round}.example")).collect();
        names.iter().for_each(|name| scene.dns.set(name, &["192.0.2.1"]));
        let all = futures_util::future::join_all(names.iter().map(|name| look_up(&resolver, name))).await;
        assert!(all.iter().all(|found| *found == ok()), "{round}: {all:?}");
        assert_eq!(front.connections(), round, "one for all of them");
        front.cut();
        // The news of it may come before the next question or with it.
        if round == 2 {
            sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_never_finishes_is_given_up_and_said_to_be_silent() {
    let scene = Scene::new().await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hanging.local_addr().unwrap();
    let hanging_server: Server = format!("tls://{address}#dns.example").parse().unwrap();
    let brief = |servers| Settings { try_for: Duration::from_millis(200), ..scene.settings(servers) };
    let resolver = Resolver::new(brief(vec![hanging_server.clone()])).unwrap();
    assert_eq!(look_up(&resolver, "a.example").await, Err(Failure::Timeout));
    // Another one is asked meanwhile.
    let front = Front::new(good(&scene.authority), &scene.dns).await;
    let resolver = scene.resolver(vec![hanging_server, front.server("dns.example")]);
    assert_eq!(look_up(&resolver, "a.example").await, ok());
}

#[tokio::test]
async fn a_connection_on_which_no_answer_comes_is_not_used_for_ever() {
    let scene = Scene::new().await;
    scene.dns.reply("silent.example", Reply::Silence);
    let front = Front::new(good(&scene.authority), &scene.dns).await;
    let settings = scene.settings(vec![front.server("dns.example")]);
    let resolver = Resolver::new(Settings { try_for: Duration::from_secs(1), ..settings }).unwrap();
    assert_eq!(look_up(&resolver, "a.example").await, ok());
    assert_eq!(look_up(&resolver, "silent.example").await, Err(Failure::Timeout));
    let used = front.connections();
    assert!(used > 1, "what lies between may have forgotten the connection");
    scene.dns.set("b.example", &["192.0.2.1"]);
    assert_eq!(look_up(&resolver, "b.example").await, ok());
}

#[tokio::test]
async fn a_client_whose_names_nobody_answers_for_leaves_the_others_theirs_and_the_connection() {
    const TRY: Duration = Duration::from_secs(20);
    let scene = Scene::new().await;
    scene.dns.reply("*.silent.example", Reply::Silence);
    let front = Front::new(good(&scene.authority), &scene.dns).await;
    let settings = scene.settings(vec![front.server("dns.example")]);
    let resolver = Arc::new(Resolver::new(Settings { try_for: TRY, ..settings }).unwrap());
    let clock = Clock::stop();
    let ask = async |resolver: Arc<Resolver>, name: String| look_up(&resolver, &name).await;
    let in_vain = (0..3000).map(|number| ask(Arc::clone(&resolver), format!("n{number}.silent.example")));
    let mut in_vain: JoinSet<_> = in_vain.collect();
    // For longer than it takes until the first of them are given up.
    for number in 0..30 {
        let name = format!("n{number}.example");
        scene.dns.set(&name, &["192.0.2.1"]);
        assert_eq!(look_up_for(&resolver, 2, &name).await, ok(), "{name}");
        clock.advance(TRY / 10).await;
    }
    assert_eq!(front.connections(), 1, "the names are silent, not the connection");
    assert_eq!(in_vain.join_next().await.unwrap().unwrap(), Err(Failure::TooMany));
}

#[tokio::test]
async fn a_server_that_closes_without_an_answer_is_told_as_such() {
    let scene = Scene::new().await;
    let acceptor = good(&scene.authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read_u16().await;
            let _ = stream.shutdown().await;
        }
    });
    let server = format!("tls://{address}#dns.example").parse().unwrap();
    let resolver = scene.resolver(vec![server]);
    let closes = Failure::Tls("the DNS server closes the connection without an answer");
    assert_eq!(look_up(&resolver, "a.example").await, Err(closes));
    // Now nobody is there at all, and that is told, not what was wrong before.
    serving.shutdown().await;
    assert_eq!(look_up(&resolver, "a.example").await, Err(Failure::Unreachable));
}

#[tokio::test]
async fn of_several_servers_one_that_proves_itself_will_do() {
    let scene = Scene::new().await;
    let front = Front::new(good(&scene.authority), &scene.dns).await;
    let stranger = Front::new(good(&Authority::new("another")), &scene.dns).await;
    let good = [front.server("dns.example"), scene.dns.address().into()];
    for good in good {
        for servers in
            [vec![stranger.server("dns.example"), good.clone()], vec![good, stranger.server("dns.example")]]
        {
            assert_eq!(look_up(&scene.resolver(servers), "a.example").await, ok());
        }
    }
}

#[tokio::test]
async fn authorities_are_read_again_on_reload() {
    let scene = Scene::new().await;
    let next = Authority::new("next");
    let front = Front::new(good(&next), &scene.dns).await;
    let resolver = scene.resolver(vec![front.server("dns.example")]);
    let ca = scene.directory.path().join("ca.pem");
    assert!(resolver.files().contains(&ca));
    assert!(matches!(look_up(&resolver, "a.example").await, Err(Failure::Tls(_))));
    fs::write(&ca, "half a file").unwrap();
    let error = resolver.reload().unwrap_err().to_string();
    let told = format!(
        "{}: it has no certificate in PEM; name a file of certificates in PEM by `dns.ca`",
        ca.display()
    );
    assert_eq!(error, told);
    fs::write(&ca, format!("{}{}", scene.authority.pem, next.pem)).unwrap();
    resolver.reload().unwrap();
    assert_eq!(look_up(&resolver, "a.example").await, ok());
    resolver.reload().unwrap();
    assert_eq!(look_up(&resolver, "a.example").await, ok());
    assert_eq!(scene.dns.asked(), ["a.example A tcp"], "the cache is kept while nothing changes");
}

#[tokio::test]
async fn openssl_on_the_other_side_is_understood() {
    let scene = Scene::new().await;
    let pair = scene.authority.sign(Wanted::named(&["dns.example"]));
    let at = |name: &str| scene.directory.path().join(name);
    fs::write(at("server.pem"), pair.certificate + &pair.key).unwrap();
    for versions in ["openssl-min-proto-version=TLS1.3", "openssl-max-proto-version=TLS1.2"] {
        let listen = format!(
            "OPENSSL-LISTEN:0,bind=127.0.0.1,fork,verify=0,cert={},{versions}",
            at("server.pem").display()
        );
        let mut socat = Command::new("socat")
            .args(["-d", "-d", &listen, &format!("TCP:{}", scene.dns.address())])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("socat is needed: see tests/need.sh");
        let mut lines = BufReader::new(socat.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("socat listens");
            if let Some((_, address)) = line.split_once("listening on AF=2 ") {
                break address.to_owned();
            }
        };
        let server = format!("tls://{address}#dns.example").parse().unwrap();
        assert_eq!(look_up(&scene.resolver(vec![server]), "a.example").await, ok(), "{versions}");
    }
}
