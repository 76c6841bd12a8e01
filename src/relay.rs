//! Moves bytes both ways between two sockets until both sides are done.
