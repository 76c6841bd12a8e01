//! The gate for HTTP: each request is judged, whether it came to the proxy itself or inside a tunnel.

pub mod body;
pub mod clock;
pub mod exchange;
pub mod expect;
pub mod headers;
pub mod home;
pub mod pool;
pub mod request;
pub mod send;
pub mod serve;
