//! A connection whose first bytes may already have been read.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::sys;

/// Most connections to upstreams are over before this time, and need not be kept alive: whoever waits longer on one
/// asks for it then.
pub const YOUTH: Duration = Duration::from_secs(30);
/// How much one read takes at most while sniffing: more than a post-quantum ClientHello.
const CHUNK: usize = 4096;
/// How long and how much a peer may still send after the last word to it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection, and before it the head: bytes that were read from it already and will be read first.
pub struct Stream {
    transport: Transport,
    head: BytesMut,
}

/// What carries the bytes.
enum Transport {
    Bare(TcpStream),
    /// Something that makes other bytes of them before they go over the wire.
    Layered(Box<dyn Layer>),
}

/// A protocol that carries a connection inside another one.
pub trait Layer: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {
    /// Breaks it off, so that the peer can't take it for an orderly end.
    fn reset(self: Box<Self>);
}

impl Stream {
    /// A connection of which nothing has been read.
    pub fn new(socket: TcpStream) -> Self {
        Self { transport: Transport::Bare(socket), head: BytesMut::new() }
    }

    /// A connection inside another one.
    pub fn layered(layer: Box<dyn Layer>) -> Self {
        Self { transport: Transport::Layered(layer), head: BytesMut::new() }
    }

    /// Puts bytes back that were read from it: they come before whatever it has still to give.
    pub fn with_head(mut self, head: Bytes) -> Self {
        let rest = std::mem::replace(&mut self.head, BytesMut::from(head));
        self.head.unsplit(rest);
        self
    }

    /// The bytes that were read and not yet taken.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Takes the first bytes out of the head, at most as many as it has.
    pub fn take_head(&mut self, count: usize) -> Bytes {
        if count >= self.head.len() {
            // Whole, so that no part of its memory is kept for the life of the connection.
            return std::mem::take(&mut self.head).freeze();
        }
        self.head.split_to(count).freeze()
    }

