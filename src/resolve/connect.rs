//! Connections to DNS servers, of whichever kind each of them wants.

use std::collections::HashMap;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsExchange;
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse};
use hickory_resolver::{ConnectionProvider, PoolContext};

use super::tls::Line;

/// Connects to servers. hickory opens a connection for each question that finds none, and keeps them all; a handshake
/// for each is more than TLS can bear, so a server over TLS has one connection, whoever asks for it.
#[derive(Clone)]
pub(super) struct Connector {
    clear: TokioRuntimeProvider,
    lines: Arc<HashMap<SocketAddr, Line>>,
}

/// A connection to one server.
#[derive(Clone)]
pub(super) enum Connection {
    Clear(DnsExchange<TokioRuntimeProvider>),
    Tls(Line),
}

impl Connector {
    /// The addresses of `lines` are never asked in the clear.
    pub(super) fn new(lines: HashMap<SocketAddr, Line>) -> Self {
        Self { clear: TokioRuntimeProvider::default(), lines: Arc::new(lines) }
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
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        if let Some(line) = self.lines.get(&SocketAddr::new(ip, config.port)) {
            return Ok(Box::pin(ready(Ok(Connection::Tls(line.clone())))));
        }
        let connection = self.clear.new_connection(ip, config, context)?;
        Ok(Box::pin(async { connection.await.map(Connection::Clear) }))
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
            Self::Clear(exchange) => Box::pin(exchange.send(request)),
            Self::Tls(line) => line.send(request),
        }
    }
}
