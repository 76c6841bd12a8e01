//! The only way to an upstream socket.
