//! What a client sees when a flow is refused: one table from reasons to replies, in HTTP and in TLS.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::destination::Destination;
use crate::reason::Reason;

/// The name under which exeat speaks in `Proxy-Status` (RFC 9209 §2).
pub const PROXY_NAME: &str = "exeat";
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// What a 403 says beside it, and in which words.
pub const X_PROXY_ERROR: HeaderName = HeaderName::from_static("x-proxy-error");
pub const BLOCKED: &str = "blocked-by-allowlist";

/// A fatal alert `access_denied` in a plaintext record (RFC 8446 §6, §5.1).
pub const TLS_ACCESS_DENIED: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x31];

/// A refusal, with all that helps its reader to go on.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The status that a parent proxy answered with, where it opened no way.
    pub received: Option<u16>,
    /// What to say who one is with, for a client that has to.
    pub challenges: Vec<HeaderValue>,
    pub reason: Reason,
    /// What happened, in words.
    pub message: String,
    pub destination: Option<&'a Destination>,
    /// The rule that decided, as `file:line "pattern"`.
    pub rule: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The flow's id, to find its record by.
    pub flow: String,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    reason: &'static str,
    message: &'a str,
    destination: Option<String>,
    rule: Option<&'a str>,
    hint: Option<&'a str>,
    flow: &'a str,
}

impl Refusal<'_> {
    /// The HTTP response, in JSON unless the client asks for text in its `Accept`.
    pub fn response(&self, accept: &[HeaderValue]) -> Response<Full<Bytes>> {
        let (status, _) = status(self.reason);
        let (media_type, body) = if wants_text(accept) {
            ("text/plain; charset=utf-8", self.text())
        } else {
            ("application/json", self.json())
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        say_why(headers, self.reason, self.received);
        for challenge in &self.challenges {
            headers.append(header::PROXY_AUTHENTICATE, challenge.clone());
        }
        if status == StatusCode::FORBIDDEN {
            headers.insert(X_PROXY_ERROR, HeaderValue::from_static(BLOCKED));
        }
        response
    }

    fn json(&self) -> String {
        let body = Body {
            error: kind(self.reason),
            reason: self.reason.as_str(),
            message: &self.message,
            destination: self.destination.map(Destination::to_string),
            rule: self.rule.as_deref(),
            hint: self.hint.as_deref(),
            flow: &self.flow,
        };
        // Strings alone can't fail to serialise; an empty body would still carry the status.
        serde_json::to_string(&body).map(|text| text + "\n").unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut text = format!("exeat: {}: {}\n", self.reason, self.message);
        let mut line = |name: &str, value: &str| {
            text.push_str(&format!("{name}: {value}\n"));
        };
        if let Some(destination) = self.destination {
            line("destination", &destination.to_string());
        }
        if let Some(rule) = &self.rule {
            line("rule", rule);
        }
        if let Some(hint) = &self.hint {
            line("hint", hint);
        }
        line("flow", &self.flow);
        text
    }
}

/// Says in the headers of a reply why it is none of the upstream's; `received` is the status that a parent answered with.
pub fn say_why(headers: &mut HeaderMap, reason: Reason, received: Option<u16>) {
    if let Ok(value) = HeaderValue::from_str(&proxy_status(reason, received)) {
        headers.insert(PROXY_STATUS, value);
    }
}

/// The last words over HTTP/1.1 to a client whose head could not be read, and with it what it accepts: no body.
pub fn last_words(status: StatusCode, reason: Reason) -> Vec<u8> {
    let why = proxy_status(reason, None);
    let words = "connection: close\r\ncontent-length: 0\r\nproxy-status:";
    format!("HTTP/1.1 {status}\r\n{words} {why}\r\n\r\n").into_bytes()
}

/// RFC 9209 §2.1.
fn proxy_status(reason: Reason, received: Option<u16>) -> String {
    let (_, proxy_error) = status(reason);
    let received = received.map(|status| format!("; received-status={status}")).unwrap_or_default();
    format!("{PROXY_NAME}; error={proxy_error}{received}; details=\"{reason}\"")
}

/// The status code and the RFC 9209 §2.3 error type for a reason.
pub fn status(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        Reason::Allowed | Reason::ReportOnly => (StatusCode::OK, "proxy_internal_response"),
        Reason::NoRule
        | Reason::DeniedByRule
        | Reason::NoProfile
        | Reason::ServerNameMissing
        | Reason::ServerNameMismatch
        | Reason::EchDenied
        | Reason::NotTls
        | Reason::NotHttp
        | Reason::Revoked => (StatusCode::FORBIDDEN, "http_request_denied"),
        Reason::AddressProhibited => (StatusCode::FORBIDDEN, "destination_ip_prohibited"),
        Reason::SelfConnect => (StatusCode::FORBIDDEN, "proxy_loop_detected"),
        Reason::HostMismatch | Reason::BadRequest | Reason::BadClientHello | Reason::ClientReset => {
            (StatusCode::BAD_REQUEST, "http_request_error")
        }
        Reason::AuthRequired | Reason::AuthFailed => {
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, "http_request_denied")
        }
        Reason::LimitClient => (StatusCode::TOO_MANY_REQUESTS, "connection_limit_reached"),
        Reason::LimitFlows => (StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached"),
        Reason::AuditUnavailable | Reason::Draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error")
        }
        Reason::HeadTimeout => (StatusCode::REQUEST_TIMEOUT, "http_request_error"),
        Reason::DnsFailed => (StatusCode::BAD_GATEWAY, "dns_error"),
        Reason::DialRefused => (StatusCode::BAD_GATEWAY, "connection_refused"),
        Reason::DialFailed => (StatusCode::BAD_GATEWAY, "destination_unavailable"),
        Reason::ParentFailed => (StatusCode::BAD_GATEWAY, "destination_unavailable"),
        Reason::UpstreamReset => (StatusCode::BAD_GATEWAY, "connection_terminated"),
        Reason::DialTimeout => (StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
        Reason::IdleTimeout => (StatusCode::GATEWAY_TIMEOUT, "connection_read_timeout"),
        Reason::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error"),
    }
}

/// The coarse kind of a refusal, for programs that only want to know whom to blame.
fn kind(reason: Reason) -> &'static str {
    let (status, _) = status(reason);
    match status.as_u16() {
        403 => "policy_denied",
        407 => "authentication",
        429 | 503 => "overloaded",
        502 | 504 => "upstream_failed",
        500 => "internal",
        _ => "bad_request",
    }
}

/// Whether the client names a text type and not JSON. `*/*` gets JSON: who says nothing is a program.
fn wants_text(accept: &[HeaderValue]) -> bool {
    let mut text = false;
    for value in accept {
        let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
        if value.contains("json") {
            return false;
        }
        text |= value.contains("text/");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_body() {
        for (accept, text) in [
            ("*/*", false),
            ("application/json", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("text/plain, application/json", false),
        ] {
            assert_eq!(wants_text(&[HeaderValue::from_static(accept)]), text, "{accept}");
        }
        assert!(!wants_text(&[]));
    }

    #[test]
    fn denials_are_403_and_never_407() {
        for reason in Reason::ALL {
            let (status, _) = status(*reason);
            let authentication = matches!(reason, Reason::AuthRequired | Reason::AuthFailed);
            assert_eq!(status == StatusCode::PROXY_AUTHENTICATION_REQUIRED, authentication, "{reason}");
        }
    }
}
