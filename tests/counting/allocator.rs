//! An allocator that counts what the current thread asks for, so that other threads don't blur it.
#![allow(unsafe_code, reason = "an allocator can't be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub(crate) struct Counting;

/// What a thread has asked for so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) calls: usize,
    /// Taken and not given back; less than zero for a thread that frees what others took.
    pub(crate) held: isize,
    /// The most that was held since the last [`Counting::restart_peak`].
    pub(crate) peak: isize,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { calls: 0, held: 0, peak: 0 }) };
}

impl Counting {
    pub(crate) fn count() -> Count {
        COUNT.get()
    }

    pub(crate) fn restart_peak() {
        let count = COUNT.get();
        COUNT.set(Count { peak: count.held, ..count });
    }
}

fn note(calls: usize, bytes: isize) {
    // A thread that ends may still free; nobody reads its count any more.
    let _ = COUNT.try_with(|cell| {
        let count = cell.get();
        let held = count.held + bytes;
        cell.set(Count { calls: count.calls + calls, held, peak: count.peak.max(held) });
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size().cast_signed());
        // SAFETY: the caller keeps the promises of `alloc`, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, -layout.size().cast_signed());
        // SAFETY: the block came from `System`, through `alloc` or `realloc` here.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as for `dealloc`, and the caller keeps the promises about the new size.
        unsafe { System.realloc(block, layout, size) }
    }
}
