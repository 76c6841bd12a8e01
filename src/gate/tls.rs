//! The gate for TLS: judges the ClientHello, and the second one if the server asks for another.
//!
//! A HelloRetryRequest lets a client send a second hello with another server name (RFC 8446 §4.1.2), so
//! nothing more of the client passes until the server's first message is read: either it is a final
//! ServerHello and both directions are free, or the second hello is held to the same rules. What the
//! client sends meanwhile as early data says nothing: a server that retries skips it (§4.2.10).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::destination::Destination;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::{HELLO_MAX, Tunnel, arrived};
use crate::policy::{Passage, Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::reply::TLS_ACCESS_DENIED;
use crate::sniff::{ClientHello, ServerHello, Sniff, second_hello, server_hello};
use crate::stream::Stream;

/// The most of a server's answer that is read until it is clear what it is.
const ANSWER_MAX: usize = 4096;

/// A tunnel whose first hello has passed, and whose server has not answered yet.
struct Handshake {
    proxy: Arc<Proxy>,
    standing: Arc<Standing>,
    flow: Flow,
    to: Destination,
    address: SocketAddr,
    client: Stream,
    upstream: Stream,
}

/// Judges a tunnel by its ClientHello, and relays it.
pub(super) async fn enter(tunnel: Tunnel, hello: ClientHello) {
    let leave = match tunnel.pass(seen(&hello)) {
        Ok(leave) => leave,
        Err(error) => return refuse(tunnel.flow, tunnel.client, error).await,
    };
    let Tunnel { proxy, standing, flow, to, client, upstream } = tunnel;
    let address = upstream.address();
    let upstream = Stream::new(upstream.open(&leave));
    let mut handshake = Handshake { proxy, standing, flow, to, address, client, upstream };
    let result = handshake.first(hello.length).await;
    let Handshake { proxy, flow, client, upstream, .. } = handshake;
    match result {
        Ok(()) => proxy.tunnel(flow, client, upstream).await,
        Err(error) => refuse(flow, client, error).await,
    }
}

/// Ends a flow with an alert that says it was denied.
pub(super) async fn refuse(flow: Flow, client: Stream, error: Error) {
    flow.end(Err(error));
    client.close_lingering(&TLS_ACCESS_DENIED).await;
}

impl Handshake {
    /// Passes the first hello on, and nothing behind it until the server has answered.
    async fn first(&mut self, length: usize) -> Result<(), Error> {
        let deadline = Instant::now() + self.proxy.bounds.idle;
        let hello = self.client.take_head(length);
        self.flow.counters().add_sent(hello.len());
        let passed = timeout_at(deadline, self.upstream.write_all(&hello)).await;
        passed.map_err(|_| Error::IdleTimeout)?.map_err(|_| Error::UpstreamReset)?;
        let retry = loop {
            match server_hello(self.upstream.head()) {
                Sniff::Found(ServerHello::Retry) => break true,
                Sniff::Found(ServerHello::Final) | Sniff::NotThis => break false,
                // A server that can't be understood can't have asked for a second hello either.
                Sniff::Bad(_) => break false,
                Sniff::Incomplete { .. } if !self.answer(deadline).await? => break false,
                Sniff::Incomplete { .. } => {}
            }
        };
        if retry { self.second().await } else { Ok(()) }
    }

    /// Reads on in the server's answer; `false` says that no more of it comes.
    async fn answer(&mut self, deadline: Instant) -> Result<bool, Error> {
        let mut client_open = true;
        loop {
            tokio::select! {
                read = self.upstream.fill(ANSWER_MAX) => {
                    return read.map(|count| count > 0).map_err(|_| Error::UpstreamReset);
                }
                // Early data is kept; an end is left for the relay to find, a reset is noticed now.
                read = self.client.fill(HELLO_MAX), if client_open => {
                    client_open = read.map_err(|_| Error::ClientReset)? > 0;
                }
                stop = self.flow.stopped() => return Err(stop.into()),
                () = tokio::time::sleep_until(deadline) => return Err(Error::IdleTimeout),
            }
        }
    }

    /// Passes the HelloRetryRequest on and judges the hello that comes back.
    async fn second(&mut self) -> Result<(), Error> {
        let request = self.upstream.take_head(self.upstream.head().len());
        self.flow.counters().add_received(request.len());
        let deadline = Instant::now() + self.proxy.bounds.head;
        let passed = timeout_at(deadline, self.client.write_all(&request)).await;
        passed.map_err(|_| Error::HeadTimeout)?.map_err(|_| Error::ClientReset)?;
        let hello = loop {
            let need = match second_hello(self.client.head()) {
                Sniff::Found(hello) => break hello,
                Sniff::NotThis => return Err(Error::ClientReset),
                Sniff::Bad(what) => return Err(Error::BadClientHello(what)),
                Sniff::Incomplete { need } => need,
            };
            while self.client.head().len() < need {
                let read = tokio::select! {
                    read = timeout_at(deadline, self.client.fill(2 * HELLO_MAX)) => read,
                    stop = self.flow.stopped() => return Err(stop.into()),
                };
                arrived(read.map_err(|_| Error::HeadTimeout)?)?;
            }
        };
        self.pass(seen(&hello)).map(drop)
    }

    fn pass(&self, seen: Seen<'_>) -> Result<Passage, Error> {
        self.flow.seen(seen);
        let question = Question { to: &self.to, seen, address: Some(self.address.ip()) };
        self.proxy.judge(&self.flow, &self.standing, &question).pass()
    }
}

fn seen(hello: &ClientHello) -> Seen<'_> {
    Seen::Tls { server_name: hello.server_name.as_ref(), ech: hello.ech }
}
