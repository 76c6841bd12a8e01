//! What comes on a connection before what its door is for: a PROXY header, and a TLS handshake.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::config::{Listen, Listener};
use crate::error::Error;
use crate::flow::Ledger;
use crate::ingress::Ingress;
use crate::reply;
use crate::server::sender::{Senders, take_header};
use crate::stream::Stream;
use crate::tls::{Accepted, Refused, Tls};

/// What a listener asks of its connections first.
#[derive(Debug)]
pub(super) struct Preamble {
    pub(super) senders: Senders,
    pub(super) tls: Option<Arc<Tls>>,
    /// How long all of it may take.
    pub(super) limit: Duration,
    pub(super) ledger: Arc<Ledger>,
    /// The door behind it.
    pub(super) ingress: Ingress,
}

/// A connection that is through.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) client: Client,
    pub(super) stream: Stream,
    pub(super) is_http2: bool,
}

/// What each listener of each door asks, in their order; `None` where connections go to their door as they are.
#[derive(Debug, Default)]
pub(super) struct Preambles {
    pub(super) explicit: Vec<Option<Arc<Preamble>>>,
    pub(super) transparent: Vec<Option<Arc<Preamble>>>,
    pub(super) dns: Vec<Option<Arc<Preamble>>>,
}

impl Preambles {
    /// `tls` is that of each explicit listener; what comes before a door's own may take so long.
    pub(super) fn new(
        listen: &Listen,
        tls: &[Option<Arc<Tls>>],
        limit: Duration,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let preamble = |listener: &Listener, tls: Option<Arc<Tls>>, ingress| {
            let is_needed = tls.is_some() || !listener.senders.is_empty();
            let senders = Senders(listener.senders.clone());
            is_needed.then(|| Arc::new(Preamble { senders, tls, limit, ledger: Arc::clone(ledger), ingress }))
        };
        // What can't be read belongs to neither of the explicit door's two kinds; it is counted as requests are.
        let explicit = listen.explicit.iter().zip(tls);
        Self {
            explicit: explicit
                .map(|(listener, tls)| preamble(listener, tls.clone(), Ingress::Forward))
                .collect(),
            transparent: listen
                .transparent
                .iter()
                .map(|one| preamble(one, None, Ingress::Transparent))
                .collect(),
            dns: listen.dns.iter().map(|one| preamble(one, None, Ingress::Dns)).collect(),
        }
    }
}

impl Preamble {
    /// Finds out whose connection it is: its peer's, or whoever's a PROXY header says. One that fails at it has been
    /// recorded.
    pub(super) async fn name(&self, mut client: Client, mut stream: Stream) -> Option<(Client, Stream)> {
        if !self.senders.include(client.ip()) {
            return Some((client, stream));
        }
        match take_header(&mut stream, self.limit).await {
            Ok(Some(named)) => client = Client::proxied(named),
            Ok(None) => client.on_this_host = false,
            // Closed before its first byte, as by a load balancer that looks whether somebody listens.
            Err(Error::ClientReset) if stream.head().is_empty() => return None,
            Err(error) => {
                self.ledger.begin(self.ingress, client).end(Err(error));
                stream.close_lingering(&[]).await;
                return None;
            }
        }
        Some((client, stream))
    }

    /// Shakes hands where the listener speaks TLS. A client that fails at it has been told and recorded.
    pub(super) async fn shake(&self, mut client: Client, stream: Stream) -> Option<Arrived> {
        let Some(tls) = &self.tls else { return Some(Arrived { client, stream, is_http2: false }) };
        match tls.accept(stream, self.limit).await {
            Ok(Accepted { stream, is_http2, certificate }) => {
                client.certificate = certificate;
                Some(Arrived { client, stream, is_http2 })
            }
            Err(Refused { error, last }) => {
                if let Some(error) = error {
                    let flow = self.ledger.begin(self.ingress, client);
                    // All else is told by an alert, if at all.
                    if let Error::BadRequest(_) = error {
                        flow.status(reply::status(error.reason()).0.as_u16());
                    }
                    flow.end(Err(error));
                }
                if let Some((stream, word)) = last {
                    stream.close_lingering(word).await;
                }
                None
            }
        }
    }
}
