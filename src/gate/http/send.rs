//! From a judged request to its upstream's answer.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::destination::Destination;
use crate::dial::{Reached, Through, Upstream};
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::http::expect::{self, Hold};
use crate::gate::http::fault::upstream_error;
use crate::gate::http::home::{Home, Waiting};
use crate::gate::http::pool::{Key, Lease};
use crate::gate::http::progress::Progress;
use crate::gate::http::request::{self, HTTP_PORT};
use crate::gate::http::request_body::RequestBody;
use crate::gate::http::sent::Sent;
use crate::gate::http::{headers, response};
use crate::policy::{Passage, Question};
use crate::proxy::{Proxy, Standing};
use crate::reason::Reason;

/// What an upstream answered, and the connection it did so on.
#[derive(Debug)]
pub(super) struct Answer {
    pub response: Response<Incoming>,
    pub lease: Lease,
    /// Of the request's body.
    pub progress: Arc<Progress>,
}

impl Answer {
    /// The answer, if it can be passed on.
    fn checked(self) -> Result<Self, Error> {
        if let (Some(parent), StatusCode::PROXY_AUTHENTICATION_REQUIRED) =
            (self.lease.forwarder(), self.response.status())
        {
            return Err(parent.answered(self.response.status().as_u16()));
        }
        response::check(&self.response)?;
        Ok(self)
    }
}

/// The way to upstreams for the requests of one connection.
#[derive(Debug)]
pub(super) struct Route {
    pub proxy: Arc<Proxy>,
    pub home: Home,
}

