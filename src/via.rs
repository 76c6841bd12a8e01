//! `Via`: tells the next hop that a proxy stood in between, and this proxy that a request went in a circle.

use std::hash::{BuildHasher, RandomState};

use hyper::Version;
use hyper::header::{self, HeaderMap, HeaderValue};

/// The name under which this very process passes messages on (RFC 9110 §7.6.3). A number that is
/// drawn at the start keeps two exeats in a row from taking each other for themselves.
#[derive(Clone, Debug)]
pub struct Via {
    name: String,
    /// What it adds to a message of HTTP/1.0, 1.1 and 2.0, written once for all of them.
    hops: [Option<HeaderValue>; 3],
}

impl Via {
    pub fn new() -> Self {
        Self::named(format!("exeat-{:08x}", RandomState::new().hash_one("via") as u32))
    }

    fn named(name: String) -> Self {
        let hops =
            ["1.0", "1.1", "2.0"].map(|version| HeaderValue::try_from(format!("{version} {name}")).ok());
        Self { name, hops }
    }

    /// Whether the message has been here before.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        // Nearly none has any: to look at its few headers is less than to find this one by its hash.
        headers
            .iter()
            .filter(|(name, _)| **name == header::VIA)
            .filter_map(|(_, value)| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|hop| hop.split_ascii_whitespace().nth(1) == Some(&self.name))
    }

    /// Adds this hop to a message that came in with `version`.
    pub fn stamp(&self, version: Version, headers: &mut HeaderMap) {
        let [http_10, http_11, http_2] = &self.hops;
        let hop = match version {
            Version::HTTP_10 => http_10,
            Version::HTTP_2 => http_2,
            _ => http_11,
        };
        if let Some(hop) = hop {
            headers.append(header::VIA, hop.clone());
        }
    }
}

impl Default for Via {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_here_is_known_again() {
        let (here, elsewhere) = (Via::new(), Via::named("exeat-other".to_owned()));
        let mut headers = HeaderMap::new();
        headers.insert(header::VIA, HeaderValue::from_static("1.1 edge, 1.0 fred (Apache/1.1)"));
        assert!(!here.is_in(&headers));
        here.stamp(Version::HTTP_11, &mut headers);
        elsewhere.stamp(Version::HTTP_10, &mut headers);
        assert!(here.is_in(&headers) && elsewhere.is_in(&headers));
        assert!(!Via::named("exeat".to_owned()).is_in(&headers));
    }
}
