//! Names to addresses, by exeat's own resolver.
