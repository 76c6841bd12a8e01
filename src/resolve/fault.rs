//! Why names can't be looked up.

use crate::resolve::circle::Circle;
use crate::resolve::files::FileError;
use crate::tls::trust::TrustError;

/// Why names can't be looked up as the settings and the files say.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}; mend it, or list the servers by `dns.servers`")]
    ResolvConf(FileError),
    #[error(
        "{0}; mend it: without it can't be known whether the stub resolver of this host, at which names are looked up, \
         asks exeat. Or set dns.servers to the ones that the stub asks"
    )]
    BehindStub(FileError),
    #[error("{0}; name a file of certificates in PEM by `dns.ca`")]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Circle(#[from] Circle),
}
