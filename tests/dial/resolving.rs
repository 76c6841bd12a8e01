//! What is asked of which source, and what becomes of the answers.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exeat::error::Error;
use exeat::families::Families;
use exeat::host::Name;
use exeat::resolve::{Answers, Asker, Failure, Fault, Follow, Resolver, Settings};
use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name as WireName, RData, RecordType};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{pause, sleep, timeout};

use crate::dns::{Dns, Reply};

/// For a try of a question that is never answered: it is not given up while a test runs, on however busy a machine. Whoever
/// has to wait for one to end fails before it does.
const LONG_ENOUGH: Duration = Duration::from_secs(20);
/// A day, so that only a clamp can make an answer expire while a test runs.
const LONG: u32 = 86_400;

/// A directory with an empty hosts file, and settings that read nothing of this machine.
fn settings(directory: &TempDir, dns: &Dns) -> Settings {
    let hosts = directory.path().join("hosts");
    fs::write(&hosts, "").unwrap();
    Settings {
        servers: vec![dns.address().into()],
        resolv_conf: PathBuf::from("/nonexistent"),
        hosts: Some(hosts),
        ..Settings::default()
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

async fn all(mut answers: Answers) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    loop {
        match answers.next().await {
            Ok(Some(batch)) => found.extend(batch.iter().map(IpAddr::to_string)),
            Ok(None) => return Ok(found),
            Err(Error::Dns(text)) => return Err(text),
            Err(error) => panic!("not a DNS error: {error}"),
        }
    }
}

async fn resolve(resolver: &Resolver, text: &str) -> Result<Vec<String>, String> {
    let mut found = all(resolver.resolve(Asker::Exeat, &name(text), Families::default())).await?;
    found.sort();
    Ok(found)
}

fn ok(addresses: &[&str]) -> Result<Vec<String>, String> {
    Ok(addresses.iter().map(ToString::to_string).collect())
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn both_families_are_asked_for_the_absolute_name_alone() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("a.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    dns.set("single", &["192.0.2.3"]);
    let resolv_conf = directory.path().join("resolv.conf");
    let server = dns.address();
    write(&resolv_conf, &format!("search example corp.example\noptions ndots:5\nnameserver {server}\n"));
    let settings = Settings { servers: Vec::new(), resolv_conf, ..settings(&directory, &dns) };
    let resolver = Resolver::new(settings).unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    assert_eq!(resolve(&resolver, "single").await, ok(&["192.0.2.3"]));
    assert_eq!(resolve(&resolver, "a").await, Err("the name does not exist (NXDOMAIN)".to_owned()));
    assert_eq!(dns.asked(), ["a A", "a AAAA", "a.example A", "a.example AAAA", "single A", "single AAAA"]);
}

#[tokio::test]
async fn the_hosts_file_wins_and_keeps_its_names_out_of_dns() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("a.example", &["192.0.2.9", "2001:db8::9"]);
    let settings = settings(&directory, &dns);
    let hosts = settings.hosts.clone().unwrap();
    write(&hosts, "192.0.2.1 a.example\n192.0.2.2 localhost both.example\n2001:db8::2 both.example\n");
    let resolver = Resolver::new(settings).unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));
    assert_eq!(resolve(&resolver, "both.example").await, ok(&["192.0.2.2", "2001:db8::2"]));
    assert_eq!(resolve(&resolver, "localhost").await, ok(&["192.0.2.2"]));
    assert!(dns.asked().is_empty());

    write(&hosts, "192.0.2.3 a.example\n");
    resolver.reload().unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.3"]));
    write(&hosts, "");
    resolver.reload().unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.9", "2001:db8::9"]));
}

#[tokio::test]
async fn special_use_names_are_not_asked_for() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    for local in ["localhost", "a.localhost"] {
        assert_eq!(resolve(&resolver, local).await, ok(&["127.0.0.1", "::1"]), "{local}");
    }
    for none in ["a.invalid", "a.onion"] {
        assert_eq!(resolve(&resolver, none).await, Err("the name does not exist (NXDOMAIN)".to_owned()));
    }
    assert!(dns.asked().is_empty());
}

