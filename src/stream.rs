//! A connection whose first bytes may already have been read.
