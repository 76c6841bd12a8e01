//! A DNS server over TLS (RFC 7858): its questions share one connection, which is opened when one comes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, stream};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::tcp::{TcpClientStream, TcpStream};
use hickory_resolver::net::xfer::{DnsExchange, FirstAnswer};
use hickory_resolver::net::{BufDnsStreamHandle, DnsHandle, DnsMultiplexer, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Edns};
use hickory_resolver::proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::net;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lock::lock;
use crate::resolve::turns::{AT_ONCE, take};
use crate::sys;

/// Questions are padded to a multiple of this, lest their length tell the name (RFC 8467 §4.1).
const BLOCK: usize = 128;
/// Code and length of an option (RFC 6891 §6.1.2).
const OPTION_HEAD: usize = 4;

type Exchange = DnsExchange<TokioRuntimeProvider>;
/// A connection that is being opened, or is open, or could not be: whoever needs it waits for the one attempt.
type Attempt = Arc<OnceCell<Result<Open, NetError>>>;

/// An open connection.
struct Open {
    exchange: Exchange,
    /// When it was opened, or anything came on it last.
    heard: Mutex<Instant>,
}

/// A server, and the connection to it.
#[derive(Clone)]
pub(super) struct Line(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
    try_for: Duration,
    /// As many as may be under way at once.
    turns: Semaphore,
    current: Mutex<Attempt>,
    /// Why the last question got no answer, in words; hickory would not pass them on.
    fault: Mutex<Option<&'static str>>,
}

impl Line {
    pub(super) fn new(
        address: SocketAddr,
        name: ServerName<'static>,
        tls: TlsConnector,
        try_for: Duration,
    ) -> Self {
        let (turns, current, fault) = (Semaphore::new(AT_ONCE), Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { address, name, tls, try_for, turns, current, fault }))
    }

    /// How many questions it can be asked besides those under way.
    pub(super) fn room(&self) -> usize {
        self.0.turns.available_permits()
    }

    /// What is wrong with the server now.
    pub(super) fn fault(&self) -> Option<&'static str> {
        *lock(&self.0.fault)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl DnsHandle for Line {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, mut request: DnsRequest) -> Self::Response {
        pad(&mut request);
        let shared = Arc::clone(&self.0);
        Box::pin(stream::once(async move { shared.ask(request).await }))
    }
}

impl Shared {
    /// Asks over the connection that there is. One that was open before may have been closed by the server in the
    /// meantime, which is its right (RFC 7858 §3.4): then the question goes over another one, once.
    async fn ask(&self, request: DnsRequest) -> Result<DnsResponse, NetError> {
        // Sooner than hickory would call it the server's silence.
        let _turn = take(&self.turns, 1, self.try_for / 2).await?;
        let mut is_first = true;
        loop {
            let attempt = Arc::clone(&lock(&self.current));
            let was_open = attempt.initialized();
            let error = match attempt.get_or_init(|| self.connect()).await {
                Ok(open) => match open.exchange.send(request.clone()).first_answer().await {
                    Ok(response) => {
                        *lock(&open.heard) = Instant::now();
                        *lock(&self.fault) = None;
                        return Ok(response);
                    }
                    // The server has answered others meanwhile: it is this name that nobody answers for.
                    Err(error @ NetError::Timeout) if lock(&open.heard).elapsed() < self.try_for => {
                        return Err(error);
                    }
                    Err(error) => error,
                },
                Err(error) => error.clone(),
            };
            // Also after silence: what stands in between may have forgotten the connection.
            self.give_up(&attempt);
            match error {
                NetError::Timeout => return Err(error),
                _ if was_open && is_first => is_first = false,
                // It was never open, and why is said.
                NetError::Io(_) if attempt.get().is_some_and(Result::is_err) => return Err(error),
                _ => {
                    return Err(self.broken("the DNS server closes the connection without an answer").into());
                }
            }
        }
    }

    /// Lets the next question open a connection of its own, unless another one has done so.
    fn give_up(&self, attempt: &Attempt) {
        let mut current = lock(&self.current);
        if Arc::ptr_eq(&current, attempt) {
            *current = Attempt::default();
        }
    }

    fn broken(&self, what: &'static str) -> io::Error {
        *lock(&self.fault) = Some(what);
        io::Error::other(what)
    }

    async fn connect(&self) -> Result<Open, NetError> {
        let handshake = timeout(self.try_for, self.handshake()).await;
        let stream = handshake.map_err(|_| NetError::Timeout)??;
        let (sender, questions) = BufDnsStreamHandle::with_buffer_size(self.address, AT_ONCE);
        let stream = TcpStream::from_stream_with_receiver(AsyncIoTokioAsStd(stream), self.address, questions);
        let multiplexer = DnsMultiplexer::new(TcpClientStream::from_stream(stream), sender)
            .with_timeout(self.try_for)
            .with_max_active_requests(AT_ONCE);
        let (exchange, background) = DnsExchange::from_stream(multiplexer);
        // It ends with the connection, or once nobody can ask over it any more.
        tokio::spawn(background);
        Ok(Open { exchange, heard: Mutex::new(Instant::now()) })
    }

    async fn handshake(&self) -> io::Result<TlsStream<net::TcpStream>> {
        let stream = net::TcpStream::connect(self.address).await.inspect_err(|_| {
            // What was wrong with it before is not what is wrong now.
            *lock(&self.fault) = None;
        })?;
        sys::tune(&stream)?;
        self.tls.connect(self.name.clone(), stream).await.map_err(|error| {
            tracing::debug!(server = %self.address, %error, "the TLS handshake failed");
            self.broken(words(&error))
        })
    }
}

fn pad(request: &mut DnsRequest) {
    let Ok(length) = request.to_vec().map(|bytes| bytes.len() + OPTION_HEAD) else { return };
    let padding = vec![0; length.next_multiple_of(BLOCK) - length];
    let edns = request.edns.get_or_insert_with(Edns::new);
    edns.options_mut().insert(EdnsOption::Unknown(EdnsCode::Padding.into(), padding));
}

fn words(error: &io::Error) -> &'static str {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = inner else {
        return "the DNS server does not complete the TLS handshake";
    };
    match wrong {
        Expired | ExpiredContext { .. } => "the certificate of the DNS server has expired",
        NotValidYet | NotValidYetContext { .. } => "the certificate of the DNS server is not valid yet",
        NotValidForName | NotValidForNameContext { .. } => {
            "the certificate of the DNS server is for another name"
        }
        UnknownIssuer => "the certificate of the DNS server is from an authority that is not trusted",
        _ => "the certificate of the DNS server is not valid",
    }
}