#[tokio::test]
async fn times_to_live_are_clamped() {
    let minute = Duration::from_secs(60);
    let asked_twice = ["a.example A", "a.example A", "a.example AAAA", "a.example AAAA"];
    let asked_once = ["a.example A", "a.example AAAA"];
    for (ttl, min_ttl, max_ttl, asked) in [
        (LONG, Duration::ZERO, minute, &asked_once[..]),
        (LONG, Duration::ZERO, Duration::ZERO, &asked_twice[..]),
        (0, minute, minute, &asked_once[..]),
        (0, Duration::ZERO, minute, &asked_twice[..]),
        // What the settings' reader refuses must not panic here either.
        (0, minute, Duration::ZERO, &asked_once[..]),
    ] {
        for addresses in [&["192.0.2.1"][..], &["192.0.2.1", "2001:db8::1"], &[]] {
            let (directory, dns) = (TempDir::new().unwrap(), Dns::with_ttl(ttl).await);
            dns.set("a.example", addresses);
            let settings = Settings { min_ttl, max_ttl, ..settings(&directory, &dns) };
            let resolver = Resolver::new(settings).unwrap();
            let first = resolve(&resolver, "a.example").await;
            assert_eq!(resolve(&resolver, "a.example").await, first);
            assert_eq!(dns.asked(), asked, "ttl {ttl}, {min_ttl:?} to {max_ttl:?}, {addresses:?}");
        }
    }
}

#[tokio::test]
async fn names_that_do_not_exist_are_remembered() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::with_ttl(LONG).await);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    for _ in 0..3 {
        assert!(resolve(&resolver, "a.example").await.is_err());
    }
    assert_eq!(dns.asked(), ["a.example A", "a.example AAAA"]);
}

#[tokio::test]
async fn concurrent_look_ups_share_their_questions() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let (open, gate) = watch::channel(false);
    let addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    dns.reply("a.example", Reply::Behind(gate, Box::new(Reply::Addresses(addresses))));
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    let ask = || resolve(&resolver, "a.example");
    let (a, b, c, ()) = tokio::join!(ask(), ask(), ask(), async {
        // All three were polled once before this.
        open.send(true).unwrap();
    });
    for found in [a, b, c] {
        assert_eq!(found, ok(&["192.0.2.1", "2001:db8::1"]));
    }
    assert_eq!(dns.asked(), ["a.example A", "a.example AAAA"]);
}

