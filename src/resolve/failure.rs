//! Why a look-up gave no address, in hickory's words and in ours.

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;

use crate::error::Error;

/// Why a look-up gave no address; the later one says more where the two families differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    #[error("the name has no addresses")]
    NoAddresses,
    #[error("the DNS server's answer is malformed")]
    Malformed,
    #[error("the DNS server can't be reached")]
    Unreachable,
    #[error("no DNS server answered in time")]
    Timeout,
    #[error("too many questions to DNS servers are under way")]
    Crowded,
    #[error("too many look-ups of this client are under way")]
    TooMany,
    #[error("{0}")]
    Tls(&'static str),
    #[error("the DNS server refused to answer (REFUSED)")]
    Refused,
    #[error("the DNS server failed (SERVFAIL)")]
    ServerFailed,
    #[error("the name does not exist (NXDOMAIN)")]
    NoSuchName,
}

/// There was no turn in time.
#[derive(Debug)]
pub(super) struct Crowded;

impl Failure {
    /// Whether another server may well have an answer.
    pub(super) fn is_of_one_server(self) -> bool {
        matches!(self, Self::Refused | Self::ServerFailed | Self::Malformed)
    }

    /// Whether it says something of the name, which the other servers would say too.
    pub(super) fn is_of_the_name(self) -> bool {
        matches!(self, Self::NoAddresses | Self::NoSuchName)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooMany => Self::LimitClientLookUps,
            failure => Self::Dns(failure.to_string()),
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => response_code.into(),
            NetError::Dns(DnsError::ResponseCode(code)) => code.into(),
            NetError::Timeout => Self::Timeout,
            NetError::Message(Crowded::WORDS) => Self::Crowded,
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => Self::Unreachable,
            _ => Self::Malformed,
        }
    }
}

impl From<ResponseCode> for Failure {
    fn from(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NoError => Self::NoAddresses,
            ResponseCode::NXDomain => Self::NoSuchName,
            ResponseCode::Refused => Self::Refused,
            ResponseCode::FormErr => Self::Malformed,
            _ => Self::ServerFailed,
        }
    }
}

impl Crowded {
    /// How hickory passes it on.
    const WORDS: &str = "too many questions are under way";
}

/// Not hickory's own word for it, which would make it try for ever.
impl From<Crowded> for NetError {
    fn from(_: Crowded) -> Self {
        Self::Message(Crowded::WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn what_exeat_itself_has_too_much_of_is_not_told_of_the_server() {
        let told = |failure: Failure| Error::from(failure).to_string();
        assert_eq!(
            told(NetError::from(Crowded).into()),
            "look-up failed: too many questions to DNS servers are under way"
        );
        assert_eq!(told(Failure::TooMany), "too many look-ups of this client are under way");
        assert_eq!(Error::from(Failure::TooMany).reason(), Reason::LimitClient);
    }
}
