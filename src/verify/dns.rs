//! Questions to a server of one's own choice.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{self, RecordType};

use crate::host::Name;
use crate::plural::plural;
use crate::verify::{Seen, Trial, udp};

const DNS: u16 = 53;

/// Asks; only records are an answer. Whoever says that the name does not exist may be exeat.
pub(super) fn ask(trial: &Trial, server: IpAddr, name: &Name, kind: RecordType, over_tcp: bool) -> Seen {
    let Some(question) = question(name, kind) else {
        return Seen::Nothing("the name can't be asked for".to_owned());
    };
    let at = (server, DNS).into();
    let answer = if over_tcp { exchange(trial, at, &question) } else { udp::send(trial, at, &question) };
    match answer.as_deref().map(Message::from_vec) {
        Err(error) => Seen::of(error, server),
        Ok(Err(_)) => Seen::Answer("something that is no DNS came back".to_owned()),
        Ok(Ok(answer)) => match answer.answers.len() {
            0 => Seen::Nothing(answer.metadata.response_code.to_string()),
            count => Seen::Answer(format!("{} came back", plural(count, "record"))),
        },
    }
}

fn question(name: &Name, kind: RecordType) -> Option<Vec<u8>> {
    let name = rr::Name::from_ascii(format!("{}.", name.as_str())).ok()?;
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message.to_vec().ok()
}

/// Over TCP a message has its length before it (RFC 1035 §4.2.2).
fn exchange(trial: &Trial, at: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&at, trial.patience)?;
    stream.set_read_timeout(Some(trial.patience))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
