//! Moves bytes from socket to socket within the kernel, through a pipe (splice(2)).

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::relay::pipes::{Pipe, Pipes};
use crate::stream::Stream;

/// Fills an empty pipe from the source; a pipe that stays empty is the source's end. `None` says
/// that there is no pipe to be had, or that this kernel does not splice.
pub(super) fn poll_fill(
    cx: &mut Context<'_>,
    source: &TcpStream,
    pipes: &Pipes,
) -> Poll<io::Result<Option<Pipe>>> {
    loop {
        // A pipe is taken only when there is something to put into it.
        ready!(source.poll_read_ready(cx))?;
        let Some(mut pipe) = pipes.lend() else { return Poll::Ready(Ok(None)) };
        // As the pipe is empty, "would block" can only be about the source.
        match source.try_io(Interest::READABLE, || pipe.fill(source)) {
            Ok(()) => return Poll::Ready(Ok(Some(pipe))),
            Err(error) => {
                pipes.give_back(pipe);
                match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                    // Sandboxes refuse the call in each of these ways, and nothing has been read.
                    ErrorKind::InvalidInput
                    | ErrorKind::Unsupported
                    | ErrorKind::PermissionDenied
                    | ErrorKind::OutOfMemory => return Poll::Ready(Ok(None)),
                    _ => return Poll::Ready(Err(error)),
                }
            }
        }
    }
}

/// Hands the sink what the pipe holds, and returns how much it took.
pub(super) fn poll_drain(cx: &mut Context<'_>, pipe: &mut Pipe, sink: &Stream) -> Poll<io::Result<usize>> {
    let Some(sink) = sink.bare() else { return Poll::Ready(Err(ErrorKind::Unsupported.into())) };
    loop {
        ready!(sink.poll_write_ready(cx))?;
        match sink.try_io(Interest::WRITABLE, || pipe.drain(sink)) {
            Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            taken => return Poll::Ready(taken),
        }
    }
}
