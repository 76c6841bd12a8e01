//! One direction of a tunnel: from its source to its sink, until the source ends.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::relay::copy::{self, Copied};
use crate::relay::fault::Fault;
use crate::relay::pipes::{Pipe, Pipes};
use crate::relay::splice;
use crate::stream::Stream;

/// How much one poll moves before others get their turn: about 0.1 ms of work.
const BURST: usize = 512 * 1024;
/// A direction is bulk when this many reads in a row fill the whole buffer,
const FULL_READS: u16 = 2;
/// and no longer when this many splices in a row move less than so much. One or two do where the source is slower than
/// the tunnel, and to copy meanwhile costs three times as much.
const SHORT_SPLICES: u8 = 4;
const SHORT_SPLICE: usize = 16 * 1024;
/// Where no pipe is to be had, this many full reads (64 MiB) pass before it is tried again.
const FULL_READS_WITHOUT_PIPE: u16 = 1024;

pub(super) struct Direction<'a> {
    counter: &'a AtomicU64,
    pipes: &'a Pipes,
    held: Held,
    stage: Stage,
    /// How many full reads are still missing until splicing pays; 0 while splicing.
    missing: u16,
    /// How many splices in a row were short.
    short: u8,
    moved: bool,
}

/// What was read from the source and not yet taken by the sink. Nothing more is read while it is
/// there, so a sink that stops reading stops its source.
enum Held {
    Nothing,
    Copied(Bytes),
    Spliced(Pipe),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The source has ended; the sink is not yet told.
    Ending,
    Ended,
}

impl<'a> Direction<'a> {
    pub(super) fn new(counter: &'a AtomicU64, pipes: &'a Pipes) -> Self {
        let (held, stage) = (Held::Nothing, Stage::Open);
        Self { counter, pipes, held, stage, missing: FULL_READS, short: 0, moved: false }
    }

    /// Moves what can be moved now; ready when the source's end has been passed on. If this is the `last` direction to
    /// end, the sink is closed after it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        let mut budget = BURST;
        while self.stage == Stage::Open {
            ready!(self.poll_flush(cx, sink)).map_err(|_| Fault::Sink)?;
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = ready!(self.poll_read(cx, source, sink))?;
            budget = budget.saturating_sub(count);
            if count == 0 {
                self.stage = Stage::Ending;
            }
        }
        if self.stage == Stage::Ending {
            // What closes a socket that was read to its end ends it too: one system call less for each tunnel.
            if last && sink.bare().is_some() {
                self.stage = Stage::Ended;
                return Poll::Ready(Ok(()));
            }
            // This fails on a sink that is gone. Nothing is lost by it, and if the sink had still
            // something to say, whoever reads from it learns of the reset.
            let _ = ready!(Pin::new(sink).poll_shutdown(cx));
            self.stage = Stage::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether all that the source had to say, and its end, was handed to the sink.
    pub(super) fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether the sink took a byte since this was last asked.
    pub(super) fn take_moved(&mut self) -> bool {
        mem::take(&mut self.moved)
    }

    /// Hands the sink what it did not take before, until nothing is held.
    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<io::Result<()>> {
        loop {
            let taken = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Copied(rest) => ready!(copy::poll_drain(cx, rest, sink))?,
                Held::Spliced(pipe) => ready!(splice::poll_drain(cx, pipe, sink))?,
            };
            self.count(taken);
            self.held = match mem::replace(&mut self.held, Held::Nothing) {
                Held::Copied(rest) if rest.is_empty() => Held::Nothing,
                Held::Spliced(pipe) if pipe.held() == 0 => {
                    self.pipes.give_back(pipe);
                    Held::Nothing
                }
                held => held,
            };
        }
    }

    /// Reads once, and returns how much; 0 is the source's end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
    ) -> Poll<Result<usize, Fault>> {
        if self.missing == 0
            && source.head().is_empty()
            && let (Some(socket), Some(_)) = (source.bare(), sink.bare())
        {
            match ready!(splice::poll_fill(cx, socket, self.pipes)).map_err(|_| Fault::Source)? {
                Some(pipe) => return Poll::Ready(Ok(self.hold(pipe))),
                None => self.missing = FULL_READS_WITHOUT_PIPE,
            }
        }
        let Copied { count, rest } = ready!(copy::poll_copy(cx, source, sink))?;
        self.count(count - rest.len());
        if !rest.is_empty() {
            self.held = Held::Copied(rest);
        }
        let full = count == copy::SCRATCH;
        self.missing = if full { self.missing.saturating_sub(1) } else { self.missing.max(FULL_READS) };
        Poll::Ready(Ok(count))
    }

    /// Keeps what was spliced, and judges by its size whether to go on splicing.
    fn hold(&mut self, pipe: Pipe) -> usize {
        let count = pipe.held();
        self.short = if count < SHORT_SPLICE { self.short + 1 } else { 0 };
        if self.short == SHORT_SPLICES {
            (self.missing, self.short) = (FULL_READS, 0);
        }
        if count == 0 {
            self.pipes.give_back(pipe);
        } else {
            self.held = Held::Spliced(pipe);
        }
        count
    }

    fn count(&mut self, taken: usize) {
        self.counter.fetch_add(taken as u64, Ordering::Relaxed);
        self.moved |= taken > 0;
    }
}
