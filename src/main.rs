//! The binary: parse the command line, run the command, report its exit code.

fn main() {}
