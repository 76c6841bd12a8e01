//! How a flow can end other than well: one enum, one reason for each variant, no catch-all.

mod parent;

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::host::HostError;
use crate::reason::Reason;

pub use self::parent::{ParentFailure, ParentFault};

/// How a flow ended. The text goes into the record's `error` and never holds what a client may steer at length.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", denial(*.0))]
    Denied(Reason),
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    #[error("the head is too long")]
    HeadTooLong,
    #[error("the Host header {0}")]
    HostMismatch(&'static str),
    #[error("the ClientHello {0}")]
    BadClientHello(&'static str),
    #[error("the TLS handshake failed: {0}")]
    BadHandshake(String),
    #[error("the client refused the TLS handshake: {0:?}")]
    HandshakeRefused(rustls::AlertDescription),
    #[error("the client has no certificate")]
    CertificateMissing,
    #[error("the client's certificate {0}")]
    BadCertificate(&'static str),
    #[error("the head did not arrive in time")]
    HeadTimeout,
    #[error("credentials are needed")]
    AuthRequired,
    #[error("{0}")]
    AuthFailed(AuthFailure),
    #[error("too many flows are open")]
    LimitFlows,
    #[error("too many clients ask DNS questions")]
    LimitDnsClients,
    #[error("this client has too many flows open")]
    LimitClientFlows,
    #[error("this client has too many connections open")]
    LimitClientConnections,
    #[error("too many credentials from this client's address wait to be checked, or were wrong")]
    LimitClientCredentials,
    #[error("this client asks too many DNS questions")]
    LimitClientQuestions,
    #[error("too many look-ups of this client are under way")]
    LimitClientLookUps,
    #[error("records can't be written")]
    AuditUnavailable,
    #[error("{address} is {what}")]
    AddressProhibited { address: IpAddr, what: &'static str },
    #[error("{0} is exeat itself")]
    SelfConnect(SocketAddr),
    #[error("the request has been here before")]
    Circle,
    #[error("look-up failed: {0}")]
    Dns(String),
    #[error("{0} refused the connection")]
    DialRefused(SocketAddr),
    #[error("no address answered in time")]
    DialTimeout,
    #[error("connecting to {0} failed: {1}")]
    DialFailed(SocketAddr, io::Error),
    #[error("{0}")]
    Parent(Box<ParentFailure>),
    #[error("the rule for what is inside sends it another way than the connection that stands")]
    OtherWay,
    #[error("the upstream reset the connection")]
    UpstreamReset,
    #[error("the upstream's answer can't be passed on: {0}")]
    BadResponse(String),
    #[error("the client reset the connection")]
    ClientReset,
    #[error("no byte moved for the idle time-out")]
    IdleTimeout,
    #[error("a new policy, or new users, no longer allow it")]
    Revoked,
    #[error("exeat is stopping")]
    Draining,
    #[error("{0}")]
    Internal(Cow<'static, str>),
}

/// In what credentials are wrong. Whether there is such a user is told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// They are of a kind that is not taken, or can't be read.
    #[error("{0}")]
    Credentials(Cow<'static, str>),
    #[error("the user's name or the password is wrong")]
    Password,
    #[error("{0}")]
    Token(Box<str>),
}

impl Error {
    /// The word for it in records, metrics and replies.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied(reason) => *reason,
            Self::BadRequest(_) | Self::HeadTooLong => Reason::BadRequest,
            Self::HostMismatch(_) => Reason::HostMismatch,
            Self::BadClientHello(_) | Self::BadHandshake(_) => Reason::BadClientHello,
            Self::CertificateMissing => Reason::AuthRequired,
            Self::BadCertificate(_) => Reason::AuthFailed,
            Self::HeadTimeout => Reason::HeadTimeout,
            Self::AuthRequired => Reason::AuthRequired,
            Self::AuthFailed(_) => Reason::AuthFailed,
            Self::LimitFlows | Self::LimitDnsClients => Reason::LimitFlows,
            Self::LimitClientFlows
            | Self::LimitClientConnections
            | Self::LimitClientCredentials
            | Self::LimitClientQuestions
            | Self::LimitClientLookUps => Reason::LimitClient,
            Self::AuditUnavailable => Reason::AuditUnavailable,
            Self::AddressProhibited { .. } => Reason::AddressProhibited,
            Self::SelfConnect(_) | Self::Circle => Reason::SelfConnect,
            Self::Dns(_) => Reason::DnsFailed,
            Self::DialRefused(_) => Reason::DialRefused,
            Self::DialTimeout => Reason::DialTimeout,
            Self::DialFailed(..) => Reason::DialFailed,
            Self::Parent(_) => Reason::ParentFailed,
            Self::OtherWay => Reason::NoRule,
            Self::UpstreamReset | Self::BadResponse(_) => Reason::UpstreamReset,
            Self::ClientReset | Self::HandshakeRefused(_) => Reason::ClientReset,
            Self::IdleTimeout => Reason::IdleTimeout,
            Self::Revoked => Reason::Revoked,
            Self::Draining => Reason::Draining,
            Self::Internal(_) => Reason::Internal,
        }
    }
}

impl From<ParentFailure> for Error {
    fn from(failure: ParentFailure) -> Self {
        Self::Parent(Box::new(failure))
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        Self::BadRequest(error.to_string().into())
    }
}

/// A denial by the policy in words.
fn denial(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRule => "no rule of the policy allows it",
        Reason::DeniedByRule => "a deny rule of the policy covers it",
        Reason::NoProfile => "no profile of the policy is for this client",
        Reason::AddressProhibited => "it leads to no address that may be dialled",
        Reason::ServerNameMissing => "the ClientHello names no server",
        Reason::ServerNameMismatch => "the ClientHello names another server",
        Reason::EchDenied => "the ClientHello is encrypted, and no rule lets that pass",
        Reason::NotTls => "it is not TLS, and the rule is for TLS",
        Reason::NotHttp => "it is not HTTP, and the rule is for HTTP",
        Reason::BadRequest => "its path can be read in two ways",
        _ => "the policy denies it",
    }
}
