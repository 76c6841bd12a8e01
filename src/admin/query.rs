//! Numbers in a query.

use hyper::StatusCode;

use crate::admin::answer::Refusal;

/// The value of `?key=`, of `most` at most, or what holds without it.
pub(super) fn number(query: Option<&str>, key: &str, default: usize, most: usize) -> Result<usize, Refusal> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(found, _)| *found == key) else { return Ok(default) };
    let refusal = || {
        let hint = match most {
            usize::MAX => format!("?{key}= takes a number"),
            most => format!("?{key}= takes a number from 0 to {most}"),
        };
        Refusal::new(StatusCode::BAD_REQUEST, "bad_query", hint)
    };
    value.parse().ok().filter(|number| *number <= most).ok_or_else(refusal)
}