impl Route {
    /// Judges a request to `to` and sends it, its Host being `authority`; once more on a new connection if
    /// a kept one turns out to be dead.
    pub(super) async fn send(
        &self,
        flow: &Flow,
        standing: &Standing,
        to: &Destination,
        authority: &Destination,
        request: Request<RequestBody>,
    ) -> Result<Answer, Error> {
        flow.take_permit()?;
        let (mut parts, body) = request.into_parts();
        if self.proxy.via.is_in(&parts.headers) {
            return Err(Error::Circle);
        }
        headers::count_forward(&parts.method, &mut parts.headers)?;
        let method = parts.method.clone();
        // What is judged is what is sent.
        let target = Uri::from(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        let seen = request::seen(&method, &target);
        let question = Question { to, seen, address: None };
        let (mut lease, leave) = self.lease(flow, standing, &question).await?;

        let bodyless = body.is_end_stream();
        self.readdress(&mut parts, authority, target.clone());
        headers::set_length(&mut parts.headers, body.size_hint().exact());
        if !bodyless && !parts.headers.contains_key(header::CONTENT_LENGTH) {
            headers::set_chunked(&mut parts.headers);
        }
        let again = (lease.is_reused() && bodyless && is_idempotent(&method)).then(|| parts.clone());
        let hold = (!bodyless && expect::is_expected(&parts.headers)).then(Hold::new);
        let sent = Sent::new(body, flow.meter());
        let progress = sent.progress();
        let mut request = Request::from_parts(parts, sent);
        if let Some(hold) = hold {
            hold.release_on_continue(&mut request);
            request.body_mut().hold(hold);
        }
        let attempted = pin!(self.attempt(flow, &mut lease, leave, request)).await;
        let error = match attempted {
            Ok(response) => return Answer { response, lease, progress }.checked(),
            Err(error) => error,
        };
        let again = again.filter(|_| !lease.has_heard());
        let (Error::UpstreamReset, Some(parts)) = (&error, again) else { return Err(error) };
        let (mut lease, leave) = self.dial(flow, standing, &question).await?;
        let request = Request::from_parts(parts, Sent::nothing(flow.meter()));
        let response = self.attempt(flow, &mut lease, leave, request).await?;
        Answer { response, lease, progress }.checked()
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
                let course = self.proxy.course(standing, question);
                if let Some(lease) = pool.take(&Key::new(standing, question, course)).await
                    && let Some(leave) = self.pass_on(flow, standing, question, &lease)
                {
                    reaches(flow, lease.reached());
                    return Ok((lease, leave));
                }
                self.dial(flow, standing, question).await
            }
            Home::Tunnel(tunnel) => {
                let waiting = tunnel.take().ok_or(Error::UpstreamReset)?;
                let leave = match self.pass(flow, standing, question, waiting.reached()) {
                    Ok(leave) => leave,
                    // It goes another way than this policy wants: there is nothing more to send on it.
                    Err(Error::OtherWay) => return Err(Error::OtherWay),
                    Err(error) => {
                        // This request may not use it; the next one may, but not of a client for whom nothing is any more.
                        if !matches!(error, Error::Denied(Reason::NoProfile)) {
                            tunnel.put(waiting);
                        }
                        return Err(error);
                    }
                };
                reaches(flow, waiting.reached());
                match waiting {
                    Waiting::Dialled(upstream) => self.open(standing, question, upstream, leave).await,
                    Waiting::Idle(mut lease) => match lease.is_alive() {
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
        let (upstream, leave) = self.proxy.open(flow, standing, question, self.home.source()).await?;
        self.open(standing, question, upstream, leave).await
    }

    /// Makes an HTTP connection of a dialled one, for a request that may pass.
    async fn open(
        &self,
        standing: &Standing,
        question: &Question<'_>,
        upstream: Box<Upstream>,
        leave: Passage,
    ) -> Result<(Lease, Passage), Error> {
        let key = Key::new(standing, question, upstream.reached().course());
        let lease = Lease::open(key, upstream, &leave, self.proxy.bounds.head_bytes).await;
        Ok((lease.map_err(|error| upstream_error(&error))?, leave))
    }

    /// Leave for this request to pass where a connection leads.
    fn pass(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
        reached: &Reached,
    ) -> Result<Passage, Error> {
        let question = Question { address: reached.ip(), ..*question };
        self.proxy.judge(flow, standing, &question).pass(reached.parent())
    }

    /// Leave for this request to pass on a kept connection, which must leave this host as a new one would.
    fn pass_on(
        &self,
        flow: &Flow,
        standing: &Standing,
        question: &Question<'_>,
        lease: &Lease,
    ) -> Option<Passage> {
        let reached = lease.reached();
        let question = Question { address: reached.ip(), ..*question };
        let verdict = self.proxy.judge(flow, standing, &question);
        if self.proxy.dialer.outgoing(&verdict) != reached.outgoing.as_ref() {
            return None;
        }
        verdict.pass(reached.parent()).ok()
    }

    /// Sends a request and waits for the head of its answer, as long as something moves.
    async fn attempt(
        &self,
        flow: &Flow,
        lease: &mut Lease,
        leave: Passage,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, Error> {
        // The answer repeats all that was sent, and may be the parent's own (RFC 9110 §9.3.8).
        if *request.method() == Method::TRACE && lease.shows_credentials() {
            return Err(Error::BadRequest("TRACE would show the credentials that a parent is shown".into()));
        }
        let sent = pin!(lease.send(leave, request));
        tokio::select! {
            response = sent => response.map_err(|error| upstream_error(&error)),
            stop = flow.stopped() => Err(stop.into()),
            () = silence(flow, self.proxy.bounds.silence.idle) => Err(Error::IdleTimeout),
        }
    }

    /// Makes the head of a request to us the head of a request to the upstream.
    fn readdress(&self, parts: &mut Parts, authority: &Destination, target: Uri) {
        let protocol = headers::upgrade(&parts.headers);
        let trailers = headers::takes_trailers(&parts.headers);
        headers::strip_hop_by_hop(&mut parts.headers);
        if parts.version == Version::HTTP_10 {
            // It knows of no expectation (RFC 9110 §10.1.1), and the body comes whatever the upstream says.
            parts.headers.remove(header::EXPECT);
        }
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        if trailers {
            headers::set_takes_trailers(&mut parts.headers);
        }
        // The name that was judged is the name that is sent (RFC 9112 §3.2.2).
        if let Ok(host) = HeaderValue::try_from(authority.authority(HTTP_PORT)) {
            parts.headers.insert(header::HOST, host);
        }
        self.proxy.via.stamp(parts.version, &mut parts.headers);
        parts.uri = target;
        parts.version = Version::HTTP_11;
    }
}

/// Tells the flow that it goes over a connection which stood before.
fn reaches(flow: &Flow, reached: &Reached) {
    flow.reached(reached.address, reached.through.as_ref().map(Through::parent));
}

/// Whether a request that perhaps reached the upstream may be sent again (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
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
