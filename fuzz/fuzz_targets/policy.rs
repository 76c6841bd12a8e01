//! Any text is a policy or has mistakes with places in it; what is a policy decides, and is one again the same.

#![no_main]

use std::path::Path;

use exeat::client::Client;
use exeat::destination::Destination;
use exeat::policy::document::load_text;
use exeat::policy::{Question, Seen};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let name = Path::new("p.yaml");
    let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap_or(u32::MAX);
    match load_text(name, text) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!((1..=lines).contains(&mistake.place.line) && mistake.place.column > 0, "{mistake}");
            }
        }
        Ok(loaded) => {
            let content = loaded.content;
            let policy = loaded.builder.finish(1);
            let client = Client::supposed([10, 0, 1, 9].into());
            let subject = policy.subject(&client);
            let today = jiff::civil::date(2026, 1, 1);
            for to in ["a.example:443", "b.a.example:80", "10.0.0.1:443"] {
                let to = Destination::parse(to).unwrap();
                let question = Question { to: &to, seen: Seen::Unknown, address: None };
                let verdict = policy.decide(&subject, &question, today);
                assert!(verdict.rule.is_some() || !verdict.is_allow() || subject.reports());
            }
            assert_eq!(load_text(name, text).unwrap().content, content);
        }
    }
});
