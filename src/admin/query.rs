//! Numbers in a query.

use hyper::StatusCode;

use crate::admin::answer::Refusal;

/// The value of `?key=`, or what holds without it.
pub(super) fn number(query: Option<&str>, key: &str, default: usize) -> Result<usize, Refusal> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(found, _)| *found == key) else { return Ok(default) };
    let refusal = || Refusal::new(StatusCode::BAD_REQUEST, "bad_query", format!("?{key}= takes a number"));
    value.parse().map_err(|_| refusal())
}
