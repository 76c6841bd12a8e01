//! What a parser of first bytes can answer.

/// What a parser made of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniff<T> {
    /// They hold what was looked for; whatever follows it does not matter.
    Found(T),
    /// They begin something else, whatever may follow.
    NotThis,
    /// They are a prefix of it. Fewer than `need` bytes in all can't complete it: whoever waits for that
    /// many before asking again reads a peer that sends byte by byte in linear time, not in quadratic.
    Incomplete { need: usize },
    /// They can only be meant as it, but are malformed or ambiguous. The text completes "the ClientHello …", or whatever it was.
    Bad(&'static str),
}

impl<T> Sniff<T> {
    /// Says what was found in other terms.
    pub fn map<U>(self, found: impl FnOnce(T) -> U) -> Sniff<U> {
        match self {
            Self::Found(it) => Sniff::Found(found(it)),
            Self::NotThis => Sniff::NotThis,
            Self::Incomplete { need } => Sniff::Incomplete { need },
            Self::Bad(why) => Sniff::Bad(why),
        }
    }
}

/// Every [`Sniff`] but [`Sniff::Found`]: why a parser stops, in a form that `?` passes on.
#[derive(Debug)]
pub(super) enum Stop {
    NotThis,
    Incomplete { need: usize },
    Bad(&'static str),
}

impl<T> From<Result<T, Stop>> for Sniff<T> {
    fn from(result: Result<T, Stop>) -> Self {
        match result {
            Ok(it) => Self::Found(it),
            Err(Stop::NotThis) => Self::NotThis,
            Err(Stop::Incomplete { need }) => Self::Incomplete { need },
            Err(Stop::Bad(why)) => Self::Bad(why),
        }
    }
}
