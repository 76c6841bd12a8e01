//! `POST /explain`: what the policy in force would say, and why.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Body;
use serde::Deserialize;

use crate::admin::State;
use crate::admin::answer::{self, Answer, Refusal};
use crate::client::{Client, User};
use crate::clock::today;
use crate::policy::asked::{Asked, Inside};
use crate::policy::explain::explain;

/// Longest question; a URL has a few thousand bytes at most.
const QUESTION_MAX: usize = 16 * 1024;
/// The whole question has to be there by then.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    client: IpAddr,
    /// A host, a host and port, or a URL.
    to: String,
    /// For `http://`: the request's method.
    method: Option<String>,
    user: Option<String>,
    /// Of the user.
    #[serde(default)]
    groups: Vec<String>,
    certificate: Option<String>,
}

pub(super) async fn respond<B>(state: &State, body: B) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let (client, asked) = read(body).await?;
    let explanation = explain(&state.policy.load(), &client, &asked, today());
    // Strings and flags always serialise.
    Ok(answer::json(StatusCode::OK, serde_json::to_vec(&explanation).unwrap_or_default()))
}

async fn read<B>(body: B) -> Result<(Client, Asked), Refusal>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let whole = tokio::time::timeout(PATIENCE, Limited::new(body, QUESTION_MAX).collect()).await;
    let whole =
        whole.map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive"))?;
    let body = whole.map_err(|_| {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the body broke off or is longer than 16 KiB",
        )
    })?;
    let question: Question = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        bad(format!("{error}; a question is {{\"client\":\"10.0.1.9\",\"to\":\"https://example.com\"}}"))
    })?;
    let mut asked = Asked::parse(&question.to).map_err(|error| bad(format!("to: {error}")))?;
    if let Some(given) = question.method {
        let Inside::Http { method, .. } = &mut asked.inside else {
            return Err(bad("a method is only seen in plain HTTP: ask for http://…".to_owned()));
        };
        *method = given;
    }
    if question.user.is_none() && !question.groups.is_empty() {
        return Err(bad("only users are in groups: say which `user`".to_owned()));
    }
    let user = question.user.map(|user| User::supposed(&user, &question.groups));
    Ok((Client::supposed(question.client).named(user, question.certificate.as_deref()), asked))
}

fn bad(hint: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_question", hint)
}
