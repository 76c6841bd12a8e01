//! From a judged request to its upstream's answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri, Version};

use crate::destination::Destination;
use crate::dial::Upstream;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::http::body::Sent;
use crate::gate::http::exchange::Exchanges;
use crate::gate::http::expect::{self, Hold};
use crate::gate::http::headers;
use crate::gate::http::home::{Home, Waiting};
use crate::gate::http::pool::{Key, Lease};
use crate::gate::http::request::HTTP_PORT;
use crate::policy::{Passage, Question, Seen};
use crate::proxy::Standing;

/// What an upstream answered, and the connection it did so on.
#[derive(Debug)]
pub(super) struct Answer {
    pub response: Response<Incoming>,
    pub lease: Lease,
    /// Set when all of the request's body has been sent.
    pub request_complete: Arc<AtomicBool>,
}

impl Exchanges {
    /// Judges a request to `to` and sends it, with `authority` as its Host; once more on a new connection if a kept one turns out to be dead.
    pub(super) async fn send(
        &self,
        flow: &Flow,
        standing: &Standing,
        to: &Destination,
        authority: &Destination,
        request: Request<Incoming>,
    ) -> Result<Answer, Error> {
        flow.take_permit()?;
        let (mut parts, body) = request.into_parts();
        if self.proxy.via.is_in(&parts.headers) {
            return Err(Error::Circle);
        }
        let method = parts.method.clone();
        let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let seen = Seen::Http { method: method.as_str(), path: path.as_str() };
        let question = Question { to, seen, address: None };
        let (mut lease, leave) = self.lease(flow, standing, &question).await?;

        self.readdress(&mut parts, authority, path.clone());
        let bodyless = body.is_end_stream();
        let again = (lease.is_reused() && bodyless && is_idempotent(&method)).then(|| parts.clone());
        let hold = (!bodyless && expect::is_expected(&parts.headers)).then(Hold::new);
        let sent = Sent::new(body, flow.meter());
        let request_complete = sent.complete();
        let mut request = Request::from_parts(parts, sent);
        if let Some(hold) = hold {
            hold.release_on_continue(&mut request);
            request.body_mut().hold(hold);
        }
        let error = match self.attempt(flow, &mut lease, leave, request).await {
            Ok(response) => return Ok(Answer { response, lease, request_complete }),
            Err(error) => error,
        };
        let (Error::UpstreamReset, Some(parts)) = (&error, again) else { return Err(error) };
        let (mut lease, leave) = self.dial(flow, standing, &question).await?;
        let request = Request::from_parts(parts, Sent::nothing(flow.meter()));
        let response = self.attempt(flow, &mut lease, leave, request).await?;
        Ok(Answer { response, lease, request_complete })
    }

    /// A connection on which this request may go, and its leave to go there.
    async fn lease(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
    ) -> Result<(Lease, Passage), Error> {
        match &self.home {
            Home::Pool(pool) | Home::Redirected { pool, .. } => {
                if let Some(lease) = pool.take(&key(standing, question)).await
                    && let Ok(leave) = self.pass(flow, standing, question, lease.address())
                {
                    flow.reached(lease.address());
                    return Ok((lease, leave));
                }
                self.dial(flow, standing, question).await
            }
            Home::Tunnel(tunnel) => {
                let waiting = tunnel.take().ok_or(Error::UpstreamReset)?;
                let leave = match self.pass(flow, standing, question, waiting.address()) {
                    Ok(leave) => leave,
                    Err(error) => {
                        // This request may not use it; the next one may.
                        tunnel.put(waiting);
                        return Err(error);
                    }
                };
                flow.reached(waiting.address());
                match waiting {
                    Waiting::Dialled(upstream) => open(key(standing, question), upstream, leave).await,
                    Waiting::Idle(mut lease) => match lease.is_alive().await {
                        true => Ok((lease, leave)),
                        false => Err(Error::UpstreamReset),
                    },
                }
            }
        }
    }

    /// A new connection; inside a tunnel there is none but the tunnel's own.
    async fn dial(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
    ) -> Result<(Lease, Passage), Error> {
        if let Home::Tunnel(_) = self.home {
            return Err(Error::UpstreamReset);
        }
        let upstream = self.proxy.open_by(flow, standing, question, self.home.route()).await?;
        let leave = self.pass(flow, standing, question, upstream.address())?;
        open(key(standing, question), upstream, leave).await
    }

    /// Leave for this request to pass to this address.
    fn pass(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
        address: SocketAddr,
    ) -> Result<Passage, Error> {
        let question = Question { address: Some(address.ip()), ..*question };
        self.proxy.judge(flow, standing, &question).pass()
    }

    /// Sends a request and waits for the head of its answer, as long as something moves.
    async fn attempt(
        &self,
        flow: &Flow,
        lease: &mut Lease,
        leave: Passage,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, Error> {
        tokio::select! {
            response = lease.send(leave, request) => response.map_err(|error| upstream_error(&error)),
            stop = flow.stopped() => Err(stop.into()),
            () = silence(flow, self.proxy.bounds.idle) => Err(Error::IdleTimeout),
        }
    }

    /// Makes the head of a request to us the head of a request to the upstream.
    fn readdress(&self, parts: &mut Parts, authority: &Destination, path: PathAndQuery) {
        let protocol = headers::upgrade(&parts.headers);
        let trailers = headers::takes_trailers(&parts.headers);
        headers::strip_hop_by_hop(&mut parts.headers);
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        if trailers {
            headers::set_takes_trailers(&mut parts.headers);
        }
        // The name that was judged is the name that is sent (RFC 9112 §3.2.2).
        let is_usual = authority.port == HTTP_PORT;
        let host = if is_usual { authority.host.to_string() } else { authority.to_string() };
        if let Ok(host) = HeaderValue::try_from(host) {
            parts.headers.insert(header::HOST, host);
        }
        self.proxy.via.stamp(parts.version, &mut parts.headers);
        parts.uri = Uri::from(path);
        parts.version = Version::HTTP_11;
    }
}

fn key(standing: &Standing, question: &Question<'_>) -> Key {
    Key { client: standing.client.ip(), to: question.to.clone(), policy: standing.policy.revision() }
}

async fn open(key: Key, upstream: Upstream, leave: Passage) -> Result<(Lease, Passage), Error> {
    let lease = Lease::open(key, upstream, &leave).await.map_err(|error| upstream_error(&error))?;
    Ok((lease, leave))
}

/// Whether a request that perhaps reached the upstream may be sent again (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whose doing it is that an exchange failed.
fn upstream_error(error: &hyper::Error) -> Error {
    if error.is_parse() {
        return Error::BadResponse(error.to_string());
    }
    // The body comes from the client; when it breaks off, so did the client.
    if error.is_user() { Error::ClientReset } else { Error::UpstreamReset }
}

/// Resolves once no byte of the request has moved for `idle`.
async fn silence(flow: &Flow, idle: Duration) {
    loop {
        let before = flow.counters().sent.load(Ordering::Relaxed);
        tokio::time::sleep(idle).await;
        if flow.counters().sent.load(Ordering::Relaxed) == before {
            return;
        }
    }
}
