//! Numbers in a query.

use std::ops::RangeInclusive;

use hyper::StatusCode;

use crate::admin::answer::Refusal;

/// The value of `?key=`, which has to lie within the bounds if there are any, or what holds without it.
pub(super) fn number(
    query: Option<&str>,
    key: &str,
    default: usize,
    bounds: Option<RangeInclusive<usize>>,
) -> Result<usize, Refusal> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(found, _)| *found == key) else { return Ok(default) };
    let fits = |number: &usize| bounds.as_ref().is_none_or(|bounds| bounds.contains(number));
    value.parse().ok().filter(fits).ok_or_else(|| {
        let hint = match &bounds {
            None => format!("?{key}= takes a number"),
            Some(bounds) => format!("?{key}= takes a number from {} to {}", bounds.start(), bounds.end()),
        };
        Refusal::new(StatusCode::BAD_REQUEST, "bad_query", hint)
    })
}
