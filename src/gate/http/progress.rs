//! How far a request's body has come, as its answer may have to know: an upstream may begin that before it has the whole.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::gate::http::fault::BodyFault;

#[derive(Debug)]
pub(super) struct Progress {
    is_complete: AtomicBool,
    fault: OnceLock<BodyFault>,
}

impl Progress {
    /// Of a body that is to be sent, or of none.
    pub(super) fn new(is_complete: bool) -> Self {
        Self { is_complete: AtomicBool::new(is_complete), fault: OnceLock::new() }
    }

    /// Notes that all of it has been sent.
    pub(super) fn completed(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Notes that the client sends no more of it.
    pub(super) fn failed(&self, fault: BodyFault) {
        // The first fault is what the others come of.
        let _ = self.fault.set(fault);
    }

    /// Whether all of it has been sent: only then may the connection serve another request.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Why it never will be, where that is the client's doing.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get().copied()
    }
}
