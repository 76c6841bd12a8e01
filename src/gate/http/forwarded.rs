//! Requests to a parent that reads them and sends them on, as any client of a proxy writes them.

use hyper::header::{self, HeaderValue};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Uri};

use crate::destination::Destination;
use crate::gate::http::request::HTTP_PORT;

/// Makes a request to the upstream one to the parent: in absolute-form (RFC 9112 §3.2.2), with what the parent wants to
/// see. What a client sent for its own proxy has been taken out before.
pub(super) fn address<B>(request: &mut Request<B>, to: &Destination, authorization: Option<HeaderValue>) {
    // `*` asks about the server as a whole, which no URI names; the root comes closest.
    let path = request.uri().path_and_query().filter(|path| path.as_str() != "*").cloned();
    let path = path.unwrap_or(PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(to.authority(HTTP_PORT)).path_and_query(path);
    // A host is always an authority.
    if let Ok(uri) = uri.build() {
        *request.uri_mut() = uri;
    }
    if let Some(authorization) = authorization {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_destination_to_a_parent() {
        for (to, path, uri) in [
            ("a.example:80", "/x?y=1", "http://a.example/x?y=1"),
            ("a.example:8080", "/", "http://a.example:8080/"),
            ("a.example:80", "*", "http://a.example/"),
            ("a.example:80", "//b.example/", "http://a.example//b.example/"),
        ] {
            let mut request = Request::options(path).body(()).unwrap();
            address(&mut request, &Destination::parse(to).unwrap(), None);
            assert_eq!(request.uri(), uri);
            assert!(request.headers().is_empty());
        }
    }
}
