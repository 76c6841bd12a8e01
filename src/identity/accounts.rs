//! A file of users and their passwords, as `htpasswd` writes it: `user:hash`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::client::{Means, User, check_name};
use crate::identity::credentials::TOKEN_USER;
use crate::identity::groups::Groups;
use crate::identity::password::Hash;
use crate::yaml::{At, Reader, quoted};

/// The users of a file.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: HashMap<Box<str>, Account>,
    /// Their names, to choose one for a name that nobody has.
    names: Vec<Box<str>>,
    choice: RandomState,
}

/// One user.
#[derive(Clone, Debug)]
pub struct Account {
    /// The same as long as nothing of the account changes.
    pub user: Arc<User>,
    hash: Arc<Hash>,
}

impl Accounts {
    /// Reads the text of a file; what is wrong in it goes to the reader.
    pub fn read(reader: &mut Reader, text: &str, groups: &Groups) -> Self {
        const SHAPE: &str = "write it as `user:hash`, by htpasswd -B";
        let mut read = Self::default();
        let mut lines: HashMap<&str, u32> = HashMap::new();
        for (line, number) in text.lines().zip(1..) {
            let at = At { line: number, column: 1 };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, hash)) = line.split_once(':') else {
                reader.error(at, "the line has no `:`").hint(SHAPE);
                continue;
            };
            if let Err(error) = check_name(name) {
                reader.error(at, format!("the user {} can't be used: {error}", quoted(name))).hint(SHAPE);
                continue;
            }
            if name == TOKEN_USER {
                let what = format!("the user {} can't be used: its password is a token", quoted(name));
                reader.error(at, what).hint("choose another name");
                continue;
            }
            if let Some(first) = lines.insert(name, number) {
                let what = format!("a second user named {}", quoted(name));
                reader.error(at, what).hint(format!("the first is in line {first}"));
                continue;
            }
            let column = u32::try_from(name.chars().count()).unwrap_or(u32::MAX).saturating_add(2);
            match Hash::parse(hash) {
                Ok(hash) => read.add(name, hash, groups),
                Err(what) => {
                    let what = format!("the password of {} {what}", quoted(name));
                    let hint =
                        format!("bcrypt and argon2id are known: set it anew by htpasswd -B FILE {name}");
                    reader.error(At { column, ..at }, what).hint(hint);
                }
            }
        }
        read
    }

    fn add(&mut self, name: &str, hash: Hash, groups: &Groups) {
        let user = User { name: name.into(), groups: groups.of(name).into(), means: Means::Password };
        let account = Account { user: Arc::new(user), hash: Arc::new(hash) };
        self.names.push(name.into());
        self.accounts.insert(name.into(), account);
    }

    /// Keeps the accounts of `older` that have not changed, so that what rests on them goes on. Returns whether
    /// any has changed, came or went.
    pub fn keep(&mut self, older: &Self) -> bool {
        let mut kept = 0;
        for (name, account) in &mut self.accounts {
            if let Some(old) = older.accounts.get(name)
                && old.hash == account.hash
                && old.user == account.user
            {
                account.clone_from(old);
                kept += 1;
            }
        }
        kept < self.accounts.len() || kept < older.accounts.len()
    }

    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.accounts.get(name).map(|account| &account.user)
    }

    /// The account that a password has to be compared with, and whether it is the user's own. A name that nobody
    /// has costs what some other user's costs, and each time the same: time does not tell it from one that
    /// somebody has.
    pub fn compared(&self, name: &str) -> Option<(Account, bool)> {
        if let Some(account) = self.accounts.get(name) {
            return Some((account.clone(), true));
        }
        let number = u64::try_from(self.names.len()).ok().filter(|number| *number > 0)?;
        let place = usize::try_from(self.choice.hash_one(name) % number).ok()?;
        self.accounts.get(&self.names[place]).map(|account| (account.clone(), false))
    }
}

