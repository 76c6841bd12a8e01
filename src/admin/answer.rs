//! The answers of the admin door.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::admin::flows::OpenFlows;

/// An answer: whole, or the open flows as they are walked.
pub(super) type Answer = Response<Either<Full<Bytes>, OpenFlows>>;

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
    answer(status, content_type, Either::Left(Full::new(body.into())))
}

pub(super) fn stream(flows: OpenFlows) -> Answer {
    answer(StatusCode::OK, JSON, Either::Right(flows))
}

fn answer(status: StatusCode, content_type: &'static str, body: Either<Full<Bytes>, OpenFlows>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
