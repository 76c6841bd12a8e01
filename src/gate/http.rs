//! The gate for HTTP: each request is judged, whether it came to the proxy itself or inside a tunnel.

pub mod clock;
pub mod headers;
pub mod request;
