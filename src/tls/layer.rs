//! TLS as a layer of a stream.

use tokio_rustls::server::TlsStream;

use crate::stream::{Layer, Stream};

impl Layer for TlsStream<Stream> {
    fn reset(self: Box<Self>) {
        // Without a word of TLS: whoever reads on its other side must not take it for an orderly end.
        self.into_inner().0.reset();
    }
}
