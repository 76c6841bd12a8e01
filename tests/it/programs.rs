//! Programs that people use, as they use them: each is told of the proxy in its own way, and reaches a server
//! of the test's own or learns why it can't. `tests/need.sh` installs them.

mod browser;
mod origin;
mod packages;
mod stage;
mod talks;
mod transfers;
mod users;
