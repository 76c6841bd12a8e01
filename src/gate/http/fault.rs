//! Why a body can't be read, and whose doing it is that an exchange failed.

use std::error::Error as Cause;
use std::io;
use std::iter::successors;

use crate::error::Error;

/// Why a body can't be read.
pub(super) type BodyError = Box<dyn Cause + Send + Sync>;

/// In what a client fails to send a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum BodyFault {
    BrokenOff,
    Malformed,
}

/// What an error of a connection to an upstream means.
pub(super) fn upstream_error(error: &hyper::Error) -> Error {
    if error.is_parse() {
        return Error::BadResponse(error.to_string());
    }
    if !error.is_user() {
        return Error::UpstreamReset;
    }
    // The body comes from the client.
    BodyFault::of(error).into()
}

impl BodyFault {
    /// What an error says of the body: it can't be read, or it breaks off and so did the client.
    pub(super) fn of(error: &(dyn Cause + 'static)) -> Self {
        let mut causes = successors(Some(error), |&error| error.source());
        match causes.find_map(|cause| cause.downcast_ref()).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::BrokenOff,
        }
    }
}

impl From<BodyFault> for Error {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::BrokenOff => Self::ClientReset,
            BodyFault::Malformed => Self::BadRequest("the body's chunks are malformed".into()),
        }
    }
}
