//! Any text is settings, or has mistakes with places in it.

#![no_main]

use std::path::Path;

use exeat::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap_or(u32::MAX);
    match Settings::parse(Path::new("/etc/exeat/exeat.yaml"), text) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!((1..=lines).contains(&mistake.place.line) && mistake.place.column > 0, "{mistake}");
            }
        }
        Ok(settings) => {
            assert!(settings.dns.min_ttl <= settings.dns.max_ttl);
            assert!((8192..=1_048_576).contains(&settings.limits.head_bytes));
        }
    }
});
