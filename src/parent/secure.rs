//! TLS to a proxy whose URL says `https`.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::error::ParentFault;
use crate::host::Host;
use crate::mistake::{Mistake, Place};
use crate::stream::Stream;
use crate::tls::trust;

/// Shakes hands as a client that believes some authorities.
pub(super) struct Secure {
    place: Place,
    ca: Option<PathBuf>,
    current: ArcSwap<Current>,
}

struct Current {
    roots: RootCertStore,
    config: Arc<ClientConfig>,
}

impl Secure {
    pub(super) fn load(place: Place, ca: Option<PathBuf>) -> Result<Self, Mistake> {
        let current = ArcSwap::from_pointee(Current::new(read(&place, &ca)?, &place)?);
        Ok(Self { place, ca, current })
    }

    /// The file of the authorities.
    pub(super) fn file(&self) -> PathBuf {
        trust::path(self.ca.as_deref())
    }

    /// Reads the authorities again. What was agreed on under other ones is not taken up again.
    pub(super) fn reload(&self) -> Result<(), Mistake> {
        let roots = read(&self.place, &self.ca)?;
        if roots.roots != self.current.load().roots.roots {
            self.current.store(Arc::new(Current::new(roots, &self.place)?));
        }
        Ok(())
    }

    /// Makes sure that the other side is `host`, and speaks to it where nobody else can read it.
    pub(super) async fn shake(&self, host: &Host, stream: Stream) -> Result<Stream, ParentFault> {
        let name = trust::server_name(host).map_err(|error| ParentFault::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&self.current.load().config));
        let secured = connector.connect(name, stream).await;
        secured
            .map(|secured| Stream::layered(Box::new(secured)))
            .map_err(|error| ParentFault::Tls(error.to_string()))
    }
}

impl Current {
    fn new(roots: RootCertStore, place: &Place) -> Result<Self, Mistake> {
        let mut config = trust::client_config(roots.clone())
            .map_err(|error| Mistake::error(place.clone(), error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { roots, config: Arc::new(config) })
    }
}

fn read(place: &Place, ca: &Option<PathBuf>) -> Result<RootCertStore, Mistake> {
    trust::read(ca.as_deref()).map_err(|error| {
        Mistake::error(place.clone(), error.to_string())
            .hint("name a file of certificates in PEM by the parent's `ca`")
    })
}