#[tokio::test]
async fn a_look_up_whose_first_asker_left_goes_on_for_the_others() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let (open, gate) = watch::channel(false);
    let addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    dns.reply("a.example", Reply::Behind(gate, Box::new(Reply::Addresses(addresses))));
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    let (first, second) = (name("a.example"), name("a.example"));
    let mut first = Box::pin(all(resolver.resolve(Asker::Exeat, &first, Families::default())));
    let mut second = Box::pin(all(resolver.resolve(Asker::Exeat, &second, Families::default())));
    tokio::select! {
        biased;
        _ = &mut first => panic!("answered behind the gate"),
        _ = &mut second => panic!("answered behind the gate"),
        () = tokio::task::yield_now() => drop(first),
    }
    open.send(true).unwrap();
    assert_eq!(second.await.unwrap().len(), 2);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("empty.example", &[]);
    dns.reply("failing.example", Reply::Code(ResponseCode::ServFail));
    dns.reply("refused.example", Reply::Code(ResponseCode::Refused));
    dns.reply("garbage.example", Reply::Garbage);
    dns.script("half.example", RecordType::A, [Reply::Code(ResponseCode::ServFail)]);
    dns.script("half.example", RecordType::AAAA, [Reply::Addresses(Vec::new())]);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    for (name, text) in [
        ("missing.example", "the name does not exist (NXDOMAIN)"),
        ("empty.example", "the name has no addresses"),
        ("failing.example", "the DNS server failed (SERVFAIL)"),
        ("refused.example", "the DNS server refused to answer (REFUSED)"),
        ("garbage.example", "the DNS server's answer is malformed"),
        ("half.example", "the DNS server failed (SERVFAIL)"),
    ] {
        assert_eq!(resolve(&resolver, name).await, Err(text.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn one_family_that_fails_leaves_the_other() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let v4 = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    let v6 = Reply::Addresses(vec!["2001:db8::1".parse().unwrap()]);
    dns.script("v4.example", RecordType::A, [v4]);
    dns.script("v4.example", RecordType::AAAA, [Reply::Code(ResponseCode::ServFail)]);
    dns.script("v6.example", RecordType::A, [Reply::NoSuchName]);
    dns.script("v6.example", RecordType::AAAA, [v6]);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    assert_eq!(resolve(&resolver, "v4.example").await, ok(&["192.0.2.1"]));
    assert_eq!(resolve(&resolver, "v6.example").await, ok(&["2001:db8::1"]));
}

#[tokio::test]
async fn ipv4_does_not_wait_for_a_silent_ipv6() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.script("a.example", RecordType::A, [Reply::Addresses(vec!["192.0.2.1".parse().unwrap()])]);
    dns.script("a.example", RecordType::AAAA, [Reply::Silence]);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    let first = resolver.resolve(Asker::Exeat, &name("a.example"), Families::default()).next().await.unwrap();
    assert_eq!(first, Some(vec!["192.0.2.1".parse().unwrap()]));
}

#[tokio::test]
async fn answers_too_large_for_udp_come_over_tcp() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let addresses: Vec<IpAddr> = (0..200u8).map(|last| IpAddr::from([192, 0, 2, last])).collect();
    dns.script("a.example", RecordType::A, [Reply::Truncated(Box::new(Reply::Addresses(addresses)))]);
    dns.script("a.example", RecordType::AAAA, [Reply::Addresses(Vec::new())]);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    // Bounded, however many the server sends.
    assert_eq!(resolve(&resolver, "a.example").await.unwrap().len(), 64);
    assert_eq!(dns.asked(), ["a.example A", "a.example A tcp", "a.example AAAA"]);
}

#[tokio::test]
async fn a_question_that_is_lost_is_soon_repeated_however_many_names_had_nothing() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let addresses = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    dns.script("a.example", RecordType::A, [Reply::Silence, addresses]);
    let resolver = Resolver::new(Settings { try_for: LONG_ENOUGH, ..settings(&directory, &dns) }).unwrap();
    for number in 0..60 {
        assert_eq!(v4(&resolver, 1, &format!("n{number}.example")).await, Err(Failure::NoSuchName));
    }
    let begun = Instant::now();
    assert_eq!(v4(&resolver, 1, "a.example").await, Ok(1));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn aliases_are_followed_for_so_many_steps() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    for step in 0..20 {
        dns.reply(&format!("{step}.example"), Reply::Alias(format!("{}.example", step + 1)));
    }
    dns.set("20.example", &["192.0.2.1"]);
    dns.reply("loop.example", Reply::Alias("loop.example".to_owned()));
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    assert_eq!(resolve(&resolver, "17.example").await, ok(&["192.0.2.1"]));
    for endless in ["0.example", "loop.example"] {
        assert_eq!(resolve(&resolver, endless).await, Err("the name has no addresses".to_owned()));
    }
    let asked = dns.asked();
    assert!(asked.len() <= 2 * (4 + 8 + 8), "{}: {asked:?}", asked.len());
}

#[tokio::test]
async fn what_an_answer_says_of_another_name_is_not_the_names() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let target = |text: &str| RData::CNAME(CNAME(WireName::from_ascii(text).unwrap()));
    let beside = |other: &str, data, reply| Reply::Beside(other.to_owned(), data, Box::new(reply));
    let own = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    dns.script("a.example", RecordType::A, [beside("b.example", RData::A(A::new(192, 0, 2, 2)), own)]);
    let own = Reply::Alias("b.example".to_owned());
    dns.script("c.example", RecordType::CNAME, [beside("b.example", target("a.example."), own)]);
    let resolver = Resolver::new(settings(&directory, &dns)).unwrap();
    for (asked, kind, data) in [
        ("a.example", RecordType::A, RData::A(A::new(192, 0, 2, 1))),
        ("c.example", RecordType::CNAME, target("b.example.")),
    ] {
        let found = resolver.records(Asker::Exeat, &name(asked), kind).await.unwrap();
        assert_eq!(found.data[..], [data], "{asked}");
    }
}

