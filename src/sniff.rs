//! Reads what the first bytes of a connection say.
