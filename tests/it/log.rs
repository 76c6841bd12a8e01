//! What the program tells of itself, and what nobody can make it tell.

use std::fs;
use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::binary::{Binary, Files};

#[tokio::test]
async fn questions_that_are_written_badly_are_not_told_in_the_log() {
    let files = Files::new("", "version: 1\nprofiles:\n  - name: p\n    allow: [a.example]\n");
    let path = files.directory.path().join("exeat.yaml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("listen: {", "listen: { dns: ['127.0.0.1:0'],")).unwrap();
    let exeat = Binary::start(files, None).await;
    let log = exeat.log();
    let (_, door) = log.split_once("DNS questions are answered at ").unwrap();
    let door: SocketAddr = door.lines().next().unwrap().parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(door).await.unwrap();
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A));
    question.set_edns(Edns::new());
    let mut bytes = question.to_vec().unwrap();
    // The code of an option, and neither its length nor anything else of it.
    let length = bytes.len() - 2;
    bytes.splice(length.., [0, 2, 0, 10]);
    for _ in 0..100 {
        socket.send(&bytes).await.unwrap();
        let answer = timeout(PATIENCE, socket.recv(&mut [0; 512])).await.expect("no answer").unwrap();
        assert!(answer > bytes.len() - 4, "an answer with an address");
    }
    assert_eq!(exeat.log().lines().filter(|line| line.contains("EDNS")).count(), 0, "{}", exeat.log());
}
