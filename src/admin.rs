//! The admin door: health, metrics, the open flows and the policy in force, over HTTP.

mod access;
mod answer;
mod explain;
mod flows;
mod places;
mod policy;
mod query;
mod readiness;

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::admin::answer::{Answer, Refusal};
use crate::admin::places::Places;
use crate::flow::Ledger;
use crate::policy::Policy;

pub use self::access::Access;
pub use self::readiness::Readiness;

/// A head must be there this long after the connection or the last answer: also the limit on keep-alive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection is closed after this, whoever reads slowly.
const LIFETIME: Duration = Duration::from_secs(600);
const HEAD_MAX: usize = 16 * 1024;

/// What the admin door shows.
#[derive(Debug)]
pub struct State {
    ledger: Arc<Ledger>,
    policy: Arc<ArcSwap<Policy>>,
    readiness: Arc<Readiness>,
    access: Access,
    /// Pages of the policy that are made at a time.
    pages: Semaphore,
    places: Places,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    Health,
    Ready,
    Flows,
    Policy,
    Explain,
}

impl State {
    pub fn new(
        ledger: Arc<Ledger>,
        policy: Arc<ArcSwap<Policy>>,
        readiness: Arc<Readiness>,
        access: Access,
    ) -> Self {
        Self { ledger, policy, readiness, access, pages: Semaphore::new(1), places: Places::default() }
    }
}

/// Serves one accepted connection to its end.
pub async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let mut place = state.places.take();
    let id = place.id();
    let Ok(peer) = stream.peer_addr() else { return };
    let peer = peer.ip().to_canonical();
    let answer = service_fn(|request: Request<Incoming>| {
        state.places.asks(id);
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(&state, peer, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        ended = tokio::time::timeout(LIFETIME, connection) => {
            if let Ok(Err(error)) = ended {
                tracing::debug!(%peer, %error, "an admin connection failed");
            }
        }
        () = place.lost() => tracing::debug!(%peer, "an admin connection made room for another"),
    }
}

/// Answers a request of the client at `peer`.
async fn respond<B>(state: &State, peer: IpAddr, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    find(state, peer, request).await.unwrap_or_else(Answer::from)
}

async fn find<B>(state: &State, peer: IpAddr, request: Request<B>) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    state.access.check_host(&request)?;
    let route = Route::find(request.uri().path()).ok_or_else(|| {
        let hint = "there are /metrics, /healthz, /readyz, /flows, /policy and /explain";
        Refusal::new(StatusCode::NOT_FOUND, "not_found", hint)
    })?;
    state.access.check_peer(peer, route.is_private())?;
    route.check_method(request.method())?;
    match route {
        Route::Metrics => metrics(state).await,
        Route::Health => Ok(answer::text(StatusCode::OK, "ok\n")),
        Route::Ready => Ok(ready(state)),
        Route::Flows => flows::respond(&state.ledger, request.uri().query()),
        Route::Policy => policy::respond(state, request.uri().query()).await,
        Route::Explain => explain::respond(state, request.into_body()).await,
    }
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Ready),
            "/flows" => Some(Self::Flows),
            "/policy" => Some(Self::Policy),
            "/explain" => Some(Self::Explain),
            _ => None,
        }
    }

    fn check_method(self, method: &Method) -> Result<(), Refusal> {
        let (takes, allow): (&[Method], _) = match self {
            Self::Explain => (&[Method::POST], "POST"),
            _ => (&[Method::GET, Method::HEAD], "GET, HEAD"),
        };
        if takes.contains(method) { Ok(()) } else { Err(Refusal::method(allow)) }
    }

    /// Whether it tells who goes where.
    fn is_private(self) -> bool {
        !matches!(self, Self::Metrics | Self::Health | Self::Ready)
    }
}

async fn metrics(state: &State) -> Result<Answer, Refusal> {
    // The bytes of open tunnels are counted now, not when the tunnels end hours later.
    let mut walk = state.ledger.walk();
    while walk.count_bytes() {
        tokio::task::yield_now().await;
    }
    let text = state.ledger.metrics().text().map_err(|error| Refusal::unavailable(error.to_string()))?;
    Ok(answer::full(StatusCode::OK, prometheus::TEXT_FORMAT, text))
}

fn ready(state: &State) -> Answer {
    let missing = state.readiness.missing();
    if missing.is_empty() {
        return answer::text(StatusCode::OK, "ready\n");
    }
    answer::text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {}\n", missing.join(", ")))
}

#[cfg(test)]
mod tests;
