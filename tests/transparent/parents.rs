//! Redirected connections that go on through a parent proxy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use exeat::mistake::Place;
use exeat::parent::{Resolve, Settings, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::gate::{Gate, Setup};
use crate::namespace::{self, connect, redirect};
use crate::server::{Server, Tls};
use crate::{BANNER, facts, in_order, listen};

const PARENT: &str = "93.184.216.53:3128";

/// A proxy with names of its own, which answers plain requests itself; returns what it is asked for.
async fn proxy(names: &'static [(&'static str, &'static str)]) -> Arc<Mutex<Vec<String>>> {
    let (asked, listener) = (Arc::<Mutex<Vec<String>>>::default(), TcpListener::bind(PARENT).await.unwrap());
    let told = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, names.iter().copied().collect(), Arc::clone(&told)));
        }
    });
    asked
}

async fn serve(mut stream: TcpStream, names: HashMap<&str, &str>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    asked.lock().unwrap().push(line.clone());
    let Some(to) = line.strip_prefix("CONNECT ") else {
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nfrom the parent";
        return stream.write_all(body.as_bytes()).await.unwrap();
    };
    let (host, port) = to.rsplit_once(':').unwrap();
    let host = names.get(host).copied().unwrap_or(host);
    let mut upstream = TcpStream::connect((host, port.parse().unwrap())).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
}

async fn gate(resolve: Resolve) -> Gate {
    let policy = "version: 1\nprofiles:\n  - name: everyone\n    parent: corp\n    allow:\n      - a.example\n      \
                  - { cidr: 93.184.216.35, ports: [22], protocol: tcp }\n";
    let corp = Settings {
        name: "corp".to_owned(),
        place: Place::start(std::path::Path::new("exeat.yaml")),
        urls: vec![Url::parse(&format!("http://{PARENT}")).unwrap()],
        resolve,
        account: None,
        ca: None,
    };
    let setup = Setup::new(policy).settings(|all| {
        all.listen.transparent = vec!["[::]:0".parse().unwrap()];
        all.parents = vec![corp];
    });
    let gate = setup.start().await;
    redirect(gate.transparent[0]);
    gate
}

async fn get() -> String {
    let mut stream = connect("93.184.216.66:80").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.unwrap();
    crate::reading::read_to_end(&mut stream).await
}

#[test]
fn a_parent_is_asked_for_screened_addresses() {
    namespace::run("parents::a_parent_is_asked_for_screened_addresses", async {
        let gate = gate(Resolve::Here).await;
        gate.servers.set("a.example", &["93.184.216.34"]);
        let asked = proxy(&[]).await;
        let tls = Tls::new(&["a.example"]);
        let good = tls.serve("93.184.216.34:443", "good").await;
        let _page = Server::page("93.184.216.34:80", "page").await;
        let _ssh = Server::banner("93.184.216.35:22", BANNER).await;
        // On the way to an address that is none of the name's.
        let said = tls.speak(connect("93.184.216.66:443").await, Some("a.example")).await;
        assert_eq!(said.unwrap(), "good");
        assert_eq!(listen("93.184.216.35:22").await.unwrap(), BANNER);
        assert!(get().await.ends_with("page for a.example"));
        let denied = tls.speak(connect("93.184.216.34:443").await, Some("b.example")).await;
        assert!(denied.is_err());
        let expected = ["CONNECT 93.184.216.34:443", "CONNECT 93.184.216.35:22", "CONNECT 93.184.216.34:80"];
        assert_eq!(*asked.lock().unwrap(), expected);
        assert_eq!(good.connections(), 1);
        let records = in_order(&gate, 4).await;
        for (record, address) in records.iter().zip(["93.184.216.34", "93.184.216.35", "93.184.216.34"]) {
            assert_eq!((&record["parent"], &record["address"]), (&"corp".into(), &address.into()));
        }
        assert_eq!(facts(&records[3]), ("transparent", "no_rule", "b.example", 443));
        gate.stop(4).await;
    });
}

#[test]
fn a_parent_that_resolves_is_asked_for_names_where_there_are_some() {
    namespace::run("parents::a_parent_that_resolves_is_asked_for_names_where_there_are_some", async {
        let gate = gate(Resolve::Parent).await;
        let asked = proxy(&[("a.example", "93.184.216.34")]).await;
        let tls = Tls::new(&["a.example"]);
        let _good = tls.serve("93.184.216.34:443", "good").await;
        let _ssh = Server::banner("93.184.216.35:22", BANNER).await;
        let said = tls.speak(connect("93.184.216.66:443").await, Some("a.example")).await;
        assert_eq!(said.unwrap(), "good");
        assert_eq!(listen("93.184.216.35:22").await.unwrap(), BANNER);
        assert!(get().await.ends_with("from the parent"));
        let expected = ["CONNECT a.example:443", "CONNECT 93.184.216.35:22", "GET http://a.example/"];
        assert_eq!(*asked.lock().unwrap(), expected);
        assert_eq!(gate.servers.asked(), [""; 0], "nothing is looked up here");
        let records = in_order(&gate, 3).await;
        let addresses: Vec<_> = records.iter().map(|record| record["address"].as_str()).collect();
        assert_eq!(addresses, [None, Some("93.184.216.35"), None]);
        gate.stop(3).await;
    });
}
