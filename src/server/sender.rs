//! Load balancers in front of exeat, whose connections begin with a PROXY header.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::sniff::{Proxied, Sniff, proxy_header};
use crate::stream::Stream;

/// What is read at a time: mostly the whole header, and what follows it, which stays with the connection.
const FIRST: usize = 4096;

/// Those whose connections begin with a header.
#[derive(Debug)]
pub(super) struct Senders(pub(super) Vec<IpNet>);

impl Senders {
    /// Whether a peer has to send a header. From anyone else none is taken.
    pub(super) fn include(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&peer))
    }
}

/// Takes the header off a connection, and returns the client that it names; `None`: the sender speaks for itself.
pub(super) async fn take_header(stream: &mut Stream, limit: Duration) -> Result<Option<SocketAddr>, Error> {
    let deadline = Instant::now() + limit;
    loop {
        match proxy_header(stream.head()) {
            Sniff::Found(Proxied { client, length }) => {
                stream.take_head(length);
                return Ok(client);
            }
            Sniff::Incomplete { need } => match timeout_at(deadline, stream.fill(need.max(FIRST))).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(Error::ClientReset),
                Err(_) => return Err(Error::HeadTimeout),
            },
            Sniff::Bad(why) => return Err(Error::BadRequest(format!("the PROXY header {why}").into())),
            Sniff::NotThis => return Err(Error::BadRequest("the PROXY header is missing".into())),
        }
    }
}
