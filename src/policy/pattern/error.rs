//! Why a text is not a pattern, in words for its author.

use crate::host::HostError;

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern is empty")]
    Empty,
    #[error("{0:?} can't stand in a pattern")]
    Character(char),
    #[error("a pattern is about names, not addresses")]
    Address,
    #[error("two '*' stand side by side")]
    DoubleStar,
    #[error("the label {0:?} has both '*' and letters outside ASCII")]
    StarBesideUnicode(String),
    #[error("{0:?} is not a label that IDNA (UTS 46) allows")]
    Unicode(String),
    #[error("no name is short enough to match")]
    TooLong,
    #[error("{0}")]
    Name(HostError),
}

impl PatternError {
    /// What would be right.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Character(':') => Some("write the name alone; a port goes into `ports: [...]`"),
            Self::Character('/') => Some("write the name alone; a path goes into `paths: [...]`"),
            Self::Character('{' | '}' | '[' | ']' | '?' | '\\' | '!') => {
                Some("'*' is the only wildcard; write one rule for each alternative")
            }
            Self::Address => Some("write `{ cidr: 203.0.113.0/24 }` for addresses"),
            Self::DoubleStar => Some("a leading `*.` is any depth below; a leading `.` the name too"),
            Self::StarBesideUnicode(_) => Some("write that label in its `xn--` form"),
            Self::Name(HostError::EmptyLabel) => Some("only one '.' may lead; none may follow another"),
            _ => None,
        }
    }
}
