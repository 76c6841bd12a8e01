//! The explicit door: clients that know of the proxy send it CONNECT, or whole `http://` requests.

use std::sync::{Arc, Mutex, MutexGuard};

use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::client::Client;
use crate::destination::Destination;
use crate::dial::{Source, Upstream};
use crate::drain;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::Tunnel;
use crate::gate::http::{Clock, Exchanges, Home, Manner, Pool, ReplyBody, finish, request, serve};
use crate::ingress::Ingress;
use crate::lock::lock;
use crate::policy::{Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::stream::Stream;

/// One client connection.
struct Door {
    exchanges: Exchanges,
    opened: Mutex<Option<Opened>>,
}

/// What a CONNECT that was answered with 200 leaves to do.
struct Opened {
    standing: Arc<Standing>,
    flow: Flow,
    to: Destination,
    upstream: Upstream,
}

/// Serves one connection to its end; the permit to have it is given back then.
pub async fn enter(
    proxy: Arc<Proxy>,
    pool: Arc<Pool>,
    client: Client,
    stream: Stream,
    drain: drain::Watch,
    permit: OwnedSemaphorePermit,
) {
    let standing = proxy.standing(client);
    let bounds = proxy.bounds;
    let door = Door {
        exchanges: Exchanges::new(Arc::clone(&proxy), standing, Home::Pool(pool)),
        opened: Mutex::new(None),
    };
    let served = serve(stream, bounds, drain.clone(), |request, clock| door.answer(request, clock)).await;
    let opened = door.opened().take();
    let Some(opened) = opened else {
        return finish(&door.exchanges, served, None, Ingress::Forward).await;
    };
    let Opened { standing, flow, to, upstream } = opened;
    let tunnel = Tunnel { proxy, standing, flow, to, client: served.stream, upstream };
    // A task of its own, so that the memory of HTTP's does not live as long as the tunnel.
    tokio::spawn(tunnel.enter(None, drain, permit));
}

impl Door {
    async fn answer(&self, request: Request<Incoming>, clock: Clock) -> Response<ReplyBody> {
        if *request.method() == Method::CONNECT {
            return self.connect(request).await;
        }
        let flow = self.exchanges.begin(Ingress::Forward);
        flow.ends_with_connection();
        match self.standing(&flow, request.headers()).await {
            Ok(standing) => self.exchanges.answer(flow, standing, request, clock).await,
            Err(error) => self.refuse(flow, error, None, &Manner::of(&request)),
        }
    }

    /// Answers a CONNECT; nothing is behind the 200 yet but a connection.
    async fn connect(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let flow = self.exchanges.begin(Ingress::Connect);
        flow.ends_with_connection();
        let manner = Manner::of(&request);
        let to = match request::connect_target(&request) {
            Ok(to) => to,
            Err(error) => return self.refuse(flow, error, None, &manner),
        };
        flow.to(&to);
        let standing = match self.standing(&flow, request.headers()).await {
            Ok(standing) => standing,
            Err(error) => {
                return self.exchanges.refuse(
                    flow,
                    error,
                    Some(&to),
                    &self.exchanges.standing_of(None),
                    &manner,
                );
            }
        };
        match self.open(&flow, &standing, &to).await {
            Ok(upstream) => {
                flow.status(StatusCode::OK.as_u16());
                *self.opened() = Some(Opened { standing, flow, to, upstream });
                Response::new(Either::Left(Full::default()))
            }
            Err(error) => self.exchanges.refuse(flow, error, Some(&to), &standing, &manner),
        }
    }

    /// Refuses a request of whom nobody knows whose it is.
    fn refuse(
        &self,
        flow: Flow,
        error: Error,
        to: Option<&Destination>,
        manner: &Manner,
    ) -> Response<ReplyBody> {
        self.exchanges.refuse(flow, error, to, &self.exchanges.standing_of(None), manner)
    }

    /// The standing of whoever sent a request: its credentials are its own, not the connection's.
    async fn standing(&self, flow: &Flow, headers: &HeaderMap) -> Result<Arc<Standing>, Error> {
        let proxy = self.exchanges.proxy();
        if proxy.auth.is_none() {
            return Ok(self.exchanges.standing());
        }
        let user = proxy.identify(flow, &self.exchanges.client(), headers).await?;
        Ok(self.exchanges.standing_of(user))
    }

    async fn open(&self, flow: &Flow, standing: &Standing, to: &Destination) -> Result<Upstream, Error> {
        flow.take_permit()?;
        let question = Question { to, seen: Seen::Unknown, address: None };
        self.exchanges.proxy().open(flow, standing, &question, Source::LookUp).await
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        lock(&self.opened)
    }
}
