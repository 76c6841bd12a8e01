//! How much exeat tells of itself.

use std::env;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::yaml::quoted;

/// The environment variable that says it.
const VARIABLE: &str = "EXEAT_LOG";
/// Of whom nothing is told unless that is asked for by name: the codec of DNS messages warns of each that somebody wrote
/// badly, and so lets clients write to the log as they like.
const UNHEARD: &str = "hickory_proto=off";

/// What is told: what the environment says, or else this level.
pub(super) fn filter(level: &str) -> Result<EnvFilter, String> {
    let said = env::var_os(VARIABLE).unwrap_or_default();
    read(&said.to_string_lossy(), level)
}

fn read(said: &str, level: &str) -> Result<EnvFilter, String> {
    if said.trim().is_empty() {
        return Ok(EnvFilter::new(format!("{UNHEARD},{level}")));
    }
    // A word that is no level would be taken for a part of exeat of which all is told, and of the others nothing.
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    let is_known = said.split(',').all(|word| word.contains('=') || is_level(word));
    match EnvFilter::try_new(format!("{UNHEARD},{said}")) {
        Ok(filter) if is_known => Ok(filter),
        _ => {
            Err(format!("{VARIABLE} is {}: it must be off, error, warn, info, debug or trace", quoted(said)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_level_is_refused_and_nothing_is_the_usual_one() {
        for (said, expected) in [
            ("", Some("hickory_proto=off,info")),
            (" ", Some("hickory_proto=off,info")),
            ("debug", Some("hickory_proto=off,debug")),
            ("WARN", Some("hickory_proto=off,warn")),
            ("off", Some("hickory_proto=off,off")),
            ("warn,exeat::server=debug", Some("hickory_proto=off,exeat::server=debug,warn")),
            ("info,hickory_proto=warn", Some("hickory_proto=warn,info")),
            ("verbose", None),
            ("inof", None),
            ("7", None),
            ("exeat", None),
            ("exeat=verbose", None),
        ] {
            let filter = read(said, "info").map(|filter| filter.to_string());
            assert_eq!(filter.as_deref().ok(), expected, "{said}");
        }
        assert_eq!(
            read("inof", "info").unwrap_err(),
            "EXEAT_LOG is \"inof\": it must be off, error, warn, info, debug or trace"
        );
    }
}
