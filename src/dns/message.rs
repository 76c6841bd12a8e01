//! DNS messages: what a client asks, and the bytes that answer it.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use std::time::Duration;

use crate::error::Error;
use crate::host::Name;
use crate::reason::Reason;

/// Identifier, flags and four counts (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// The most that a client takes over UDP if it does not say (RFC 1035 §2.3.4).
const UDP_PLAIN: usize = 512;
/// The most that is sent over UDP to anyone: what passes every network in one piece (DNS flag day 2020).
const UDP_MAX: u16 = 1232;
/// The longest message that is read as a question. One with a name and every option of EDNS is far shorter; of 64 KB
/// over TCP, thousands of compressed names would have to be read before they are no question.
const QUESTION_MAX: usize = 4096;
/// The extended errors "Blocked" and "Filtered" (RFC 8914 §4.16, §4.18), and the code of the option.
const EXTENDED_ERROR: u16 = 15;
const BLOCKED: u16 = 15;
const FILTERED: u16 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A message that is to be answered.
#[derive(Debug)]
pub struct Request {
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    /// The first question, as it will be repeated.
    query: Option<Query>,
    /// Whether it speaks EDNS, and the longest answer that it takes.
    edns: bool,
    room: usize,
    /// Why it is no question that could be answered.
    fault: Option<ResponseCode>,
}

/// What is asked, in our own terms.
#[derive(Debug)]
pub struct Question {
    pub name: Name,
    pub kind: RecordType,
}

/// An answer in the making.
#[derive(Debug)]
pub struct Reply {
    code: ResponseCode,
    data: Vec<RData>,
    ttl: u32,
    /// Why something was held back: an extended error and our own word.
    because: Option<(u16, Reason)>,
}

impl Request {
    /// Reads a message. `None` if it is too short to be answered, or an answer itself.
    pub fn read(bytes: &[u8], transport: Transport) -> Option<Self> {
        let ([high, low, flags, ..], HEADER..) = (bytes, bytes.len()) else { return None };
        if flags & 0x80 != 0 {
            return None;
        }
        let unread = Self {
            id: u16::from_be_bytes([*high, *low]),
            op_code: OpCode::from_u8(flags >> 3 & 0xf),
            recursion_desired: flags & 1 != 0,
            query: None,
            edns: false,
            room: if transport == Transport::Tcp { usize::from(u16::MAX) } else { UDP_PLAIN },
            fault: Some(ResponseCode::FormErr),
        };
        if unread.op_code != OpCode::Query {
            return Some(Self { fault: Some(ResponseCode::NotImp), ..unread });
        }
        let read = if bytes.len() <= QUESTION_MAX { Message::from_vec(bytes).ok() } else { None };
        let Some(message) = read else { return Some(unread) };
        let edns = message.edns.as_ref();
        let room = match (transport, edns) {
            (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().min(UDP_MAX)).max(UDP_PLAIN),
            _ => unread.room,
        };
        let fault = match &message.queries[..] {
            _ if edns.is_some_and(|edns| edns.version() > 0) => Some(ResponseCode::BADVERS),
            [query] if query.query_class() == DNSClass::IN => None,
            [_] => Some(ResponseCode::Refused),
            // Nobody agrees on what several questions in one message mean (RFC 9619).
            _ => Some(ResponseCode::FormErr),
        };
        let query = message.queries.first().cloned();
        Some(Self { query, edns: edns.is_some(), room, fault, ..unread })
    }

    /// What is asked, if it is a question that a policy can be asked about.
    pub fn question(&self) -> Result<Question, (Reply, Error)> {
        let bad = |code, what: &'static str| (Reply::code(code), Error::BadRequest(what.into()));
        if let Some(fault) = self.fault {
            return Err(bad(fault, "the message is not one question of the class IN"));
        }
        let query = self.query.as_ref().ok_or_else(|| bad(ResponseCode::FormErr, "there is no question"))?;
        let kind = query.query_type();
        if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return Err(bad(ResponseCode::Refused, "zones are not given away"));
        }
        match name(query.name()) {
            Some(name) => Ok(Question { name, kind }),
            None => Err(bad(ResponseCode::Refused, "the name is not one that a policy could list")),
        }
    }

    /// The bytes of the answer: cut to what the client takes, who then asks again over TCP.
    pub fn reply(&self, reply: Reply) -> Vec<u8> {
        let mut message = Message::new(self.id, MessageType::Response, self.op_code);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.response_code = reply.code;
        if let Some(query) = &self.query {
            message.add_query(query.clone());
            let record = |data| Record::from_rdata(query.name().clone(), reply.ttl, data);
            message.add_answers(reply.data.into_iter().map(record));
        }
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX);
            if let Some((code, reason)) = reply.because {
                let text = [&code.to_be_bytes()[..], reason.as_str().as_bytes()].concat();
                edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, text));
            }
            message.set_edns(edns);
        }
        let bytes = message.to_vec().unwrap_or_default();
        if (1..=self.room).contains(&bytes.len()) {
            return bytes;
        }
        message.answers.clear();
        message.metadata.truncation = true;
        message.to_vec().unwrap_or_default()
    }
}

impl Reply {
    /// An answer that is a code alone.
    pub fn code(code: ResponseCode) -> Self {
        Self { code, data: Vec::new(), ttl: 0, because: None }
    }

    /// What was found; nothing says that the name has nothing of the kind.
    pub fn found(data: Vec<RData>, ttl: Duration) -> Self {
        // A TTL has 31 bits (RFC 2181 §8), and an answer that no longer holds is not worth caching.
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).min(i32::MAX as u32);
        Self { code: ResponseCode::NoError, data, ttl, because: None }
    }

    /// The name may not be asked for.
    pub fn blocked(code: ResponseCode, reason: Reason) -> Self {
        Self { because: Some((BLOCKED, reason)), ..Self::code(code) }
    }

    /// All that was found is held back.
    pub fn filtered(reason: Reason) -> Self {
        Self { because: Some((FILTERED, reason)), ..Self::code(ResponseCode::NoError) }
    }
}

/// The name in its one canonical form; a label that holds a dot must not turn into two.
fn name(wire: &hickory_proto::rr::Name) -> Option<Name> {
    let mut text = String::with_capacity(wire.len());
    for label in wire.iter() {
        let label = str::from_utf8(label).ok().filter(|label| !label.contains('.'))?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    Name::parse(&text).ok()
}
