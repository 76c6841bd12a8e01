//! The explicit door: CONNECT and plain HTTP requests.
