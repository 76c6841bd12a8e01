//! Methods of requests as people write them.

use crate::yaml::quoted;

/// Whether a request can have this method: what is wrong, and what would be right.
pub(super) fn check(text: &str) -> Result<(), (String, String)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let never = || format!("the method {} would never match", quoted(text));
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err((format!("{} is no HTTP method", quoted(text)), "write one like GET".to_owned()));
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err((never(), format!("methods are upper-case: {}", text.to_ascii_uppercase())));
    }
    if text == "CONNECT" {
        return Err((never(), "CONNECT opens the tunnel; `methods` is about the requests inside".to_owned()));
    }
    Ok(())
}
