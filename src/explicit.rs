//! The explicit door: clients that know of the proxy send it CONNECT, or whole `http://` requests.

mod http2;

use std::mem::take;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{FutureExt, ready};
use http_body_util::{Either, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};

use crate::boxed::{boxed, in_box};
use crate::client::Client;
use crate::destination::Destination;
use crate::dial::{Source, Upstream};
use crate::drain;
use crate::error::Error;
use crate::flow::{Flow, Permit};
use crate::gate::http::{
    Clock, Ended, Exchanges, Home, Manner, Pool, ReplyBody, RequestBody, Served, finish, request, serve,
};
use crate::gate::{Passed, Tunnel, carry};
use crate::ingress::Ingress;
use crate::lock::lock;
use crate::policy::{Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::sniff::{Sniff, proxy_header};
use crate::stream::Stream;

pub use http2::enter as enter_http2;

/// How long a client that has too many connections open has, at most, to ask for something, so that it can be told.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What hyper leaves of the signature of a PROXY header of version 2: it passes over empty lines before a request.
const SIGNATURE: &[u8] = b"\0\r\nQUIT\n";

/// One client connection.
struct Door {
    exchanges: Exchanges,
    opened: Mutex<Option<Opened>>,
    /// The client has too many connections open, and hears nothing else on this one.
    is_beyond: bool,
}

/// What a CONNECT that was answered with 200 leaves to do.
struct Opened {
    standing: Arc<Standing>,
    flow: Flow,
    to: Destination,
    upstream: Box<Upstream>,
}

/// Serves one connection to its end; the permit to have it is given back then.
pub fn enter(
    proxy: Arc<Proxy>,
    pool: Arc<Pool>,
    client: Client,
    stream: Stream,
    drain: drain::Watch,
    permit: Permit,
) -> impl Future<Output = ()> {
    carry(boxed(|| gated(proxy, pool, client, stream, drain, permit)))
}

/// Answers requests until the connection ends, or has become a tunnel whose bytes may pass.
async fn gated(
    proxy: Arc<Proxy>,
    pool: Arc<Pool>,
    client: Client,
    stream: Stream,
    mut drain: drain::Watch,
    permit: Permit,
) -> Option<(Passed, (drain::Watch, Permit))> {
    let is_beyond = permit.is_beyond();
    let mut bounds = proxy.bounds;
    let door = Door { exchanges: exchanges(proxy, pool, client), opened: Mutex::new(None), is_beyond };
    if is_beyond {
        bounds.head = bounds.head.min(TOLD_WITHIN);
        bounds.keepalive = bounds.head;
    }
    let answer = |request, clock: &Clock| door.answer(request, clock);
    let served = serve(stream, &bounds, pin!(drain.started()), answer).await;
    let opened = door.opened().take();
    let Some(opened) = opened else {
        finish(&door.exchanges, explained(served), None, Ingress::Forward).await;
        return None;
    };
    let passed = pin!(opened.tunnel(door.exchanges.into_proxy(), served.stream).judge(None, &drain)).await?;
    Some((passed, (drain, permit)))
}

impl Door {
    /// Answers a request. A CONNECT has a box of its own: any other request needs several times the memory.
    fn answer<'a>(
        &'a self,
        mut request: Request<RequestBody>,
        clock: &Clock,
    ) -> impl Future<Output = Response<ReplyBody>> + Unpin + use<'a> {
        if self.is_beyond {
            return boxed(|| ready(refuse_beyond(&self.exchanges, &request))).left_future();
        }
        let answer = match *request.method() == Method::CONNECT {
            true => {
                let (to, headers) = (request::connect_target(&request), take(request.headers_mut()));
                boxed(|| self.connect(to, headers)).left_future()
            }
            false => boxed(|| forward(&self.exchanges, request, clock.clone())).right_future(),
        };
        answer.right_future()
    }

    /// Answers a CONNECT, of which this is all that has to be kept meanwhile.
    async fn connect(&self, to: Result<Destination, Error>, headers: HeaderMap) -> Response<ReplyBody> {
        let opened = pin!(connect(&self.exchanges, to, &headers)).await;
        match opened {
            Ok(opened) => {
                *self.opened() = Some(opened);
                Response::new(Either::Left(Full::default()))
            }
            Err(refusal) => refusal,
        }
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        lock(&self.opened)
    }
}

impl Opened {
    fn tunnel(self, proxy: Arc<Proxy>, client: Stream) -> Box<Tunnel> {
        let Self { standing, flow, to, upstream } = self;
        in_box(|| Tunnel { proxy, standing, flow, to, client, upstream })
    }
}

/// Says what came instead of a request, where that can be told: the words of the parser of HTTP are only that it was none.
fn explained(mut served: Served) -> Served {
    if let Ended::Head { error: Error::BadRequest(words), .. } = &mut served.ended
        && let Some(what) = instead(served.stream.head())
    {
        *words = what.into();
    }
    served
}

