//! Who may ask the admin door for what.

use std::net::IpAddr;

use hyper::header::HOST;
use hyper::{Request, StatusCode};

use crate::admin::answer::Refusal;
use crate::destination::Destination;
use crate::host::{Host, Name};

/// The rules of access to the admin door.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Names, besides `localhost`, by which the door may be addressed.
    pub names: Vec<Name>,
    /// Whether clients beyond loopback may see the flows and the policy too.
    pub expose_all: bool,
}

impl Access {
    /// Refuses a request that is addressed to a foreign name: a web page whose own name was made to resolve to
    /// this door (DNS rebinding) would make its visitor's browser send one. An address can't be rebound.
    pub(super) fn check_host<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let bad = |hint: String| Refusal::new(StatusCode::BAD_REQUEST, "bad_host", hint);
        let mut values = request.headers().get_all(HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(bad("the request needs one Host header".to_owned()));
        };
        let header = value.to_str().map_err(|_| bad("the Host header is not ASCII".to_owned()))?;
        let authority = request.uri().authority().map(|authority| authority.as_str());
        for text in [Some(header), authority].into_iter().flatten() {
            let to = Destination::parse_or_default(text, 80);
            let to = to.map_err(|error| bad(format!("the Host header: {error}")))?;
            if !self.knows(&to.host) {
                let hint = "address it by IP or as localhost, or list the name in the settings";
                return Err(Refusal::new(StatusCode::FORBIDDEN, "host_not_allowed", hint));
            }
        }
        Ok(())
    }

    /// Keeps what tells who goes where on this host, unless the settings say otherwise.
    pub(super) fn check_peer(&self, peer: IpAddr, private: bool) -> Result<(), Refusal> {
        if !private || self.expose_all || peer.is_loopback() {
            return Ok(());
        }
        let hint = "ask from this host, or set admin_expose: all";
        Err(Refusal::new(StatusCode::FORBIDDEN, "loopback_only", hint))
    }

    fn knows(&self, host: &Host) -> bool {
        match host {
            Host::Ip(_) => true,
            Host::Name(name) => name.as_str() == "localhost" || self.names.contains(name),
        }
    }
}