#[tokio::test]
async fn a_reload_keeps_the_cache_while_the_servers_stay() {
    let (directory, dns, other) = (TempDir::new().unwrap(), Dns::start().await, Dns::start().await);
    dns.set("a.example", &["192.0.2.1"]);
    other.set("a.example", &["192.0.2.2"]);
    let resolv_conf = directory.path().join("resolv.conf");
    let nameserver = |dns: &Dns| format!("nameserver {}\n", dns.address());
    write(&resolv_conf, &nameserver(&dns));
    let settings = settings(&directory, &dns);
    let hosts = settings.hosts.clone().unwrap();
    let settings = Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), ..settings };
    let resolver = Resolver::new(settings).unwrap();
    assert_eq!(resolver.files(), [hosts, resolv_conf.clone()]);
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));

    write(&resolv_conf, &format!("# written again\n{}", nameserver(&dns)));
    resolver.reload().unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));
    assert_eq!(dns.asked().len(), 2);

    write(&resolv_conf, &nameserver(&other));
    resolver.reload().unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.2"]));
    assert_eq!((dns.asked().len(), other.asked().len()), (2, 2));
}

#[tokio::test]
async fn where_the_clients_could_write_to_the_files_they_are_read_once() {
    for (follow, server, host) in [
        (Follow::All, "192.0.2.2", "192.0.2.8"),
        (Follow::ResolvConf, "192.0.2.2", "192.0.2.7"),
        (Follow::Nothing, "192.0.2.1", "192.0.2.7"),
    ] {
        let (directory, dns, other) = (TempDir::new().unwrap(), Dns::start().await, Dns::start().await);
        dns.set("a.example", &["192.0.2.1"]);
        other.set("a.example", &["192.0.2.2"]);
        let resolv_conf = directory.path().join("resolv.conf");
        write(&resolv_conf, &format!("nameserver {}\n", dns.address()));
        let settings = settings(&directory, &dns);
        let hosts = settings.hosts.clone().unwrap();
        write(&hosts, "192.0.2.7 b.example\n");
        let settings = Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), follow, ..settings };
        let resolver = Resolver::new(settings).unwrap();
        assert_eq!(resolver.files().contains(&hosts), follow == Follow::All);
        assert_eq!(resolver.files().contains(&resolv_conf), follow != Follow::Nothing);
        write(&resolv_conf, &format!("nameserver {}\n", other.address()));
        write(&hosts, "192.0.2.8 b.example\n");
        resolver.reload().unwrap();
        assert_eq!(resolve(&resolver, "a.example").await, ok(&[server]), "{follow:?}");
        assert_eq!(resolve(&resolver, "b.example").await, ok(&[host]), "{follow:?}");
    }
}

#[tokio::test]
async fn a_file_that_comes_to_lead_back_to_exeat_is_told_and_the_last_good_servers_stay() {
    let (directory, dns, door) = (TempDir::new().unwrap(), Dns::start().await, Dns::start().await);
    dns.set("a.example", &["192.0.2.1"]);
    let file = |name: &str| directory.path().join(name);
    write(&file("resolv.conf"), &format!("nameserver {}\n", dns.address()));
    let settings = Settings {
        servers: Vec::new(),
        resolv_conf: file("resolv.conf"),
        behind_stub: file("behind"),
        doors: vec![door.address()],
        ..settings(&directory, &dns)
    };
    let resolver = Resolver::new(settings.clone()).unwrap();
    assert!(resolver.files().contains(&file("behind")));
    // As when someone makes the door the resolver of the host, and then as when a stub is put in between.
    let stub = format!("nameserver 127.0.0.53:{}\n", dns.address().port());
    let to_door = format!("nameserver {}\n", door.address());
    for (resolv_conf, behind) in [(&to_door, ""), (&stub, &to_door)] {
        write(&file("resolv.conf"), resolv_conf);
        write(&file("behind"), behind);
        let error = resolver.reload().unwrap_err().to_string();
        let own = door.address().to_string();
        assert!(error.contains(&own) && error.contains("is exeat itself"), "{error}");
        assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]), "{resolv_conf}");
        assert!(matches!(Resolver::new(settings.clone()), Err(Fault::Circle(_))));
    }
    assert!(door.asked().is_empty());
    write(&file("behind"), "nameserver 192.0.2.53\n");
    resolver.reload().unwrap();
}

