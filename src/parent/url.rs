//! Where a proxy is, as people write it: `http://10.0.0.5:3128`.

use std::fmt;

use hyper::Uri;

use crate::destination::Destination;
use crate::host::HostError;

/// The URL of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    pub to: Destination,
}

/// Why a text is no URL of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("it is no URL")]
    Shape,
    #[error("a proxy is spoken to over http or https")]
    Scheme,
    #[error("a proxy has no path")]
    Path,
    #[error("{0}")]
    Host(#[from] HostError),
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Shape)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Shape),
        };
        let authority = uri.authority().ok_or(UrlError::Shape)?.as_str();
        if !matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/")) || text.contains('#') {
            return Err(UrlError::Path);
        }
        Ok(Self { tls, to: Destination::parse_or_default(authority, default_port(tls))? })
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.to.authority(default_port(self.tls)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_proxy_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://10.0.0.5:3128", "http://10.0.0.5:3128"),
            ("https://Proxy.Corp.example:3129/", "https://proxy.corp.example:3129"),
            ("http://proxy.example", "http://proxy.example"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("https://[2001:db8::1]:80", "https://[2001:db8::1]:80"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), shown);
        }
        for (text, error) in [
            ("10.0.0.5:3128", UrlError::Shape),
            ("proxy.example", UrlError::Shape),
            ("socks5://10.0.0.5:1080", UrlError::Scheme),
            ("http://u:p@10.0.0.5:3128", UrlError::Host(HostError::UserInfo)),
            ("http://10.0.0.5:3128/x", UrlError::Path),
            ("http://10.0.0.5:3128/?x", UrlError::Path),
            ("http://127.1:3128", UrlError::Host(HostError::BadIpv4)),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }
}
