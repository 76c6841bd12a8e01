//! The PROXY protocol: a load balancer in front of exeat says in a header, before anything else, whose connection
//! it brings (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, versions 1 and 2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use proxy_header::{Error as HeaderError, ParseConfig, Protocol, ProxyHeader};
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::stream::Stream;

/// Addresses have 52 bytes at most; the rest are details that a sender may add (TLV), which are skipped.
const HEADER_MAX: usize = 4096;

/// Those whose connections begin with a header.
#[derive(Debug)]
pub(super) struct Senders(pub(super) Vec<IpNet>);

impl Senders {
    /// Whether a peer has to send a header. From anyone else none is taken.
    pub(super) fn include(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&peer))
    }
}

/// Takes the header off a connection, and returns the client that it names; `None`: the sender speaks for itself,
/// as it does to see whether somebody listens, or can't name a client.
pub(super) async fn take_header(stream: &mut Stream, limit: Duration) -> Result<Option<SocketAddr>, Error> {
    let deadline = Instant::now() + limit;
    loop {
        let (client, length) = match ProxyHeader::parse(stream.head(), ParseConfig::default()) {
            Ok((header, length)) if length <= HEADER_MAX => (client(&header)?, length),
            Err(HeaderError::BufferTooShort) if stream.head().len() < HEADER_MAX => {
                match timeout_at(deadline, stream.fill(HEADER_MAX)).await {
                    Ok(Ok(1..)) => continue,
                    Ok(_) => return Err(Error::ClientReset),
                    Err(_) => return Err(Error::HeadTimeout),
                }
            }
            Ok(_) | Err(HeaderError::BufferTooShort) => return Err(bad("is too long")),
            Err(_) => return Err(bad("is missing or malformed")),
        };
        stream.take_head(length);
        return Ok(client);
    }
}

fn client(header: &ProxyHeader<'_>) -> Result<Option<SocketAddr>, Error> {
    match header.proxied_address() {
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source)),
        Some(_) => Err(bad("is not about TCP")),
        None => Ok(None),
    }
}

fn bad(what: &str) -> Error {
    Error::BadRequest(format!("the PROXY header {what}").into())
}