/// Something else in its directory changes, say: whoever looks again finds what the start has told.
#[tokio::test]
async fn a_resolv_conf_that_named_nobody_at_the_start_is_no_news_later() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("a.example", &["192.0.2.1"]);
    let resolv_conf = directory.path().join("resolv.conf");
    let settings = settings(&directory, &dns);
    let settings = Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), ..settings };
    let resolver = Resolver::new(settings).unwrap();
    resolver.reload().unwrap();
    write(&resolv_conf, "search example\n");
    resolver.reload().unwrap();
    write(&resolv_conf, "nameserver nonsense\n");
    assert!(resolver.reload().is_err());
    write(&resolv_conf, &format!("nameserver {}\n", dns.address()));
    resolver.reload().unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));
}

#[tokio::test]
async fn a_broken_file_is_told_and_the_last_good_one_stays() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("b.example", &["192.0.2.2"]);
    let resolv_conf = directory.path().join("resolv.conf");
    write(&resolv_conf, &format!("nameserver {}\n", dns.address()));
    let settings = settings(&directory, &dns);
    let hosts = settings.hosts.clone().unwrap();
    write(&hosts, "192.0.2.1 a.example\n");
    let settings = Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), ..settings };
    let resolver = Resolver::new(settings).unwrap();

    write(&resolv_conf, "nameserver nonsense\n");
    let error = resolver.reload().unwrap_err().to_string();
    let wrong = "it names no usable DNS server: line 1 has \"nonsense\", where an IP address without a zone has to be";
    let mend = "mend it, or list the servers by `dns.servers`";
    assert_eq!(error, format!("{}: {wrong}; {mend}", resolv_conf.display()));
    assert_eq!(resolve(&resolver, "b.example").await, ok(&["192.0.2.2"]));
    // Nor does one that was emptied, or is gone, while it is written anew.
    for (bytes, wrong) in [
        (Some(&b"\0\0"[..]), "is not text"),
        (Some(b""), "it names no DNS server"),
        (None, "it can't be read"),
    ] {
        match bytes {
            Some(bytes) => fs::write(&resolv_conf, bytes).unwrap(),
            None => fs::remove_file(&resolv_conf).unwrap(),
        }
        let error = resolver.reload().unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
        assert_eq!(resolve(&resolver, "b.example").await, ok(&["192.0.2.2"]), "{error}");
    }

    fs::remove_file(&hosts).unwrap();
    let error = resolver.reload().unwrap_err().to_string();
    assert!(error.starts_with(&hosts.display().to_string()), "{error}");
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));
}

#[tokio::test]
async fn files_that_are_too_long_are_refused_whole_and_the_last_good_ones_stay() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("b.example", &["192.0.2.2"]);
    let resolv_conf = directory.path().join("resolv.conf");
    let nameserver = format!("nameserver {}\n", dns.address());
    write(&resolv_conf, &nameserver);
    let settings = settings(&directory, &dns);
    let hosts = settings.hosts.clone().unwrap();
    let names = "192.0.2.1 a.example\n";
    write(&hosts, names);
    let settings = Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), ..settings };
    let resolver = Resolver::new(settings.clone()).unwrap();

    for (path, text, mebibytes) in [(&hosts, names, 64_u64), (&resolv_conf, &nameserver, 1)] {
        let most = mebibytes << 20;
        // What would count stands at the start, and a hole follows it.
        let resize = |size| File::options().write(true).open(path).unwrap().set_len(size).unwrap();
        resize(most + 1);
        let error = resolver.reload().unwrap_err().to_string();
        let expected = format!("{}: it is larger than {mebibytes} MiB: {} bytes", path.display(), most + 1);
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]), "{error}");
        assert_eq!(resolve(&resolver, "b.example").await, ok(&["192.0.2.2"]), "{error}");
        assert_eq!(Resolver::new(settings.clone()).unwrap_err().to_string(), error);
        resize(most);
        resolver.reload().unwrap();
        write(path, text);
    }
}

