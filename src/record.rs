//! What is known of a flow: gathered while the flow is open, written as one JSON line when it ends.

mod id;
mod inside;
mod line;
mod output;
mod queue;
mod sink;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::client::Client;
use crate::destination::Destination;
use crate::ingress::Ingress;
use crate::reason::Reason;

pub use self::id::{FlowId, Ids};
pub use self::inside::Inside;
pub use self::line::{ENDED, OPENED};
pub use self::sink::{Audit, Sink, Watch};

/// The names of the profiles that took part in a verdict; shared by the flows of one connection.
pub type Profiles = Arc<[Box<str>]>;

/// What is known of one flow. It owns all of it: an old policy must not live as long as an old tunnel.
#[derive(Clone, Debug)]
pub struct Record {
    pub flow: FlowId,
    pub ingress: Ingress,
    pub client: Client,
    /// When the flow began.
    pub time: Timestamp,
    pub profiles: Option<Profiles>,
    pub to: Option<Destination>,
    pub inside: Inside,
    /// The upstream's address, once there is a connection to it.
    pub address: Option<IpAddr>,
    /// The parent proxy that it goes through.
    pub parent: Option<Arc<str>>,
    /// Why it ended; while it is open, what the policy said last.
    pub reason: Option<Reason>,
    pub would_deny: bool,
    /// Whether it was refused for an address of cloud metadata, which no `private` opens. It is not written.
    pub metadata: bool,
    /// The rule that decided, in the words for people.
    pub rule: Option<Arc<str>>,
    pub sent: u64,
    pub received: u64,
    /// Look-up and connect together.
    pub dial: Option<Duration>,
    /// How long the flow took; `None` while it is open.
    pub duration: Option<Duration>,
    /// The HTTP status that the client got.
    pub status: Option<u16>,
    pub error: Option<Box<str>>,
}

impl Record {
    /// The record of a flow that begins now.
    pub fn new(flow: FlowId, ingress: Ingress, client: Client) -> Self {
        Self {
            flow,
            ingress,
            client,
            time: Timestamp::now(),
            profiles: None,
            to: None,
            inside: Inside::Unknown,
            address: None,
            parent: None,
            reason: None,
            would_deny: false,
            metadata: false,
            rule: None,
            sent: 0,
            received: 0,
            dial: None,
            duration: None,
            status: None,
            error: None,
        }
    }

    /// Notes the upstream that was connected to, if its address is known, and how long that took.
    pub fn dialled(&mut self, upstream: Option<SocketAddr>, took: Duration) {
        self.address = upstream.map(|address| address.ip().to_canonical());
        self.dial = Some(took);
    }

    /// Appends the record as one line of JSON.
    pub fn write_line(&self, line: &mut Vec<u8>) {
        line::write(self, line);
    }
}

/// At most the first `limit` characters of a text.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}
