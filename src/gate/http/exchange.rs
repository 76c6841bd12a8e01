//! One exchange: a request is judged, sent to its upstream, and the answer passed on.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::Either;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::client::{Client, User};
use crate::destination::Destination;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::http::clock::Clock;
use crate::gate::http::home::Home;
use crate::gate::http::listened::Listened;
use crate::gate::http::received::{Open, Received, ReplyBody};
use crate::gate::http::request_body::RequestBody;
use crate::gate::http::response::bad;
use crate::gate::http::send::{Answer, Route};
use crate::gate::http::{headers, request, response};
use crate::gate::redirected;
use crate::ingress::Ingress;
use crate::lock::lock;
use crate::policy::{Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::stream::Stream;

/// The requests of one connection, wherever their upstreams come from.
#[derive(Debug)]
pub struct Exchanges {
    route: Route,
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
        Self { route: Route { proxy, home }, standing: Mutex::new(standing), switched: Mutex::new(None) }
    }

    pub fn proxy(&self) -> &Proxy {
        &self.route.proxy
    }

    pub fn into_proxy(self) -> Arc<Proxy> {
        self.route.proxy
    }

    /// Whoever opened the connection. Requests to the proxy itself may each be another user's; a tunnel is its
    /// user's.
    pub fn client(&self) -> Client {
        let client = lock(&self.standing).client.clone();
        match self.route.home {
            Home::Pool(_) => Client { user: None, ..client },
            _ => client,
        }
    }

    /// A flow of this connection's client.
    pub fn begin(&self, ingress: Ingress) -> Flow {
        self.route.proxy.ledger.begin(ingress, self.client())
    }

    /// The client's standing before the policy of this moment.
    pub fn standing(&self) -> Arc<Standing> {
        let mut standing = lock(&self.standing);
        *standing = self.route.proxy.refreshed(&standing);
        Arc::clone(&standing)
    }

    /// The standing of this connection's client as the user of one request, which needs not be that of another.
    pub fn standing_of(&self, user: Option<Arc<User>>) -> Arc<Standing> {
        let mut standing = lock(&self.standing);
        if standing.client.user != user {
            *standing = self.route.proxy.standing(Client { user, ..standing.client.clone() });
        } else {
            *standing = self.route.proxy.refreshed(&standing);
        }
        Arc::clone(&standing)
    }

    /// Ready once the upstream has ended between two requests, where there is no other for the next one.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.route.home.poll_ended(cx)
    }

    /// The tunnel that the last answer opened, if it opened one.
    pub(super) fn take_switched(&self) -> Option<Switched> {
        lock(&self.switched).take()
    }

    /// Judges a request, and answers it with what its upstream says or with a refusal.
    pub async fn answer(
        &self,
        flow: Flow,
        mut standing: Arc<Standing>,
        mut request: Request<RequestBody>,
        clock: Clock,
    ) -> Response<ReplyBody> {
        flow.ends_with_connection();
        clock.begins(flow.meter());
        let seen = request::seen(request.method(), request.uri());
        flow.seen(seen);
        let manner = Manner::of(&request);
        let authority = match self.target(&request) {
            Ok(authority) => authority,
            Err(error) => return self.refuse(flow, error, None, &standing, &manner),
        };
        let to = self.destination(&standing, &authority, seen);
        flow.to(&to);
        let question = Question { to: &to, seen, address: None };
        self.route.proxy.settle(&flow, &mut standing, &question).await;
        let offered = request::offered_upgrade(&request);
        if offered.is_none() {
            request.headers_mut().remove(header::UPGRADE);
        }
        let sent = pin!(self.route.send(&flow, &standing, &to, &authority, request)).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return self.refuse(flow, error, Some(&to), &standing, &manner),
        };
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return self.pass_on(flow, answer, clock);
        }
        match switch(answer, offered).await {
            Ok((mut response, upstream)) => {
                self.route.proxy.via.stamp(response.version(), response.headers_mut());
                flow.status(response.status().as_u16());
                *lock(&self.switched) = Some(Switched { flow, upstream });
                response
            }
            Err(error) => self.refuse(flow, error, Some(&to), &standing, &manner),
        }
    }

    /// A refusal, which ends the flow.
    pub fn refuse(
        &self,
        flow: Flow,
        error: Error,
        to: Option<&Destination>,
        standing: &Standing,
        manner: &Manner,
    ) -> Response<ReplyBody> {
        let mut response = self.route.proxy.refusal(&flow, &error, to, standing).response(&manner.accept);
        // What was read in one way may have been meant in another, and so may what follows it.
        let is_doubtful = matches!(error, Error::BadRequest(_) | Error::HostMismatch(_));
        let is_beyond = matches!(error, Error::LimitClientConnections);
        if manner.is_last_after(&error) || is_doubtful || is_beyond || self.route.home.is_spent() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        flow.status(response.status().as_u16());
        flow.end(Err(error));
        response.map(Either::Left)
    }

    /// Where a request wants to go, in its own words.
    fn target(&self, request: &Request<RequestBody>) -> Result<Destination, Error> {
        match &self.route.home {
            Home::Pool(_) => request::forward_target(request),
            Home::Redirected { original, .. } => request::redirected_target(request, *original),
            Home::Tunnel(tunnel) => {
                request::check_inside(request, tunnel.to())?;
                Ok(tunnel.to().clone())
            }
        }
    }

    /// Where a request is to go: mostly where it wants to.
    fn destination(&self, standing: &Standing, authority: &Destination, seen: Seen<'_>) -> Destination {
        let Home::Redirected { original, .. } = self.route.home else { return authority.clone() };
        redirected::destination(standing, authority.clone(), original, seen)
    }

    /// Passes an answer on; its body ends the flow.
    fn pass_on(&self, flow: Flow, answer: Answer, clock: Clock) -> Response<ReplyBody> {
        let Answer { mut response, lease, progress } = answer;
        flow.status(response.status().as_u16());
        self.route.proxy.via.stamp(response.version(), response.headers_mut());
        response::readdress(&mut response, matches!(self.route.home, Home::Tunnel(_)));
        let open = Open { flow, lease, home: self.route.home.clone(), progress, clock };
        response.map(|body| Either::Right(Box::new(Received::new(body, open))))
    }
}

