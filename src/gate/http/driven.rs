//! An HTTP connection to an upstream, driven by the flow that is on it. With a task of its own each request would be
//! handed to that and its answer handed back: two more wake-ups, and two more turns in the queue of the worker, in which
//! a connection is kept that another request could have had.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use crate::gate::http::listened::{Heard, Listened};
use crate::gate::http::sent::Sent;
use crate::stream::Stream;

/// What waits of an answer, and what of a request, where one side sends and the other takes nothing. hyper would let three
/// times as much wait; with a half of it a body costs a tenth more CPU, with all of hyper's a twentieth less.
const BUFFER: usize = 128 * 1024;

/// An HTTP connection.
pub(super) struct Driven {
    sender: SendRequest<Sent>,
    driver: Driver,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    heard: Heard,
}

/// Who moves the bytes.
enum Driver {
    /// Whoever waits for something on it.
    User(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It moves by itself: the request goes on while nobody asks for more of its answer.
    Alone { _going: Going },
    /// Nobody, it has ended.
    None,
}

/// A connection that moves by itself, until this is dropped.
struct Going(AbortHandle);

/// Rung when there is something to do on a connection. While that is attended to, which is when its two sides tell each
/// other what they did, it wakes nobody.
#[derive(Debug, Default)]
struct Bell {
    is_rung: AtomicBool,
    is_attended: AtomicBool,
    user: AtomicWaker,
}

impl Driven {
    /// Makes an HTTP connection of a stream. The heads of its answers may have so many bytes.
    pub(super) async fn open(stream: Stream, head_bytes: usize) -> Result<Self, hyper::Error> {
        let (io, heard) = Listened::new(stream);
        let mut builder = http1::Builder::new();
        builder.max_header_size(head_bytes).max_buf_size(BUFFER.max(head_bytes));
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let connection = connection.with_upgrades();
        // What goes wrong on it reaches whoever waits for an answer.
        let driver = Driver::User(Box::pin(async { drop(connection.await) }));
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        Ok(Self { sender, driver, bell, waker, heard })
    }

    /// Whether it can take another request. It becomes ready only after it has looked for surplus bytes that the upstream
    /// sent behind its last answer: an answer to nobody is never ours.
    pub(super) fn is_ready(&mut self) -> bool {
        if self.bell.is_rung.swap(false, Ordering::SeqCst) {
            self.driver.poll(&mut Context::from_waker(&self.waker));
        }
        self.sender.is_ready()
    }

    /// The same once nobody uses it any more.
    pub(super) fn rest(&mut self) -> bool {
        drop(self.bell.user.take());
        self.is_ready()
    }

    /// Ready once it can't take another request, which is watched for while it is at rest.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.user.register(cx.waker());
        if self.is_ready() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether something happened on it while it was at rest: most likely its end.
    pub(super) fn is_stirred(&self) -> bool {
        self.bell.is_rung.load(Ordering::SeqCst)
    }

    /// Whether the upstream has said anything to the last request.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.anything()
    }

    /// Sends a request, and waits for the head of its answer. Not an async fn, which would keep the request, and copy it.
    pub(super) fn send(
        &mut self,
        request: Request<Sent>,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> {
        self.heard.clear();
        let response = self.sender.send_request(request);
        self.until(response)
    }

    /// Waits for what comes of the connection.
    pub(super) async fn until<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| self.poll(cx, |cx| future.as_mut().poll(cx))).await
    }

    /// Takes the next frame of an answer.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
    }

    /// Lets what is left of the request go on by itself, however slowly the client takes the answer.
    pub(super) fn let_go(&mut self) {
        if let Driver::User(connection) = std::mem::replace(&mut self.driver, Driver::None) {
            self.driver = Driver::Alone { _going: Going(tokio::spawn(connection).abort_handle()) };
        }
    }

    /// Drives the connection until an outcome is there, or there is nothing to do.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut outcome: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Driver::User(_) = self.driver else { return outcome(cx) };
        let Self { driver, bell, waker, .. } = self;
        let ours = &mut Context::from_waker(waker);
        bell.user.register(cx.waker());
        bell.is_attended.store(true, Ordering::SeqCst);
        let mut found = outcome(ours);
        // The second time, what the first one did is seen. Were it to go on, tokio's budget for one turn could keep it
        // here for ever: beyond that, nothing is done and the bell is rung.
        for _ in 0..2 {
            if found.is_ready() {
                break;
            }
            bell.is_rung.store(false, Ordering::SeqCst);
            driver.poll(ours);
            if !bell.is_rung.load(Ordering::SeqCst) {
                break;
            }
            found = outcome(ours);
        }
        bell.is_attended.store(false, Ordering::SeqCst);
        // From another thread, too.
        if found.is_pending() && bell.is_rung.load(Ordering::SeqCst) {
            cx.waker().wake_by_ref();
        }
        found
    }
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::User(connection) = self
            && connection.as_mut().poll(cx).is_ready()
        {
            // Whoever still waits for something learns of the end by the drop.
            *self = Self::None;
        }
    }
}

