//! What rustls makes of the same bytes: the other opinion.

use rustls::server::Acceptor;

/// What a rustls server would do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// It would go on, for this name in canonical form, or for none that it could read.
    Accept(Option<String>),
    /// It would end the connection.
    Refuse,
    /// It would wait for more.
    Wait,
}

/// Asks rustls about the first bytes of a client.
pub(crate) fn opinion(mut bytes: &[u8]) -> Opinion {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes).is_err() {
            return Opinion::Refuse;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let canonical = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
                return Opinion::Accept(hello.server_name().map(canonical));
            }
            Err(_) => return Opinion::Refuse,
        }
    }
    Opinion::Wait
}