/// What of a request decides the manner of its refusal, kept while the request goes its way.
#[derive(Debug)]
pub struct Manner {
    accept: Vec<HeaderValue>,
    has_body: bool,
    /// Nothing that comes after it can be read as a request: what follows a CONNECT is meant for the
    /// tunnel, and where a body that is not wanted ends is not waited for.
    last: bool,
}

impl Manner {
    pub fn of<B: Body>(request: &Request<B>) -> Self {
        let has_body = !request.body().is_end_stream();
        let last = has_body || *request.method() == Method::CONNECT;
        Self { accept: accept(request.headers()), has_body, last }
    }

    /// The same of a CONNECT, which has no body.
    pub fn of_connect(headers: &HeaderMap) -> Self {
        Self { accept: accept(headers), has_body: false, last: true }
    }

    /// A client that is asked who it is says so on the same connection: it has sent nothing into a tunnel that it
    /// may not be given.
    fn is_last_after(&self, error: &Error) -> bool {
        match error {
            Error::AuthRequired | Error::AuthFailed(_) => self.has_body,
            _ => self.last,
        }
    }
}

fn accept(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers::values(headers, header::ACCEPT).cloned().collect()
}

/// Takes both connections out of HTTP once the upstream has said 101 (RFC 9110 §7.8).
async fn switch(
    answer: Answer,
    offered: Option<HeaderValue>,
) -> Result<(Response<ReplyBody>, Stream), Error> {
    let Answer { mut response, mut lease, .. } = answer;
    let protocol = headers::upgrade(response.headers())
        .filter(|protocol| offered.is_some_and(|offered| headers::is_offered(&offered, protocol)))
        .ok_or_else(|| bad("it switches protocols, but not as asked"))?;
    let upgraded = lease.until(hyper::upgrade::on(&mut response)).await;
    let upgraded = upgraded.map_err(|error| bad(&error.to_string()))?;
    let parts =
        upgraded.downcast::<TokioIo<Listened>>().map_err(|_| bad("it is not on a plain connection"))?;
    let upstream = parts.io.into_inner().into_stream().with_head(parts.read_buf);
    headers::strip_hop_by_hop(response.headers_mut());
    headers::set_upgrade(response.headers_mut(), protocol);
    Ok((response.map(|_| Either::Left(Default::default())), upstream))
}
