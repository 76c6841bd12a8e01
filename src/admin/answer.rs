//! The answers of the admin door.

use std::borrow::Cow;
use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// An answer, with whatever body.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

const JSON: &str = "application/json";

/// Why there is no answer: a word for programs and a hint for people.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    error: &'static str,
    hint: Cow<'static, str>,
    /// The methods that would be answered.
    #[serde(skip)]
    allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &'static str, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, hint: hint.into(), allow: None }
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let hint = format!("this takes {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", hint) }
    }

    pub(super) fn unavailable(hint: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", hint)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        // Strings always serialise.
        let mut answer = json(refusal.status, serde_json::to_vec(&refusal).unwrap_or_default());
        if let Some(allow) = refusal.allow {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

pub(super) fn text(status: StatusCode, text: &str) -> Answer {
    full(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

pub(super) fn json(status: StatusCode, mut body: Vec<u8>) -> Answer {
    body.push(b'\n');
    full(status, JSON, body)
}

pub(super) fn full(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    answer(status, content_type, Full::from(body))
}

/// JSON that is written while it is sent.
pub(super) fn stream(body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Answer {
    answer(StatusCode::OK, JSON, body)
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> Answer {
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
