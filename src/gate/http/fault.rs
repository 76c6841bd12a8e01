//! Why a body can't be read, and whose doing it is that an exchange failed.

use std::error::Error as Cause;
use std::io;
use std::iter::successors;

use crate::error::Error;

/// Why a body can't be read.
pub(super) type BodyError = Box<dyn Cause + Send + Sync>;

/// What an error of a connection to an upstream means.
pub(super) fn upstream_error(error: &hyper::Error) -> Error {
    if error.is_parse() {
        return Error::BadResponse(error.to_string());
    }
    if !error.is_user() {
        return Error::UpstreamReset;
    }
    // The body comes from the client: it can't be read, or it breaks off and so did the client.
    match broken_body(error) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            Error::BadRequest("the body's chunks are malformed".into())
        }
        _ => Error::ClientReset,
    }
}

/// How reading a body failed.
fn broken_body(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut causes = successors(error.source(), |&error| error.source());
    causes.find_map(|cause| cause.downcast_ref()).map(io::Error::kind)
}
