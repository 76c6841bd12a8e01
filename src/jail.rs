//! The jail of `exeat run`: namespaces in which every address is the jail's own, and only exeat's doors answer.
//!
//! Three programs take part, all of them exeat. The one that was typed stays outside, serves the doors and dials. It
//! starts a stage that makes the namespaces and, as the first process in them, [`first`], which lays everything out,
//! gives up all power, starts the command and ends everything with it. They speak over one socket pair.

mod addresses;
mod calls;
mod channel;
mod doors;
mod fault;
mod first;
mod identities;
mod masks;
mod mounted;
mod mounts;
mod network;
mod outside;
mod privileges;
mod redirect;
mod remains;
mod running;
mod stage;
mod stillness;
mod streams;

pub use addresses::{DOOR_V4, EXPLICIT_PORT};
pub use channel::{Change, Ending, Stopped};
pub use fault::Fault;
pub use first::first;
pub use outside::{Built, Plan};
pub use redirect::Redirect;
pub use running::Running;
pub use stage::stage;
