//! A small DNS server on UDP and TCP whose answers a test decides, and which remembers what it was asked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What one question is answered with. Names that no test set up do not exist; `*.` stands for one label.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Those of the question's family; none is an empty answer (NODATA).
    Addresses(Vec<IpAddr>),
    /// A CNAME, alone: the resolver has to ask for its target.
    Alias(String),
    /// Records of whatever type.
    #[allow(dead_code, reason = "the doors' tests alone ask for other types than addresses")]
    Records(Vec<RData>),
    /// A record of another name, and the reply.
    #[allow(dead_code, reason = "the tests of the resolver alone ask what becomes of it")]
    Beside(String, RData, Box<Reply>),
    NoSuchName,
    Code(ResponseCode),
    /// Nothing comes back, ever.
    Silence,
    /// Over UDP only that there is more than fits; over TCP the reply.
    Truncated(Box<Reply>),
    /// The reply, once the gate opens.
    Behind(watch::Receiver<bool>, Box<Reply>),
    /// Bytes that are no DNS message, after a good identifier.
    Garbage,
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Dns {
    address: SocketAddr,
    zone: Arc<Zone>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Zone {
    ttl: u32,
    /// The replies still to come for each question; the last one stays.
    replies: Mutex<HashMap<(String, RecordType), Vec<Reply>>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        Self::with_ttl(60).await
    }

    /// A server whose answers, also the negative ones, may be kept for so many seconds.
    pub(crate) async fn with_ttl(ttl: u32) -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Zone { ttl, replies: Mutex::default(), asked: Mutex::default() });
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(udp, Arc::clone(&zone)));
        serving.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Self { address, zone, _serving: serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name its addresses, in both families.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.reply(name, Reply::Addresses(addresses));
    }

    /// Gives one reply to both questions for a name.
    pub(crate) fn reply(&self, name: &str, reply: Reply) {
        self.script(name, RecordType::A, [reply.clone()]);
        self.script(name, RecordType::AAAA, [reply]);
    }

    /// Gives the replies to one question, in turn; the last one stays.
    pub(crate) fn script(&self, name: &str, family: RecordType, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.zone.replies.lock().unwrap().insert((name.to_owned(), family), replies);
    }

    /// Every question so far, as `name TYPE` and, over TCP, `name TYPE tcp`, sorted. What a question has besides is
    /// told behind it: ` options` of EDNS, ` dnssec` for signatures or unchecked data.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.zone.asked.lock().unwrap().clone();
        asked.sort();
        asked
    }
}

impl Zone {
    /// The next reply to a question.
    fn take(&self, request: &Message, query: &Query, transport: Transport) -> Reply {
        let name = query.name().to_ascii().trim_end_matches('.').to_owned();
        let edns = request.edns.as_ref();
        let options = edns
            .is_some_and(|edns| edns.options().as_ref().iter().any(|(code, _)| *code != EdnsCode::Padding));
        let dnssec = edns.is_some_and(|edns| edns.flags().dnssec_ok) || request.metadata.checking_disabled;
        let mut suffix = String::new();
        for (is_so, text) in
            [(transport == Transport::Tcp, " tcp"), (options, " options"), (dnssec, " dnssec")]
        {
            suffix += if is_so { text } else { "" };
        }
        self.asked.lock().unwrap().push(format!("{name} {}{suffix}", query.query_type()));
        let mut replies = self.replies.lock().unwrap();
        let wild = name.split_once('.').map(|(_, above)| format!("*.{above}")).unwrap_or_default();
        let key = [name, wild].into_iter().map(|name| (name, query.query_type()));
        let key = key.into_iter().find(|key| replies.contains_key(key));
        match key.and_then(|key| replies.get_mut(&key)) {
            // The question is asked again over TCP, and gets the same reply there.
            Some(replies) if matches!(replies[0], Reply::Truncated(_)) && transport == Transport::Udp => {
                replies[0].clone()
            }
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
            None => Reply::NoSuchName,
        }
    }

    /// The bytes that answer a request, or none.
    async fn answer(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).unwrap();
        let query = request.queries[0].clone();
        let mut reply = self.take(&request, &query, transport);
        let mut message = Message::response(request.metadata.id, request.metadata.op_code);
        message.metadata.recursion_available = true;
        message.add_query(query.clone());
        loop {
            match reply {
                Reply::Behind(mut gate, then) => {
                    gate.wait_for(|open| *open).await.ok()?;
                    reply = *then;
                }
                Reply::Truncated(_) if transport == Transport::Udp => {
                    message.metadata.truncation = true;
                    break;
                }
                Reply::Truncated(then) => reply = *then,
                Reply::Silence => return None,
                Reply::Garbage => {
                    let mut bytes = message.to_vec().unwrap();
                    bytes.truncate(14);
                    return Some(bytes);
                }
                Reply::Code(code) => {
                    message.metadata.response_code = code;
                    break;
                }
                Reply::NoSuchName => {
                    message.metadata.response_code = ResponseCode::NXDomain;
                    message.authorities.push(self.authority());
                    break;
                }
                Reply::Alias(target) => {
                    let target = CNAME(Name::from_ascii(format!("{target}.")).unwrap());
                    message.add_answer(self.record(&query, RData::CNAME(target)));
                    break;
                }
                Reply::Beside(other, rdata, then) => {
                    let other = Name::from_ascii(format!("{other}.")).unwrap();
                    message.add_answer(Record::from_rdata(other, self.ttl, rdata));
                    reply = *then;
                }
                Reply::Records(records) => {
                    // A record may be empty in an UPDATE only (RFC 2136 §2.4), and this is no question's answer.
                    if records.iter().any(|record| matches!(record, RData::Update0(_))) {
                        message.metadata.op_code = OpCode::Update;
                    }
                    message.add_answers(records.into_iter().map(|rdata| self.record(&query, rdata)));
                    break;
                }
                Reply::Addresses(addresses) => {
                    let of_family = addresses.into_iter().filter_map(|ip| rdata(ip, query.query_type()));
                    message.add_answers(of_family.map(|rdata| self.record(&query, rdata)));
                    if message.answers.is_empty() {
                        message.authorities.push(self.authority());
                    }
                    break;
                }
            }
        }
        Some(message.to_vec().unwrap())
    }

    fn record(&self, query: &Query, rdata: RData) -> Record {
        Record::from_rdata(query.name().clone(), self.ttl, rdata)
    }

    /// Says for how long a negative answer holds (RFC 2308).
    fn authority(&self) -> Record {
        let ttl = i32::try_from(self.ttl).unwrap();
        let soa = SOA::new(Name::root(), Name::root(), 1, ttl, ttl, ttl, self.ttl);
        Record::from_rdata(Name::root(), self.ttl, RData::SOA(soa))
    }
}

fn rdata(address: IpAddr, family: RecordType) -> Option<RData> {
    match (address, family) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(v6))),
        _ => None,
    }
}

/// Both transports on one free port: the kernel picks it for UDP, and now and then TCP's is taken.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let socket = Arc::new(socket);
    let mut buffer = [0; 4096];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let (socket, zone, request) = (Arc::clone(&socket), Arc::clone(&zone), buffer[..len].to_vec());
        tokio::spawn(async move {
            if let Some(answer) = zone.answer(&request, Transport::Udp).await {
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer_tcp(stream, Arc::clone(&zone)));
    }
}

/// Answers one connection's questions in turn until its peer leaves.
async fn answer_tcp(mut stream: TcpStream, zone: Arc<Zone>) -> io::Result<()> {
    loop {
        let mut request = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut request).await?;
        if let Some(answer) = zone.answer(&request, Transport::Tcp).await {
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}
