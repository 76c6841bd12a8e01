//! One buffer for all connections of a thread. If each had its own, a thousand of them would push each other out of the
//! core's caches, and what is measured would be that, not the proxy.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

const SIZE: usize = 256 * 1024;

/// What is sent where only its amount counts.
pub(crate) static FILLING: [u8; SIZE] = [0; SIZE];

thread_local! {
    /// Borrowed within one poll and never across an await.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into());
}

/// Reads once, and makes something of what came; nothing is the end. What comes leaves room in the buffer, mostly,
/// from which the runtime concludes that there is no more: a smaller buffer would cost a second call for each message.
pub(crate) async fn read<T>(stream: &mut TcpStream, mut then: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(then(buffer.filled())))
        })
    })
    .await
}

/// Takes what came out of the socket without looking at it (tcp(7), MSG_TRUNC), and returns how much it was; 0 is the
/// end. To copy it would take the load as long as the proxy takes to move it.
pub(crate) async fn discard(stream: &TcpStream) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        let mut count = None;
        let taken = stream.try_io(Interest::READABLE, || {
            let (_, taken) =
                BUFFER.with_borrow_mut(|buffer| recv(stream, &mut **buffer, RecvFlags::TRUNC))?;
            count = Some(taken);
            // Less than was asked for: there is no more now, which the runtime is to know without another call.
            if 0 < taken && taken < SIZE { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (count, taken) {
            (Some(count), _) => return Ok(count),
            (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            (None, _) => {}
        }
    }
}