#[tokio::test]
async fn a_resolv_conf_that_can_not_be_used_is_refused_at_the_start() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let resolv_conf = directory.path().join("resolv.conf");
    let settings =
        Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), ..settings(&directory, &dns) };
    let long = "nameserver 192.0.2.1\n".to_owned() + &" ".repeat(1 << 20);
    for (bytes, wrong) in [
        (long.as_bytes(), format!("it is larger than 1 MiB: {} bytes", long.len())),
        (
            b"nameserver fe80::1%eth0\n",
            "it names no usable DNS server: line 1 has \"fe80::1%eth0\", where an IP address without a zone has to be"
                .to_owned(),
        ),
        (b"\xff\xfen\0a\0m\0e\0", "it names no DNS server and is not text".to_owned()),
        (b"\0\0\0\0", "it names no DNS server and is not text".to_owned()),
    ] {
        fs::write(&resolv_conf, bytes).unwrap();
        let error = Resolver::new(settings.clone()).unwrap_err().to_string();
        let mend = "mend it, or list the servers by `dns.servers`";
        assert_eq!(error, format!("{}: {wrong}; {mend}", resolv_conf.display()));
    }
    fs::remove_file(&resolv_conf).unwrap();
    fs::create_dir(&resolv_conf).unwrap();
    let error = Resolver::new(settings).unwrap_err().to_string();
    assert!(error.contains("it is a directory"), "{error}");
}

#[tokio::test]
async fn what_a_stub_asks_has_to_be_known_where_there_is_a_door() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let behind_stub = directory.path().join("behind");
    let settings = Settings { behind_stub: behind_stub.clone(), ..settings(&directory, &dns) };
    let with_door = Settings { doors: vec!["127.0.0.1:3153".parse().unwrap()], ..settings.clone() };
    // No systemd-resolved.
    Resolver::new(with_door.clone()).unwrap();
    for bad in [&b"nameserver dns.example\n"[..], b"\xff\xfen\0", &[b' '; (1 << 20) + 1]] {
        fs::write(&behind_stub, bad).unwrap();
        let error = Resolver::new(with_door.clone()).unwrap_err();
        assert!(matches!(error, Fault::BehindStub(_)), "{error}");
        assert!(error.to_string().starts_with(&behind_stub.display().to_string()), "{error}");
        Resolver::new(settings.clone()).unwrap();
    }
}

#[tokio::test]
async fn a_resolv_conf_that_names_nobody_means_this_host() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let resolv_conf = directory.path().join("resolv.conf");
    let settings =
        Settings { servers: Vec::new(), resolv_conf: resolv_conf.clone(), ..settings(&directory, &dns) };
    for (text, wrong) in [
        (None, "it can't be read: No such file or directory (os error 2)"),
        (Some("search example\n"), "it names no DNS server"),
    ] {
        text.iter().for_each(|text| write(&resolv_conf, text));
        let log = directory.path().join("log");
        let writer = Arc::new(File::create(&log).unwrap());
        let told = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        tracing::subscriber::with_default(told, || Resolver::new(settings.clone())).unwrap();
        let expected = format!("{}: {wrong}; asking the DNS server on this host\n", resolv_conf.display());
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains(" WARN ") && log.ends_with(&expected), "{log}");
    }
}

#[tokio::test]
async fn a_server_at_the_unspecified_address_is_this_host() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.set("a.example", &["192.0.2.1"]);
    let server = format!("0.0.0.0:{}", dns.address().port());
    let resolv_conf = directory.path().join("resolv.conf");
    write(&resolv_conf, &format!("nameserver {server}\n"));
    for servers in [Vec::new(), vec![server.parse().unwrap()]] {
        let (resolv_conf, settings) = (resolv_conf.clone(), settings(&directory, &dns));
        let resolver = Resolver::new(Settings { servers, resolv_conf, ..settings }).unwrap();
        assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));
    }
}

#[tokio::test]
async fn a_hosts_file_of_the_settings_has_to_be_there() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let hosts = Some(directory.path().join("missing"));
    let settings = Settings { hosts, ..settings(&directory, &dns) };
    assert!(Resolver::new(settings.clone()).is_err());
    assert!(Resolver::new(Settings { hosts: None, ..settings }).is_ok());
}

