//! From credentials to a user: what a client may send to say who it is, and what proves it. Pure, and no I/O.

mod accounts;
mod credentials;
mod groups;
mod keys;
mod password;
mod signature;
mod token;

pub use self::accounts::{Account, Accounts};
pub use self::credentials::{Credentials, CredentialsError, TOKEN_USER, is_token};
pub use self::groups::Groups;
pub use self::keys::{Algorithm, BrokenKey, Key, Keys, KeysError};
pub use self::password::Hash;
pub use self::token::{Proven, TokenError, TokenRules, check};
