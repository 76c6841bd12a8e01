//! What a parent is shown to know exeat by: Basic credentials (RFC 7617), read from where only exeat can.

use std::env;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::file;
use crate::mistake::Mistake;
use crate::parent::settings::{Account, PasswordSource};

/// Longer than any password.
const SIZE_MAX: u64 = 4096;

/// The credentials in force, if the settings have some.
pub(super) struct Credentials {
    account: Option<Account>,
    header: ArcSwapOption<HeaderValue>,
}

impl Credentials {
    pub(super) fn load(account: Option<Account>) -> Result<Self, Mistake> {
        let header = account.as_ref().map(Account::header).transpose()?;
        Ok(Self { account, header: ArcSwapOption::new(header.map(Arc::new)) })
    }

    /// Reads the file again, if they come from one.
    pub(super) fn reload(&self) -> Result<(), Mistake> {
        if let Some(account) = self.account.as_ref().filter(|account| account.file().is_some()) {
            self.header.store(Some(Arc::new(account.header()?)));
        }
        Ok(())
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.account.as_ref().and_then(Account::file)
    }

    /// For `Proxy-Authorization`; marked as sensitive, so that nothing shows it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.header.load().as_deref().cloned()
    }
}

impl Account {
    fn file(&self) -> Option<&Path> {
        match &self.password {
            PasswordSource::File(path) => Some(path),
            PasswordSource::Environment(_) => None,
        }
    }

    fn header(&self) -> Result<HeaderValue, Mistake> {
        let mistake = |what: String| Mistake::error(self.place.clone(), what);
        let (password, origin) = match &self.password {
            PasswordSource::Environment(name) => {
                let password = env::var(name).map_err(|error| match error {
                    env::VarError::NotPresent => mistake(format!("the environment has no {name}"))
                        .hint("export the password before exeat starts"),
                    env::VarError::NotUnicode(_) => {
                        mistake(format!("{name} in the environment is not UTF-8"))
                    }
                })?;
                (Zeroizing::new(password), name.clone())
            }
            PasswordSource::File(path) => {
                let text = file::read(path, SIZE_MAX)
                    .map(Zeroizing::new)
                    .map_err(|error| mistake(format!("the password file {}: {error}", path.display())))?;
                let line = text.lines().next().unwrap_or_default();
                (Zeroizing::new(line.to_owned()), path.display().to_string())
            }
        };
        if password.is_empty() || password.chars().any(char::is_control) {
            let what = format!("the password in {origin} is empty, or has control characters");
            return Err(mistake(what).hint("it is one line of text"));
        }
        let pair = Zeroizing::new(format!("{}:{}", self.username, *password));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        // Base64 is always a value of a header.
        let mut header = HeaderValue::from_str(&value).map_err(|error| mistake(error.to_string()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::mistake::Place;

    #[test]
    fn a_password_is_the_first_line_of_its_file_and_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let place = Place::start(Path::new("exeat.yaml"));
        let account =
            Account { username: "Aladdin".to_owned(), password: PasswordSource::File(path.clone()), place };
        let load = || Credentials::load(Some(account.clone()));
        assert!(load().is_err_and(|mistake| mistake.to_string().contains("can't be read")));
        for text in ["", "\nopen sesame", "open\u{7}sesame"] {
            fs::write(&path, text).unwrap();
            assert!(
                load().is_err_and(|mistake| mistake.to_string().contains("is empty, or has")),
                "{text:?}"
            );
        }
        // The example of RFC 7617 §2.
        fs::write(&path, "open sesame\n").unwrap();
        let credentials = load().unwrap();
        assert_eq!(credentials.header().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{:?}", credentials.header()).contains("QWx"));

        fs::write(&path, "").unwrap();
        assert!(credentials.reload().is_err());
        assert_eq!(credentials.header().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        fs::write(&path, "x\r\nsecond line").unwrap();
        credentials.reload().unwrap();
        assert_eq!(credentials.header().unwrap(), "Basic QWxhZGRpbjp4");
    }
}