#[tokio::test]
async fn a_silent_server_is_given_up_for_one_that_answers() {
    let (directory, silent, dns) = (TempDir::new().unwrap(), Dns::start().await, Dns::start().await);
    silent.reply("a.example", Reply::Silence);
    dns.set("a.example", &["192.0.2.1"]);
    let servers = vec![silent.address().into(), dns.address().into()];
    let resolver = Resolver::new(Settings { servers, ..settings(&directory, &dns) }).unwrap();
    assert_eq!(resolve(&resolver, "a.example").await, ok(&["192.0.2.1"]));
}

#[tokio::test]
async fn a_server_that_refuses_gives_way_to_one_that_answers() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
        let (directory, broken, dns) = (TempDir::new().unwrap(), Dns::start().await, Dns::start().await);
        broken.reply("a.example", Reply::Code(code));
        let (open, gate) = watch::channel(false);
        // The first answer is the broken server's.
        let addresses = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
        dns.reply("a.example", Reply::Behind(gate, Box::new(addresses)));
        let servers = vec![broken.address().into(), dns.address().into()];
        let resolver = Resolver::new(Settings { servers, ..settings(&directory, &dns) }).unwrap();
        let answering = async {
            while broken.asked().len() < 2 {
                tokio::task::yield_now().await;
            }
            open.send(true).unwrap();
        };
        let (found, ()) = tokio::join!(resolve(&resolver, "a.example"), answering);
        assert_eq!(found, ok(&["192.0.2.1"]), "{code}");
    }
}

#[tokio::test]
async fn a_silent_server_hides_neither_one_that_answers_nor_what_another_said() {
    let (broken, silent, dns) = (Dns::start().await, Dns::start().await, Dns::start().await);
    broken.reply("a.example", Reply::Code(ResponseCode::ServFail));
    silent.reply("a.example", Reply::Silence);
    dns.set("a.example", &["192.0.2.1"]);
    let directory = TempDir::new().unwrap();
    let ask = async |servers: &[&Dns]| {
        let servers = servers.iter().map(|dns| dns.address().into()).collect();
        let try_for = Duration::from_secs(1);
        let resolver = Resolver::new(Settings { servers, try_for, ..settings(&directory, &dns) }).unwrap();
        v4(&resolver, 1, "a.example").await
    };
    // Which two of them are asked first is left to luck.
    let all = [&broken, &silent, &dns];
    assert_eq!(join_all([(); 10].map(|()| ask(&all))).await, [Ok(1); 10]);
    assert_eq!(ask(&[&broken, &silent]).await, Err(Failure::ServerFailed));
}

/// The answer to a client's question for the addresses of one family.
async fn v4(resolver: &Resolver, client: u8, text: &str) -> Result<usize, Failure> {
    let asker = Asker::Client(Ipv4Addr::new(10, 0, 0, client).into());
    resolver.records(asker, &name(text), RecordType::A).await.map(|found| found.data.len())
}

/// The same, asked by many at a time.
fn v4_of_all(
    resolver: &Arc<Resolver>,
    all: impl Iterator<Item = (u8, String)>,
) -> JoinSet<Result<usize, Failure>> {
    let ask = async |resolver: Arc<Resolver>, client, name: String| v4(&resolver, client, &name).await;
    all.map(|(client, name)| ask(Arc::clone(resolver), client, name)).collect()
}

/// Silent names that were asked for, each told once however often it was.
fn silent_names(dns: &Dns) -> HashSet<String> {
    dns.asked().into_iter().filter(|asked| asked.contains("silent")).collect()
}

