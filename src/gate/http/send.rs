//! From a request to its upstream's answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::body::{Body, Incoming};
use hyper::header;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri, Version};

use crate::destination::Destination;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::http::body::Sent;
use crate::gate::http::exchange::Exchanges;
use crate::gate::http::expect::{self, Hold};
use crate::gate::http::headers;
use crate::gate::http::home::Home;
use crate::gate::http::pool::{Key, Lease};
use crate::policy::{Passage, Question, Seen};
use crate::proxy::Standing;

/// What an upstream answered, and the connection it did so on.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<Incoming>,
    pub lease: Lease,
    /// Set when all of the request's body has been sent.
    pub request_complete: Arc<AtomicBool>,
}

impl Exchanges {
    /// Judges a request and sends it; once more on a new connection if a kept one turns out to be dead.
    pub(super) async fn send(
        &self,
        flow: &Flow,
        standing: &Standing,
        to: &Destination,
        request: Request<Incoming>,
    ) -> Result<Answer, Error> {
        flow.take_permit()?;
        let (mut parts, body) = request.into_parts();
        if self.proxy.via.is_in(&parts.headers) {
            return Err(Error::Loop);
        }
        let method = parts.method.clone();
        let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let question =
            Question { to, seen: Seen::Http { method: method.as_str(), path: path.as_str() }, address: None };
        let (mut lease, leave) = self.lease(flow, standing, &question).await?;

        self.readdress(&mut parts, to, path.clone());
        let again = (lease.is_reused() && body.is_end_stream() && is_idempotent(&method)).then(|| parts.clone());
        let hold = (expect::is_expected(&parts.headers) && !body.is_end_stream()).then(Hold::new);
        let (sent, request_complete) = Sent::new(body, flow.meter(), hold);
        let mut request = Request::from_parts(parts, sent);
        request.body().release_on_continue_of(&mut request);
        let error = match self.attempt(flow, &mut lease, leave, request).await {
            Ok(response) => return Ok(Answer { response, lease, request_complete }),
            Err(error) => error,
        };
        let (Some(parts), Error::UpstreamReset) = (again, &error) else { return Err(error) };
        let (mut lease, leave) = self.dial(flow, standing, &question).await?;
        let request = Request::from_parts(parts, Sent::nothing(flow.meter()));
        let response = self.attempt(flow, &mut lease, leave, request).await?;
        Ok(Answer { response, lease, request_complete })
    }
}