    /// Reads once and adds to the head what came, up to `limit` bytes in all. Returns how many came;
    /// 0 says that the peer sends no more, or that the head has `limit` bytes already. No byte is
    /// lost when the future is dropped, and no buffer is held while it waits.
    pub async fn fill(&mut self, limit: usize) -> io::Result<usize> {
        let room = limit.saturating_sub(self.head.len()).min(CHUNK);
        if room == 0 {
            return Ok(0);
        }
        poll_fn(|cx| {
            let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
            let mut buffer = ReadBuf::uninit(&mut chunk[..room]);
            ready!(self.transport.poll_read(cx, &mut buffer))?;
            // Nearly all heads come in one read: they need not be able to grow.
            match self.head.capacity() {
                0 => self.head = BytesMut::from(buffer.filled()),
                _ => self.head.extend_from_slice(buffer.filled()),
            }
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// The bare socket, if what is written here is what goes over the wire, and what comes over the
    /// wire is, after the head, what is read here: such bytes may be moved past this type.
    pub fn bare(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Bare(socket) => Some(socket),
            Transport::Layered(_) => None,
        }
    }

    /// The same for good; whatever was read ahead is dropped.
    pub fn into_bare(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Bare(socket) => Some(socket),
            Transport::Layered(_) => None,
        }
    }

    /// Has the kernel find out when the peer is gone while the connection is silent. What carries a layer was kept alive
    /// before there was one.
    pub fn keep_alive(&self) {
        if let Some(socket) = self.bare() {
            // It fails on a dead socket only, and of that whoever uses it learns.
            let _ = sys::keep_alive(socket);
        }
    }

    /// Whether the peer has ended its half: `false` while bytes wait to be read. No byte is taken but into
    /// the head. An error says that the connection is broken.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.head.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let count = match &mut self.transport {
            Transport::Bare(socket) => ready!(socket.poll_peek(cx, &mut ReadBuf::uninit(&mut chunk[..1])))?,
            Transport::Layered(layer) => {
                let mut buffer = ReadBuf::uninit(&mut chunk);
                ready!(Pin::new(layer).poll_read(cx, &mut buffer))?;
                self.head.extend_from_slice(buffer.filled());
                buffer.filled().len()
            }
        };
        Poll::Ready(Ok(count == 0))
    }

    /// Says a last word and closes so that it arrives: a socket that is dropped with unread bytes
    /// sends a reset, which makes the peer forget what it has not read yet (RFC 9112 §9.6).
    pub async fn close_lingering(mut self, last: &[u8]) {
        let close = async {
            self.write_all(last).await?;
            self.linger().await
        };
        // Whatever goes wrong here, the connection is over.
        let _ = tokio::time::timeout(LINGER, close).await;
    }

    /// Closes at once with a reset: for peers that no word can be said to.
    pub fn reset(self) {
        match self.transport {
            // It fails on a dead socket only, and that one needs no reset.
            Transport::Bare(socket) => drop(socket.set_zero_linger()),
            Transport::Layered(layer) => layer.reset(),
        }
    }

    /// Ends the writing half and reads what still comes, until the peer ends too.
    async fn linger(&mut self) -> io::Result<()> {
        self.shutdown().await?;
        let mut drained = 0;
        while drained < LINGER_BYTES {
            self.head.clear();
            match self.fill(CHUNK).await? {
                0 => break,
                count => drained += count,
            }
        }
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return self.transport.poll_read(cx, buffer);
        }
        let count = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..count]);
        self.head.advance(count);
        if self.head.is_empty() {
            // Its memory is not kept for the life of the connection.
            self.head = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Bare(socket) => Pin::new(socket).poll_write(cx, bytes),
            Transport::Layered(layer) => Pin::new(layer).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // As most heads are; the kernel has less to do for one.
        if let [one] = slices {
            return self.poll_write(cx, one);
        }
        match &mut self.transport {
            Transport::Bare(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Transport::Layered(layer) => Pin::new(layer).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Bare(socket) => socket.is_write_vectored(),
            Transport::Layered(layer) => layer.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Bare(socket) => Pin::new(socket).poll_flush(cx),
            Transport::Layered(layer) => Pin::new(layer).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Bare(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Layered(layer) => Pin::new(layer).poll_shutdown(cx),
        }
    }
}

impl Transport {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Bare(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Layered(layer) => Pin::new(layer).poll_read(cx, buffer),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport: &dyn fmt::Debug = match &self.transport {
            Transport::Bare(socket) => socket,
            Transport::Layered(layer) => layer,
        };
        f.debug_struct("Stream").field("transport", transport).field("head", &self.head.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Stream::new(listener.accept().await.unwrap().0), peer)
    }

    #[tokio::test]
    async fn the_head_is_read_before_the_socket() {
        let (stream, mut peer) = pair().await;
        peer.write_all(b"three").await.unwrap();
        let mut stream = stream.with_head(Bytes::from("two ")).with_head(Bytes::from("one "));
        assert_eq!(stream.head(), b"one two ");
        let mut text = [0; 13];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"one two three");
        assert_eq!(stream.head(), b"");
    }

    #[tokio::test]
    async fn filling_adds_to_the_head_until_its_limit() {
        let (mut stream, mut peer) = pair().await;
        let hello: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        peer.write_all(&hello).await.unwrap();
        let mut count = 0;
        while stream.head().len() < 9_000 {
            count += stream.fill(9_000).await.unwrap();
        }
        assert_eq!(count, 9_000);
        assert_eq!(stream.fill(9_000).await.unwrap(), 0);
        assert_eq!(stream.head(), &hello[..9_000]);

        drop(peer);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, hello);
        assert_eq!(stream.fill(1).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_last_word_arrives_although_bytes_were_left_unread() {
        let (stream, mut peer) = pair().await;
        peer.write_all(&[7; 100_000]).await.unwrap();
        let closing = tokio::spawn(async move { stream.close_lingering(b"no").await });
        let mut last = Vec::new();
        peer.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"no");
        drop(peer);
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_never_ends_is_not_waited_for() {
        let (stream, peer) = pair().await;
        stream.close_lingering(b"no").await;
        drop(peer);
    }

    #[tokio::test]
    async fn a_reset_arrives_as_one() {
        let (stream, mut peer) = pair().await;
        stream.reset();
        let error = peer.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn hyper_gives_it_back_after_an_upgrade() {
        use http_body_util::Empty;
        use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
        use hyper_util::rt::TokioIo;

        let (stream, mut peer) = pair().await;
        peer.write_all(b"T a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nearly").await.unwrap();
        let stream = stream.with_head(Bytes::from("CONNEC"));
        let (give, mut take) = tokio::sync::mpsc::channel(1);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let give = give.clone();
            tokio::spawn(async move { give.send(hyper::upgrade::on(&mut request).await.unwrap()).await });
            async { Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());

        let parts = take.recv().await.unwrap().downcast::<TokioIo<Stream>>().unwrap();
        let mut stream = parts.io.into_inner().with_head(parts.read_buf);
        while stream.head().len() < 5 {
            stream.fill(5).await.unwrap();
        }
        assert_eq!(stream.head(), b"early");
    }
}