#[tokio::test]
async fn a_client_has_so_many_questions_under_way_and_others_have_theirs() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.reply("*.silent.example", Reply::Silence);
    dns.set("*.good.example", &["192.0.2.1"]);
    // Sixteen questions, each with three sockets, and a quarter of them for one client.
    let settings = Settings { sockets: 48, try_for: LONG_ENOUGH, ..settings(&directory, &dns) };
    let resolver = Arc::new(Resolver::new(settings).unwrap());
    assert_eq!(v4(&resolver, 1, "known.good.example").await, Ok(1));
    let mut in_vain = v4_of_all(&resolver, (0..100).map(|number| (1, format!("n{number}.silent.example"))));
    let under_way = || silent_names(&dns).len();
    while under_way() < 4 {
        yield_now().await;
    }
    for number in 0..5 {
        assert_eq!(v4(&resolver, 2, &format!("n{number}.good.example")).await, Ok(1), "{number}");
        assert_eq!(v4(&resolver, 1, "known.good.example").await, Ok(1), "what is known needs no turn");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(under_way(), 4, "{:?}", dns.asked());
    pause();
    assert_eq!(in_vain.join_next().await.unwrap().unwrap(), Err(Failure::TooMany));
}

#[tokio::test]
async fn a_client_finds_room_beside_those_who_have_as_many_questions_under_way_as_they_may() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.reply("*.silent.example", Reply::Silence);
    dns.set("a.example", &["192.0.2.1"]);
    // Sixteen questions, of which four clients could have four each.
    let settings = Settings { sockets: 48, try_for: LONG_ENOUGH, ..settings(&directory, &dns) };
    let resolver = Arc::new(Resolver::new(settings).unwrap());
    let names = (0..80).map(|number| (number % 4, format!("n{number}.silent.example")));
    let in_vain = v4_of_all(&resolver, names);
    let under_way = || silent_names(&dns).len();
    while under_way() < 13 {
        yield_now().await;
    }
    sleep(Duration::from_millis(200)).await;
    assert_eq!(v4(&resolver, 200, "a.example").await, Ok(1));
    assert!(under_way() < 16, "{}", under_way());
    drop(in_vain);
}

#[tokio::test]
async fn a_question_that_many_clients_ask_is_one_question() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.reply("silent.example", Reply::Silence);
    dns.set("a.example", &["192.0.2.1"]);
    let settings = Settings { sockets: 24, try_for: LONG_ENOUGH, ..settings(&directory, &dns) };
    let resolver = Arc::new(Resolver::new(settings).unwrap());
    let in_vain = v4_of_all(&resolver, (1..100).map(|client| (client, "silent.example".to_owned())));
    while dns.asked().is_empty() {
        yield_now().await;
    }
    assert_eq!(v4(&resolver, 200, "a.example").await, Ok(1));
    drop(in_vain);
}

#[tokio::test]
async fn those_of_a_client_that_wait_for_their_turn_to_ask_the_same_are_told_with_the_first() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    let (open, gate) = watch::channel(false);
    let addresses = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    dns.reply("a.example", Reply::Behind(gate, Box::new(addresses)));
    // Four of them at a time may ask.
    let settings = Settings { sockets: 48, try_for: LONG_ENOUGH, ..settings(&directory, &dns) };
    let resolver = Arc::new(Resolver::new(settings).unwrap());
    let asking = v4_of_all(&resolver, (0..40).map(|_| (1, "a.example".to_owned())));
    while dns.asked().is_empty() {
        yield_now().await;
    }
    open.send(true).unwrap();
    assert_eq!(asking.join_all().await, vec![Ok(1); 40]);
    assert_eq!(dns.asked(), ["a.example A"]);
}

#[tokio::test]
async fn questions_wait_until_there_are_sockets_for_them() {
    let (directory, dns) = (TempDir::new().unwrap(), Dns::start().await);
    dns.reply("*.silent.example", Reply::Silence);
    dns.set("a.example", &["192.0.2.1"]);
    let settings = Settings { sockets: 24, try_for: LONG_ENOUGH, ..settings(&directory, &dns) };
    let resolver = Arc::new(Resolver::new(settings).unwrap());
    let in_vain = v4_of_all(&resolver, (1..9).map(|client| (client, format!("n{client}.silent.example"))));
    while dns.asked().len() < 8 {
        yield_now().await;
    }
    let mut late = Box::pin(v4(&resolver, 200, "a.example"));
    assert!(timeout(Duration::from_millis(300), &mut late).await.is_err());
    assert!(!dns.asked().contains(&"a.example A".to_owned()));
    drop(in_vain);
    assert_eq!(late.await, Ok(1));
}
