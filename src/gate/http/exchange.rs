//! One exchange: a request is judged, sent to its upstream, and the answer passed on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::destination::Destination;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::http::body::{Open, Received, ReplyBody};
use crate::gate::http::clock::Clock;
use crate::gate::http::home::Home;
use crate::gate::http::send::Answer;
use crate::gate::http::{headers, request};
use crate::gate::redirected;
use crate::ingress::Ingress;
use crate::policy::Seen;
use crate::proxy::{Proxy, Standing};
use crate::stream::Stream;

/// The requests of one connection, wherever their upstreams come from.
#[derive(Debug)]
pub struct Exchanges {
    pub(super) proxy: Arc<Proxy>,
    pub(super) home: Home,
    standing: Mutex<Arc<Standing>>,
    switched: Mutex<Option<Switched>>,
}

/// A connection that an answer turned into a tunnel.
#[derive(Debug)]
pub(super) struct Switched {
    pub flow: Flow,
    pub upstream: Stream,
}

impl Exchanges {
    /// Requests of a client, whose connections to upstreams wait at `home` between them.
    pub fn new(proxy: Arc<Proxy>, standing: Arc<Standing>, home: Home) -> Self {
        Self { proxy, home, standing: Mutex::new(standing), switched: Mutex::new(None) }
    }

    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// A flow of this connection's client.
    pub fn begin(&self, ingress: Ingress) -> Flow {
        self.proxy.ledger.begin(ingress, lock(&self.standing).client)
    }

    /// The client's standing before the policy of this moment.
    pub fn standing(&self) -> Arc<Standing> {
        let mut standing = lock(&self.standing);
        *standing = self.proxy.refreshed(&standing);
        Arc::clone(&standing)
    }

    /// The tunnel that the last answer opened, if it opened one.
    pub(super) fn take_switched(&self) -> Option<Switched> {
        lock(&self.switched).take()
    }

    /// Judges a request, and answers it with what its upstream says or with a refusal.
    pub async fn answer(&self, flow: Flow, request: Request<Incoming>, clock: Clock) -> Response<ReplyBody> {
        flow.ends_with_connection();
        let seen = Seen::Http { method: request.method().as_str(), path: request.uri().path() };
        flow.seen(seen);
        let standing = self.standing();
        let accept = accept(request.headers());
        let authority = match self.target(&request) {
            Ok(authority) => authority,
            Err(error) => return self.refuse(flow, error, None, &standing, &accept),
        };
        let to = match self.home {
            Home::Redirected { original, .. } => {
                redirected::destination(&standing, authority.clone(), original, seen)
            }
            _ => authority.clone(),
        };
        flow.to(&to);
        let asked_to_switch = headers::upgrade(request.headers()).is_some();
        let answer = match self.send(&flow, &standing, &to, &authority, request).await {
            Ok(answer) => answer,
            Err(error) => return self.refuse(flow, error, Some(&to), &standing, &accept),
        };
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return self.pass_on(flow, answer, clock);
        }
        match switch(answer, asked_to_switch).await {
            Ok((response, upstream)) => {
                flow.status(response.status().as_u16());
                *lock(&self.switched) = Some(Switched { flow, upstream });
                response
            }
            Err(error) => self.refuse(flow, error, Some(&to), &standing, &accept),
        }
    }

    /// A refusal, which ends the flow.
    pub fn refuse(
        &self,
        flow: Flow,
        error: Error,
        to: Option<&Destination>,
        standing: &Standing,
        accept: &HeaderMap,
    ) -> Response<ReplyBody> {
        let response = self.proxy.refusal(&flow, &error, to, standing).response(accept);
        flow.status(response.status().as_u16());
        flow.end(Err(error));
        response.map(Either::Left)
    }

    /// Where a request wants to go, in its own words.
    fn target(&self, request: &Request<Incoming>) -> Result<Destination, Error> {
        match &self.home {
            Home::Pool(_) => request::forward_target(request),
            Home::Redirected { original, .. } => request::redirected_target(request, *original),
            Home::Tunnel(tunnel) => {
                request::check_inside(request, tunnel.to())?;
                Ok(tunnel.to().clone())
            }
        }
    }

    /// Passes an answer on; its body ends the flow.
    fn pass_on(&self, flow: Flow, answer: Answer, clock: Clock) -> Response<ReplyBody> {
        let Answer { mut response, lease, request_complete } = answer;
        flow.status(response.status().as_u16());
        let last = response.version() == Version::HTTP_10 || headers::closes(response.headers());
        if response.headers().contains_key(header::TRANSFER_ENCODING) {
            // The transfer coding says where the body ends, and it is written anew (RFC 9112 §6.3).
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        headers::strip_hop_by_hop(response.headers_mut());
        self.proxy.via.stamp(response.version(), response.headers_mut());
        if last && matches!(self.home, Home::Tunnel(_)) {
            // A tunnel leads to one connection: with that one, it ends.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        *response.version_mut() = Version::HTTP_11;
        let open = Open { flow, lease, home: self.home.clone(), request_complete, clock };
        response.map(|body| Either::Right(Received::new(body, open, self.proxy.bounds.idle)))
    }
}

/// The header that chooses the form of a refusal, kept while the request goes its way.
pub fn accept(headers: &HeaderMap) -> HeaderMap {
    headers.get_all(header::ACCEPT).iter().map(|value| (header::ACCEPT, value.clone())).collect()
}

/// Takes both connections out of HTTP once the upstream has said 101 (RFC 9110 §7.8).
async fn switch(answer: Answer, asked: bool) -> Result<(Response<ReplyBody>, Stream), Error> {
    let Answer { mut response, .. } = answer;
    let bad = |what: &str| Error::BadResponse(what.to_owned());
    let protocol = headers::upgrade(response.headers()).filter(|_| asked);
    let protocol = protocol.ok_or_else(|| bad("it switches protocols, but not as asked"))?;
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(|error| bad(&error.to_string()))?;
    let parts =
        upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| bad("it is not on a plain connection"))?;
    let upstream = Stream::new(parts.io.into_inner()).with_head(parts.read_buf);
    headers::strip_hop_by_hop(response.headers_mut());
    headers::set_upgrade(response.headers_mut(), protocol);
    Ok((response.map(|_| Either::Left(Default::default())), upstream))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
