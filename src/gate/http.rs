//! The gate for HTTP: each request is judged, whether it came to the proxy itself or inside a tunnel.

mod clock;
mod clocked;
mod driven;
mod exchange;
mod expect;
mod fault;
mod forwarded;
mod headers;
mod home;
pub mod http2;
mod listened;
mod pool;
mod progress;
mod received;
pub mod request;
mod request_body;
mod response;
mod send;
mod sent;
mod serve;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use hyper::StatusCode;

use crate::boxed::boxed;
use crate::drain;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::Tunnel;
use crate::ingress::Ingress;
use crate::lock::lock;
use crate::proxy::{Proxy, Standing};
use crate::relay::Ends;
use crate::reply;
use crate::stream::Stream;

pub use clock::Clock;
pub use exchange::{Exchanges, Manner};
pub use home::Home;
pub use pool::Pool;
pub use received::ReplyBody;
pub use request_body::RequestBody;
pub use serve::{Ended, Served, serve};

/// Serves the requests inside a tunnel. The first one carries on the flow that opened the tunnel, so
/// that each has one record.
pub(super) fn enter(tunnel: Tunnel, drain: drain::Watch) -> impl Future<Output = ()> {
    // Taken apart here: an async fn would keep the tunnel beside its parts.
    let Tunnel { proxy, standing, flow, to, client, upstream } = tunnel;
    let exchanges = Exchanges::new(proxy, standing, Home::tunnel(to, upstream));
    serve_inside(exchanges, flow, client, drain)
}

/// Serves the requests of a connection that was redirected from the address `original`; the first one
/// carries on the flow that the connection began.
pub async fn enter_redirected(
    proxy: Arc<Proxy>,
    pool: Arc<Pool>,
    standing: Arc<Standing>,
    flow: Flow,
    original: SocketAddr,
    client: Stream,
    drain: drain::Watch,
) {
    let exchanges = Exchanges::new(proxy, standing, Home::Redirected { pool, original });
    serve_inside(exchanges, flow, client, drain).await;
}

async fn serve_inside(exchanges: Exchanges, flow: Flow, client: Stream, mut drain: drain::Watch) {
    let ingress = flow.ingress();
    let opening = Mutex::new(Some(flow));
    let take = || lock(&opening).take();
    let mut drains = pin!(drain.started());
    let over = pin!(poll_fn(|cx| match drains.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => exchanges.poll_ended(cx),
    }));
    let served = serve(client, &exchanges.proxy().bounds, over, |request, clock| {
        let flow = take().unwrap_or_else(|| exchanges.begin(ingress));
        boxed(|| exchanges.answer(flow, exchanges.standing(), request, clock.clone()))
    })
    .await;
    finish(&exchanges, served, take(), ingress).await;
}

/// What is left to do when no more requests come on a connection: relay, if the last answer turned it
/// into a tunnel; account for a head that got no answer; close.
pub async fn finish(exchanges: &Exchanges, served: Served, waiting: Option<Flow>, ingress: Ingress) {
    let Served { stream, ended } = served;
    if let Some(switched) = exchanges.take_switched() {
        let ends = Box::new(Ends::new(stream, switched.upstream));
        return exchanges.proxy().tunnel(switched.flow, ends).await;
    }
    let (error, told) = match ended {
        Ended::Head { error, told } => (error, told),
        // To end in order would make a part look like the whole where the end of the connection is
        // the end of the answer.
        Ended::Cut => return stream.reset(),
        Ended::Between => {
            if let Some(flow) = waiting {
                // The tunnel closed before it carried a request.
                flow.end(Err(Error::ClientReset));
            }
            return stream.close_lingering(&[]).await;
        }
    };
    let status = match error {
        Error::ClientReset => None,
        Error::HeadTooLong => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        _ => Some(reply::status(error.reason()).0),
    };
    let flow = waiting.unwrap_or_else(|| exchanges.begin(ingress));
    if let Some(status) = status {
        flow.status(status.as_u16());
    }
    let last = status.filter(|_| !told).map(|status| reply::last_words(status, error.reason()));
    flow.end(Err(error));
    stream.close_lingering(&last.unwrap_or_default()).await;
}
