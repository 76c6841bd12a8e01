//! What is large is made where it stays.
//!
//! A future that is awaited is made, and then moved to where it is awaited, with all its room. One that is pinned first is
//! made there: hence `pin!(future).await` on the way of a tunnel, where futures have hundreds of bytes.

use std::pin::Pin;

/// A future in a box. `Box::pin` makes it on the stack and copies it, with all the room it has for what is yet to come:
/// some kilobytes for each connection. What is made in the box has only its arguments copied.
#[inline(always)]
pub fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(in_box(make))
}

/// Anything in a box, made there. `Box::new` makes it on the stack first, and so would this as a function of its own.
#[inline(always)]
pub fn in_box<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}
