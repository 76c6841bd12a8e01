//! The gates that judge what is inside a connection, whoever brings it.

pub mod http;
