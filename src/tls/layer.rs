//! TLS as a layer of a stream, at either end of it.

use tokio_rustls::{client, server};

use crate::stream::{Layer, Stream};

impl Layer for server::TlsStream<Stream> {
    fn reset(self: Box<Self>) {
        // Without a word of TLS: whoever reads on its other side must not take it for an orderly end.
        self.into_inner().0.reset();
    }
}

impl Layer for client::TlsStream<Stream> {
    fn reset(self: Box<Self>) {
        self.into_inner().0.reset();
    }
}