fn instead(head: &[u8]) -> Option<&'static str> {
    let is_header =
        matches!(proxy_header(head), Sniff::Found(_) | Sniff::Bad(_)) || head.starts_with(SIGNATURE);
    match head {
        _ if is_header => Some("a PROXY header came from a sender that `proxy_protocol` does not list"),
        // A record of a handshake (RFC 8446 §5.1).
        [22, 3, ..] => Some("TLS came where a request has to come"),
        _ => None,
    }
}

/// What a client of this door has: it may go anywhere, on connections that wait in the pool.
fn exchanges(proxy: Arc<Proxy>, pool: Arc<Pool>, client: Client) -> Exchanges {
    let standing = proxy.standing(client);
    Exchanges::new(proxy, standing, Home::Pool(pool))
}

/// Tells a client that it has too many connections open, and ends this one.
fn refuse_beyond(exchanges: &Exchanges, request: &Request<RequestBody>) -> Response<ReplyBody> {
    let flow = exchanges.begin(ingress(request.method()));
    let to = told(&flow, request);
    let standing = exchanges.standing_of(None);
    exchanges.refuse(flow, Error::LimitClientConnections, to.as_ref(), &standing, &Manner::of(request))
}

/// Judges a CONNECT; nothing is behind the 200 yet but a connection. A refusal says why there is none.
async fn connect(
    exchanges: &Exchanges,
    to: Result<Destination, Error>,
    headers: &HeaderMap,
) -> Result<Opened, Response<ReplyBody>> {
    let flow = exchanges.begin(Ingress::Connect);
    flow.ends_with_connection();
    let refuse = |flow, error, to: Option<&Destination>| {
        exchanges.refuse(flow, error, to, &exchanges.standing_of(None), &Manner::of_connect(headers))
    };
    let to = match to {
        Ok(to) => to,
        Err(error) => return Err(refuse(flow, error, None)),
    };
    flow.to(&to);
    if exchanges.proxy().via.is_in(headers) {
        return Err(refuse(flow, Error::Circle, Some(&to)));
    }
    let mut standing = match standing(exchanges, &flow, headers).await {
        Ok(standing) => standing,
        Err(error) => return Err(refuse(flow, error, Some(&to))),
    };
    let opened = pin!(open(exchanges, &flow, &mut standing, &to)).await;
    match opened {
        Ok(upstream) => {
            flow.status(StatusCode::OK.as_u16());
            Ok(Opened { standing, flow, to, upstream })
        }
        Err(error) => Err(exchanges.refuse(flow, error, Some(&to), &standing, &Manner::of_connect(headers))),
    }
}

/// Answers any other request.
async fn forward(exchanges: &Exchanges, request: Request<RequestBody>, clock: Clock) -> Response<ReplyBody> {
    let flow = exchanges.begin(Ingress::Forward);
    flow.ends_with_connection();
    // Without credentials to look at first, the answer begins with the same.
    let to = exchanges.proxy().auth.as_ref().and_then(|_| told(&flow, &request));
    match standing(exchanges, &flow, request.headers()).await {
        Ok(standing) => pin!(exchanges.answer(flow, standing, request, clock)).await,
        Err(error) => {
            let standing = exchanges.standing_of(None);
            exchanges.refuse(flow, error, to.as_ref(), &standing, &Manner::of(&request))
        }
    }
}

/// Which of the door's two kinds a request is.
fn ingress(method: &Method) -> Ingress {
    if *method == Method::CONNECT { Ingress::Connect } else { Ingress::Forward }
}

/// Tells a flow what its request asks for, before it is known whether its client may ask at all. `None`: its destination
/// can't be read.
fn told(flow: &Flow, request: &Request<RequestBody>) -> Option<Destination> {
    let to = match *request.method() == Method::CONNECT {
        true => request::connect_target(request),
        false => {
            flow.seen(request::seen(request.method(), request.uri()));
            request::forward_target(request)
        }
    };
    to.inspect(|to| flow.to(to)).ok()
}

/// The standing of whoever sent a request: its credentials are its own, not the connection's, nor those of another
/// stream of it.
async fn standing(exchanges: &Exchanges, flow: &Flow, headers: &HeaderMap) -> Result<Arc<Standing>, Error> {
    let proxy = exchanges.proxy();
    if proxy.auth.is_none() {
        return Ok(exchanges.standing());
    }
    // Boxed, so that where nobody has to say who it is a request does not take that much memory.
    let client = exchanges.client();
    let user = boxed(|| proxy.identify(flow, &client, headers)).await?;
    Ok(exchanges.standing_of(user))
}

/// Connects, if the policy lets it, or a person does by whom the client then has another standing.
async fn open(
    exchanges: &Exchanges,
    flow: &Flow,
    standing: &mut Arc<Standing>,
    to: &Destination,
) -> Result<Box<Upstream>, Error> {
    flow.take_permit()?;
    let question = Question { to, seen: Seen::Unknown, address: None };
    let proxy = exchanges.proxy();
    proxy.settle(flow, standing, &question).await;
    pin!(proxy.connect(flow, standing, &question, Source::LookUp)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_of_a_connect_is_small() {
        fn size<'a, D: 'a, T, H, F>(_: impl FnOnce(&'a D, T, H) -> F) -> usize {
            size_of::<F>()
        }

        let connect = size(Door::connect);
        assert!(connect <= 1664, "{connect}");
    }
}
