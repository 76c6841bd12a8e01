//! The explicit door over HTTP/2: each stream is a flow of its own.

use std::sync::Arc;

use h2::RecvStream;
use http_body_util::{Either, Full};
use hyper::{Method, Request, Response, StatusCode};

use crate::client::Client;
use crate::drain;
use crate::error::Error;
use crate::explicit::{Opened, connect, exchanges, forward, ingress};
use crate::flow::Permit;
use crate::gate::carry;
use crate::gate::http::http2::{Reply, head_size, serve};
use crate::gate::http::{Clock, Exchanges, Pool, request};
use crate::ingress::Ingress;
use crate::proxy::Proxy;
use crate::reply::say_why;
use crate::stream::Stream;

/// One client connection.
struct Door {
    proxy: Arc<Proxy>,
    exchanges: Exchanges,
}

/// Serves one connection to its end; the permit to have it is given back then.
pub async fn enter(
    proxy: Arc<Proxy>,
    pool: Arc<Pool>,
    client: Client,
    stream: Stream,
    drain: drain::Watch,
    permit: Permit,
) {
    let (bounds, exchanges) = (proxy.bounds, exchanges(Arc::clone(&proxy), pool, client));
    let door = Arc::new(Door { proxy, exchanges });
    let answer = |request: Request<RecvStream>, reply| {
        let (door, drain) = (Arc::clone(&door), drain.clone());
        async move {
            if head_size(&request) > bounds.head_bytes {
                door.refuse_long(request, reply).await;
            } else if *request.method() == Method::CONNECT {
                door.connect(request, reply, drain).await;
            } else {
                door.forward(request, reply).await;
            }
            // A drain waits for what is being answered.
        }
    };
    if let Err(error) = serve(stream, bounds, drain.clone(), answer).await {
        door.exchanges.begin(Ingress::Forward).end(Err(error));
    }
    drop(permit);
}

impl Door {
    /// Answers a CONNECT; what follows on its stream is a tunnel.
    async fn connect(self: Arc<Self>, request: Request<RecvStream>, reply: Reply, drain: drain::Watch) {
        let to = request::connect_target(&request);
        let (head, receive) = request.into_parts();
        let opened = reply.unless_taken_back(connect(&self.exchanges, to, &head.headers)).await;
        let opened = match opened {
            None => return,
            Some(Ok(opened)) => opened,
            Some(Err(refusal)) => {
                let clock = Clock::default();
                return reply.send(refusal, &Method::CONNECT, &clock, &self.proxy.bounds).await;
            }
        };
        match reply.open(receive) {
            Some(client) => {
                let tunnel = opened.tunnel(Arc::clone(&self.proxy), client);
                let gated = async move { Some((tunnel.judge(None, &drain).await?, drain)) };
                // A task of its own, so that the memory of what led here does not live as long as the tunnel.
                tokio::spawn(carry(Box::pin(gated)));
            }
            None => {
                let Opened { flow, .. } = opened;
                flow.end(Err(Error::ClientReset));
            }
        }
    }

    /// Answers a request whose head is too long: with a status and why, as over HTTP/1.1.
    async fn refuse_long(self: Arc<Self>, request: Request<RecvStream>, reply: Reply) {
        let flow = self.exchanges.begin(ingress(request.method()));
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        say_why(response.headers_mut(), Error::HeadTooLong.reason(), None);
        flow.status(response.status().as_u16());
        flow.end(Err(Error::HeadTooLong));
        reply.send(response, request.method(), &Clock::default(), &self.proxy.bounds).await;
    }

    /// Answers any other request.
    async fn forward(self: Arc<Self>, request: Request<RecvStream>, reply: Reply) {
        let (clock, method) = (Clock::default(), request.method().clone());
        let request = reply.with_body(request, &clock);
        let answer = forward(&self.exchanges, request, clock.clone());
        if let Some(response) = reply.unless_taken_back(answer).await {
            reply.send(response, &method, &clock, &self.proxy.bounds).await;
        }
    }
}
