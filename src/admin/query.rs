//! Numbers in a query.

use hyper::StatusCode;

use crate::admin::answer::Refusal;

/// The value of `?key=`, where there is a `most` of that at most, or what holds without it.
pub(super) fn number(
    query: Option<&str>,
    key: &str,
    default: usize,
    most: Option<usize>,
) -> Result<usize, Refusal> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(found, _)| *found == key) else { return Ok(default) };
    let refusal = || {
        let hint = match most {
            None => format!("?{key}= takes a number"),
            Some(most) => format!("?{key}= takes a number from 0 to {most}"),
        };
        Refusal::new(StatusCode::BAD_REQUEST, "bad_query", hint)
    };
    value.parse().ok().filter(|number| most.is_none_or(|most| *number <= most)).ok_or_else(refusal)
}
