//! What a parent proxy failed at, or refused.

use std::fmt;
use std::sync::Arc;

/// A parent that opened no way.
#[derive(Debug)]
pub struct ParentFailure {
    /// Its name in the settings.
    pub parent: Arc<str>,
    /// At which of its URLs.
    pub url: Arc<str>,
    pub fault: ParentFault,
}

/// In what it failed.
#[derive(Debug, thiserror::Error)]
pub enum ParentFault {
    #[error("could not be connected to: {0}")]
    Connect(String),
    #[error("did not take the connection in time")]
    ConnectLate,
    #[error("failed in the TLS handshake: {0}")]
    Tls(String),
    #[error("closed the connection without an answer")]
    Closed,
    #[error("gives no proper answer: {0}")]
    NotHttp(String),
    #[error("did not answer in time")]
    AnswerLate,
    /// It answers something other than 200.
    #[error("{}", Answered(*.0))]
    Answer(u16),
}

/// A status in words.
struct Answered(u16);

impl ParentFailure {
    /// The status of its answer, if it gave one.
    pub fn status(&self) -> Option<u16> {
        match self.fault {
            ParentFault::Answer(status) => Some(status),
            _ => None,
        }
    }
}

impl ParentFault {
    /// Whether another URL of the parent may do better. A refusal is meant: nobody else is asked to overturn it.
    pub fn is_breakdown(&self) -> bool {
        match self {
            Self::Answer(status) => *status >= 500,
            _ => true,
        }
    }

    /// Whether the parent was asked and could not, which another address of the destination may change.
    pub fn is_about_destination(&self) -> bool {
        match self {
            Self::Answer(status) => *status >= 500,
            Self::Closed | Self::NotHttp(_) | Self::AnswerLate => true,
            Self::Connect(_) | Self::ConnectLate | Self::Tls(_) => false,
        }
    }
}

impl fmt::Display for ParentFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the parent {} at {} {}", self.parent, self.url, self.fault)
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            403 => f.write_str("refuses the destination: it answers 403"),
            407 => f.write_str("takes no request without other credentials: it answers 407"),
            status @ 500.. => write!(f, "can't reach the destination: it answers {status}"),
            status => write!(f, "opens no tunnel: it answers {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_apart_from_a_breakdown() {
        for (fault, text, breakdown) in [
            (ParentFault::Answer(403), "refuses the destination: it answers 403", false),
            (ParentFault::Answer(407), "takes no request without other credentials: it answers 407", false),
            (ParentFault::Answer(503), "can't reach the destination: it answers 503", true),
            (ParentFault::Answer(302), "opens no tunnel: it answers 302", false),
            (ParentFault::Closed, "closed the connection without an answer", true),
        ] {
            assert_eq!(fault.is_breakdown(), breakdown, "{text}");
            let failure = ParentFailure { parent: "corp".into(), url: "http://10.0.0.5:3128".into(), fault };
            assert_eq!(failure.to_string(), format!("the parent corp at http://10.0.0.5:3128 {text}"));
        }
    }
}
