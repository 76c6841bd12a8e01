//! What ends a direction before its source does.

/// Whose connection broke.
pub(super) enum Fault {
    Source,
    Sink,
}
