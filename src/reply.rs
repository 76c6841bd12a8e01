//! What a client sees when a flow is refused.
