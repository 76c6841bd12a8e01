//! Every line of a file of users is a user, a comment, or a mistake, and no mistake repeats a password.

#![no_main]

use std::path::Path;

use exeat::identity::{Accounts, Groups, Hash};
use exeat::yaml::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (users, groups) = text.split_once("\n---\n").unwrap_or((text, ""));
    let mut reader = Reader::new(Path::new("users").into());
    let groups = Groups::read(&mut reader, groups);
    reader.finish();
    let mut reader = Reader::new(Path::new("users").into());
    let accounts = Accounts::read(&mut reader, users, &groups);
    let mistakes = reader.finish();
    let lines = users.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut said = 0;
    for line in lines {
        said += 1;
        let Some((name, hash)) = line.split_once(':') else { continue };
        if let Some(user) = accounts.user(name) {
            assert_eq!(&*user.name, name);
        }
        // Names are told, and one may look like the password of another.
        let is_told =
            users.lines().any(|line| line.split(':').next().is_some_and(|name| name.contains(hash)));
        // So may what a mistake says in words of its own, which have spaces between them.
        if hash.len() > 16 && !hash.contains(' ') && !is_told {
            let told = |mistake: &exeat::mistake::Mistake| mistake.to_string().contains(hash);
            assert!(!mistakes.iter().any(told), "a mistake repeats what may be a password");
        }
        // As cheap as it gets, so that it can be tried.
        if hash.starts_with("$2y$04$") && Hash::parse(hash).is_ok() {
            assert!(bcrypt::verify(b"", hash).is_ok(), "a hash is taken that no password could fit");
        }
    }
    assert_eq!(accounts.len() + mistakes.len(), said, "{mistakes:?}");
});
