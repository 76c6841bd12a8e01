//! What a client's connection is doing, and for how long it may: the stream, the service and the bodies
//! tell each other.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use crate::flow::Meter;
use crate::lock::lock;
use crate::silence::Silence;

/// The state of one connection.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    /// The bytes read and written.
    moved: AtomicU64,
    /// The client takes nothing for now.
    is_full: AtomicBool,
    /// The client has ended its half while it waits for an answer, or is gone.
    is_ended: AtomicBool,
    exchange: Mutex<Exchange>,
}

/// What is watched of an exchange.
#[derive(Debug, Default)]
struct Exchange {
    /// The flow, until it has ended.
    flow: Option<Meter>,
    /// The answer has begun; until then the service itself sees to an upstream that is silent.
    is_answered: bool,
    /// What had moved when the timer was set.
    moved: u64,
    /// Set once the exchange first waits; it fires at most once in a time-out.
    timer: Option<Pin<Box<Sleep>>>,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const REQUEST: u8 = 2;
/// A head took too long.
const LATE: u8 = 3;
/// Nothing moved for too long.
const STILL: u8 = 4;
/// A request whose answer may open a tunnel.
const TUNNEL: u8 = 5;

impl Clock {
    /// A first byte begins a head, unless it is one of a body. Tells whether it does.
    pub(super) fn byte_read(&self) -> bool {
        let state = &self.0.state;
        state.compare_exchange(IDLE, HEAD, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The head is complete; what follows is the body or nothing. A CONNECT asks for a tunnel, and so does an upgrade.
    pub(super) fn head_read(&self, asks_for_tunnel: bool) {
        self.set(if asks_for_tunnel { TUNNEL } else { REQUEST });
    }

    /// The exchange that is watched from here on.
    pub(super) fn begins(&self, flow: Meter) {
        *self.exchange() = Exchange { flow: Some(flow), ..Exchange::default() };
    }

    /// The head of the answer is there, and a body follows.
    pub(super) fn answers(&self) {
        self.exchange().is_answered = true;
    }

    /// The answer is out; the next byte begins a new head.
    pub(super) fn answered(&self) {
        self.exchange().flow = None;
        self.set(IDLE);
    }

    pub(super) fn late(&self) {
        self.set(LATE);
    }

    /// Whether the connection ended because a head took too long.
    pub(super) fn is_late(&self) -> bool {
        self.state() == LATE
    }

    /// Whether the connection ended because nothing moved.
    pub(super) fn is_still(&self) -> bool {
        self.state() == STILL
    }

    /// Whether the next byte begins a head.
    pub(super) fn is_idle(&self) -> bool {
        self.state() == IDLE
    }

    /// Whether part of a head has been read.
    pub(super) fn in_head(&self) -> bool {
        self.state() == HEAD
    }

    /// Whether an answer is waited for, or on its way.
    pub(super) fn in_exchange(&self) -> bool {
        matches!(self.state(), REQUEST | TUNNEL)
    }

    /// Whether the answer that is waited for may open a tunnel.
    pub(super) fn may_become_tunnel(&self) -> bool {
        self.state() == TUNNEL
    }

    pub(super) fn moved(&self, bytes: usize) {
        self.0.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the client takes more.
    pub(super) fn full(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::Relaxed);
    }

    /// The client sends no more.
    pub(super) fn ended(&self) {
        if !self.0.is_ended.swap(true, Ordering::Relaxed) {
            // Time counts anew, and perhaps faster.
            self.exchange().timer = None;
        }
    }

    /// Ready once the exchange has to end before it is whole: its flow is stopped, or nothing has moved
    /// for too long. Watched from outside, since hyper asks a body for nothing while the client does not
    /// take what came before.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>, silence: Silence) -> Poll<()> {
        let Exchange { flow, is_answered, moved, timer } = &mut *self.exchange();
        let is_ended = self.0.is_ended.load(Ordering::Relaxed);
        let is_watched = match flow {
            Some(flow) if *is_answered && Pin::new(&mut flow.stopped()).poll(cx).is_ready() => {
                return Poll::Ready(());
            }
            Some(_) => *is_answered || is_ended,
            // The rest of an answer whose flow has ended may still be on its way.
            None => self.0.is_full.load(Ordering::Relaxed),
        };
        if !is_watched {
            *timer = None;
            return Poll::Pending;
        }
        let limit = silence.limit(is_ended);
        let timer = timer.get_or_insert_with(|| {
            *moved = self.0.moved.load(Ordering::Relaxed);
            Box::pin(tokio::time::sleep(limit))
        });
        while timer.as_mut().poll(cx).is_ready() {
            let now = self.0.moved.load(Ordering::Relaxed);
            if now == std::mem::replace(moved, now) {
                if !is_ended {
                    self.set(STILL);
                }
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }

    fn state(&self) -> u8 {
        self.0.state.load(Ordering::Acquire)
    }

    fn set(&self, state: u8) {
        self.0.state.store(state, Ordering::Release);
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        lock(&self.0.exchange)
    }
}
