//! HTTP/2 on one connection (RFC 9113): each stream is a request of its own, answered in a task of its own.
//!
//! A client can make a server hold much on one connection, so everything has a bound: streams at once, what each may
//! send before somebody takes it, what waits for the client, heads, and requests that are taken back at once
//! (CVE-2023-44487). Floods of empty frames, pings and settings are the h2 crate's to see.

mod carried;
pub mod frames;
mod piece;
mod reply;
mod room;
mod way;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::server::{Builder, Connection};
use h2::{Reason, RecvStream};
use hyper::Request;
use tokio::time::{Instant, sleep, timeout};

use crate::drain;
use crate::error::Error;
use crate::gate::http::http2::piece::Piece;
use crate::proxy::Bounds;
use crate::stream::Stream;

pub use self::reply::Reply;

/// The h2 crate answers a head that is too long for it, and tells nobody. So it takes heads of so many times the bound, and
/// those beyond the bound itself are refused here, with a record.
const HEAD_SLACK: usize = 2;
/// What a field costs beside its name and value (RFC 9113 §6.5.2).
const FIELD: usize = 32;
/// Streams that a client may have open at once.
const STREAMS: u32 = 128;
/// What a client may send on one stream before its upstream takes it: 1 Gbit/s over 1 ms of way there and back.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for all of them: as much as they may have together, so that those whose upstreams take nothing do not
/// hold up the others. 16 MiB at most wait in memory for one connection, and half as much again where they come in
/// small frames, by which the h2 crate takes account of what a frame costs beside its bytes.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// What waits on one stream for a client to take it, besides what that costs: [`piece`] bounds the number of frames.
const SEND_BUFFER: usize = 64 * 1024;
/// So many requests may be taken back before they are answered, beyond as many as were answered.
const TAKEN_BACK: usize = 100;
/// How long a connection that ends may take for its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Counts requests that were taken back, less those that were answered.
#[derive(Clone, Debug, Default)]
struct TakenBack(Arc<AtomicUsize>);

/// Serves until the connection ends. It is closed after `keepalive` without a stream, and in a drain once its last
/// stream has ended. An error is the client's, who has broken the protocol.
pub async fn serve<F, R>(
    stream: Stream,
    bounds: Bounds,
    mut drain: drain::Watch,
    answer: F,
) -> Result<(), Error>
where
    F: Fn(Request<RecvStream>, Reply) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let Some(mut connection) = greet(stream, &bounds).await? else { return Ok(()) };
    let taken_back = TakenBack::default();
    let mut drains = pin!(drain.started());
    let mut look = pin!(sleep(bounds.keepalive));
    let (mut is_ending, mut is_used) = (false, false);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drains, if !is_ending => {
                is_ending = true;
                connection.graceful_shutdown();
                look.as_mut().reset(Instant::now() + LAST_WORDS);
                continue;
            }
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => accepted,
            () = &mut look => {
                let is_idle = !connection.has_streams() && !std::mem::take(&mut is_used);
                if is_ending && is_idle {
                    // It does not even take the last words.
                    return Ok(());
                }
                if is_idle {
                    is_ending = true;
                    connection.graceful_shutdown();
                }
                let next = if is_ending { LAST_WORDS } else { bounds.keepalive };
                look.as_mut().reset(Instant::now() + next);
                continue;
            }
        };
        match accepted {
            None => return Ok(()),
            Some(Err(error)) => return fault(&error).map_or(Ok(()), Err),
            Some(Ok((request, respond))) => {
                is_used = true;
                if taken_back.are_too_many() {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // Whether or not it hears that, it is over.
                    let _ = timeout(LAST_WORDS, poll_fn(|cx| connection.poll_closed(cx))).await;
                    return Err(Error::BadRequest("too many requests were taken back at once".into()));
                }
                tokio::spawn(answer(request, Reply::new(respond, taken_back.clone())));
            }
        }
    }
}

/// Exchanges the first words. `None`: the client said nothing, as one that connects in advance, or is gone.
async fn greet(stream: Stream, bounds: &Bounds) -> Result<Option<Connection<Stream, Piece>>, Error> {
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(HEAD_SLACK * bounds.head_bytes).unwrap_or(u32::MAX))
        .handshake(stream);
    match timeout(bounds.head, handshake).await {
        Ok(Ok(connection)) => Ok(Some(connection)),
        Ok(Err(error)) => fault(&error).map_or(Ok(None), Err),
        Err(_) => Ok(None),
    }
}

/// The size of a head as RFC 9113 §6.5.2 counts it, decoded.
pub fn head_size<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let pseudo = [
        (":method", Some(request.method().as_str())),
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(|authority| authority.as_str())),
        (":path", uri.path_and_query().map(|path| path.as_str())),
    ];
    let pseudo = pseudo.iter().filter_map(|(name, value)| Some(name.len() + (*value)?.len() + FIELD));
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    pseudo.chain(fields).sum()
}

/// What an error says of the client; `None`: it went away, or said that it would.
fn fault(error: &h2::Error) -> Option<Error> {
    error.is_library().then(|| Error::BadRequest(format!("HTTP/2: {error}").into()))
}

impl TakenBack {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) {
        // It fails at 0, which is where it shall stay then.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > TAKEN_BACK
    }
}
