//! The answers of the admin door.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::admin::flows::OpenFlows;

/// An answer: whole, or the open flows as they are walked.
pub(crate) type Answer = Response<Either<Full<Bytes>, OpenFlows>>;

const JSON: &str = "application/json";

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    hint: &'a str,
}

pub(super) fn text(status: StatusCode, text: &str) -> Answer {
    full(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

/// An error: a word for programs and a hint for people.
pub(super) fn error(status: StatusCode, error: &str, hint: &str) -> Answer {
    // Two strings always serialise.
    let mut body = serde_json::to_vec(&Refusal { error, hint }).unwrap_or_default();
    body.push(b'\n');
    full(status, JSON, body)
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer =
        error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("this takes {allowed}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
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