impl Drop for Going {
    /// Closes the connection at once. hyper alone would go on with the body of a request whose answer
    /// is complete: bytes of a flow that has ended.
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_rung.store(true, Ordering::SeqCst);
        if !self.is_attended.load(Ordering::SeqCst) {
            self.user.wake();
        }
    }
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven")
            .field("sender", &self.sender)
            .field("bell", &self.bell)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::client::Client;
    use crate::flow::{Ledger, Limits};
    use crate::ingress::Ingress;
    use crate::metrics::Metrics;
    use crate::record::Sink;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    async fn pair() -> (Driven, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let upstream = listener.accept().await.unwrap().0;
        (Driven::open(Stream::new(stream), 8192).await.unwrap(), upstream)
    }

    /// One exchange, after which the connection is at rest.
    async fn exchange(driven: &mut Driven, upstream: &mut TcpStream) {
        let ledger =
            Arc::new(Ledger::new(Arc::new(Metrics::new().unwrap()), Sink::none(), Limits::default()));
        let client = Client::new(([127, 0, 0, 1], 4000).into(), [127, 0, 0, 1].into());
        let meter = ledger.begin(Ingress::Forward, client).meter();
        let request = Request::get("/").header("host", "a.example").body(Sent::nothing(meter)).unwrap();
        let answered = async {
            let _ = upstream.read(&mut [0; 1024]).await.unwrap();
            upstream.write_all(ANSWER).await.unwrap();
        };
        let (response, ()) = tokio::join!(driven.send(request), answered);
        let mut body = response.unwrap().into_body();
        let frame = poll_fn(|cx| driven.poll_frame(&mut body, cx)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
        assert!(body.is_end_stream() && body.frame().await.is_none());
        assert!(driven.rest(), "it takes another request");
    }

    async fn stirred(driven: &Driven) {
        while !driven.is_stirred() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_connection_at_rest_is_still_until_something_happens_on_it() {
        let (mut driven, mut upstream) = pair().await;
        for _ in 0..3 {
            exchange(&mut driven, &mut upstream).await;
            assert!(!driven.is_stirred());
        }
        drop(upstream);
        stirred(&driven).await;
        assert!(!driven.is_ready());
    }

    #[tokio::test]
    async fn an_answer_that_nobody_asked_for_ends_it() {
        let (mut driven, mut upstream) = pair().await;
        exchange(&mut driven, &mut upstream).await;
        upstream.write_all(ANSWER).await.unwrap();
        stirred(&driven).await;
        assert!(!driven.is_ready());
        assert_eq!(upstream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn what_is_dropped_closes() {
        for alone in [false, true] {
            let (mut driven, mut upstream) = pair().await;
            if alone {
                driven.let_go();
            }
            drop(driven);
            assert_eq!(upstream.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }

    #[test]
    fn a_bell_wakes_its_user_unless_it_is_attended() {
        let (bell, user) = (Arc::<Bell>::default(), Arc::<Bell>::default());
        bell.user.register(&Waker::from(Arc::clone(&user)));
        let rung = |bell: &Bell| bell.is_rung.swap(false, Ordering::SeqCst);
        bell.is_attended.store(true, Ordering::SeqCst);
        bell.wake_by_ref();
        assert_eq!((rung(&bell), rung(&user)), (true, false));
        bell.is_attended.store(false, Ordering::SeqCst);
        bell.wake_by_ref();
        assert_eq!((rung(&bell), rung(&user)), (true, true));
    }
}