impl Account {
    /// Whether this is its password: not for an I/O thread.
    pub fn verify(&self, password: &[u8]) -> bool {
        self.hash.verify(password)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

    use super::*;

    /// A hash with little memory.
    pub(in crate::identity) fn argon2id(password: &str) -> String {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 2, 1, None).unwrap());
        argon2.hash_password_with_salt(password.as_bytes(), b"saltsalt").unwrap().to_string()
    }

    fn read(text: &str, groups: &str) -> (Accounts, Vec<String>) {
        let mut reader = Reader::new(std::path::Path::new("users").into());
        let groups = Groups::read(&mut reader, groups);
        let accounts = Accounts::read(&mut reader, text, &groups);
        (accounts, reader.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn users_have_their_passwords_and_groups() {
        let text = format!("alice:{}\n# b\n\nbob:{}\n", bcrypt::hash("a", 4).unwrap(), argon2id("b"));
        let (accounts, mistakes) = read(&text, "ci: alice\n");
        assert_eq!((accounts.len(), mistakes), (2, Vec::new()));
        let (alice, own) = accounts.compared("alice").unwrap();
        assert!(own && alice.verify(b"a") && !alice.verify(b"b"));
        assert_eq!(*alice.user.groups, ["ci".into()]);
        let (bob, own) = accounts.compared("bob").unwrap();
        assert!(own && bob.verify(b"b") && bob.user.groups.is_empty());
    }

    #[test]
    fn a_name_that_nobody_has_is_compared_with_the_same_account_each_time() {
        let (accounts, _) = read(&format!("a:{}\nb:{}\n", argon2id("x"), bcrypt::hash("x", 4).unwrap()), "");
        for name in ["mallory", "root", "admin", ""] {
            let (first, own) = accounts.compared(name).unwrap();
            assert!(!own, "{name}");
            assert!(Arc::ptr_eq(&first.user, &accounts.compared(name).unwrap().0.user), "{name}");
        }
        assert!(Accounts::default().compared("a").is_none());
    }

    #[test]
    fn every_line_that_is_wrong_is_told_and_no_hash_repeated() {
        let good = bcrypt::hash("a", 4).unwrap();
        let text =
            format!("alice\n:{good}\nbearer:{good}\nbob:{good}\nbob:{good}\ncarol:hunter2\ndave:$apr1$x$y\n");
        let (_, mistakes) = read(&text, "");
        assert_eq!(
            mistakes,
            [
                "users:1:1: error: the line has no `:`\n  hint: write it as `user:hash`, by htpasswd -B",
                "users:2:1: error: the user \"\" can't be used: it is empty\n  hint: write it as `user:hash`, by htpasswd -B",
                "users:3:1: error: the user \"bearer\" can't be used: its password is a token\n  hint: choose another name",
                "users:5:1: error: a second user named \"bob\"\n  hint: the first is in line 4",
                "users:6:7: error: the password of \"carol\" is a hash of crypt, or the password in plain text\n  hint: bcrypt and argon2id are known: set it anew by htpasswd -B FILE carol",
                "users:7:6: error: the password of \"dave\" is an MD5 hash of Apache (apr1)\n  hint: bcrypt and argon2id are known: set it anew by htpasswd -B FILE dave",
            ]
        );
    }

    #[test]
    fn what_has_not_changed_is_kept() {
        let (a, b) = (argon2id("a"), argon2id("b"));
        let (older, _) = read(&format!("alice:{a}\nbob:{b}\n"), "ci: bob\n");
        let (mut newer, _) = read(&format!("bob:{b}\nalice:{a}\n"), "ci: bob\n");
        assert!(!newer.keep(&older));
        assert!(Arc::ptr_eq(newer.user("alice").unwrap(), older.user("alice").unwrap()));
        for (users, groups) in [
            (format!("alice:{b}\nbob:{b}\n"), "ci: bob\n"),
            (format!("bob:{b}\n"), "ci: bob\n"),
            (format!("alice:{a}\nbob:{b}\n"), "ci: bob alice\n"),
        ] {
            let (mut newer, _) = read(&users, groups);
            assert!(newer.keep(&older), "{users} {groups}");
            assert!(Arc::ptr_eq(newer.user("bob").unwrap(), older.user("bob").unwrap()));
            assert!(newer.user("alice").is_none_or(|user| !Arc::ptr_eq(user, older.user("alice").unwrap())));
        }
    }

    #[test]
    fn ten_thousand_users_are_read() {
        let hash = argon2id("x");
        let text: String = (0..10_000).map(|user| format!("user{user}:{hash}\n")).collect();
        let (accounts, mistakes) = read(&text, "");
        assert_eq!((accounts.len(), mistakes.len()), (10_000, 0));
    }
}
