//! The room that a client leaves on a stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;

/// Waits until a client takes some of so many bytes, and says how many; `None`: it takes no more. Nothing is asked for but
/// what there is to send: what one stream has been promised is lost to the others.
pub(super) fn poll_room(
    send: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<Option<usize>> {
    send.reserve_capacity(wanted);
    loop {
        match send.capacity() {
            0 => match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            },
            room => return Poll::Ready(Some(room)),
        }
    }
}
