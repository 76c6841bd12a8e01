//! Connections to DNS servers, of whichever kind each of them wants.

use std::collections::HashMap;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsExchange, FirstAnswer};
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse};
use hickory_resolver::{ConnectionProvider, PoolContext};

use crate::resolve::tls::Line;
use crate::resolve::turns::{SOCKETS_A_TRY, Turns};

/// How soon a question over UDP is sent again, for what is lost on the way: hickory does it no sooner.
const AGAIN_AFTER: Duration = Duration::from_millis(333);

/// Connects to servers. hickory would open a connection for each question that finds none, and keep them all; a
/// handshake for each is more than TLS can bear, so a server over TLS has one connection, whoever asks for it.
#[derive(Clone)]
pub(super) struct Connector {
    clear: TokioRuntimeProvider,
    lines: Arc<HashMap<SocketAddr, Line>>,
    turns: Arc<Turns>,
    try_for: Duration,
}

/// The way to one server.
#[derive(Clone)]
pub(super) enum Connection {
    Clear(Clear),
    Tls(Line),
}

/// To one that is asked in the clear. Each question has sockets of its own, and only once it is its turn.
#[derive(Clone)]
pub(super) struct Clear {
    socket: Socket,
    turns: Arc<Turns>,
    try_for: Duration,
}

#[derive(Clone)]
enum Socket {
    Udp(DnsExchange<TokioRuntimeProvider>),
    /// For an answer that was too long for UDP: rare enough that a connection is not kept for the next one.
    Tcp(SocketAddr, TokioRuntimeProvider),
}

impl Connector {
    /// The addresses of `lines` are never asked in the clear.
    pub(super) fn new(lines: HashMap<SocketAddr, Line>, turns: Arc<Turns>, try_for: Duration) -> Self {
        Self { clear: TokioRuntimeProvider::default(), lines: Arc::new(lines), turns, try_for }
    }

    fn clear(&self, address: SocketAddr, protocol: &ProtocolConfig) -> Clear {
        let socket = match protocol {
            ProtocolConfig::Udp => {
                let stream = UdpClientStream::builder(address, self.clear.clone())
                    .with_timeout(Some(self.try_for))
                    .with_max_retries(SOCKETS_A_TRY);
                Socket::Udp(stream.exchange())
            }
            _ => Socket::Tcp(address, self.clear.clone()),
        };
        Clear { socket, turns: Arc::clone(&self.turns), try_for: self.try_for }
    }
}

impl Clear {
    async fn ask(self, mut request: DnsRequest) -> Result<DnsResponse, NetError> {
        // Not by how quick hickory takes the server for: to it, one that says of many names that they have nothing fails.
        request.options_mut().retry_interval = AGAIN_AFTER;
        // Sooner than hickory would call it the server's silence.
        let _turn = self.turns.sockets(self.try_for / 2).await?;
        let exchange = match self.socket {
            Socket::Udp(exchange) => exchange,
            Socket::Tcp(address, clear) => {
                TcpClientStream::exchange(address, None, self.try_for, None, clear).await?
            }
        };
        exchange.send(request).first_answer().await
    }
}

impl ConnectionProvider for Connector {
    type Conn = Connection;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Connection, NetError>> + Send>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        _: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let address = SocketAddr::new(ip, config.port);
        let connection = match self.lines.get(&address) {
            Some(line) => Connection::Tls(line.clone()),
            None => Connection::Clear(self.clear(address, &config.protocol)),
        };
        Ok(Box::pin(ready(Ok(connection))))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.clear
    }
}

impl DnsHandle for Connection {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        match self {
            Self::Clear(clear) => Box::pin(stream::once(clear.clone().ask(request))),
            Self::Tls(line) => line.send(request),
        }
    }
}
