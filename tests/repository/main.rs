//! Holds what people read and install to what the program does: documents, unit, image, licences.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod alerts;
mod deploy;
mod documents;
mod fuzzing;
mod interfaces;
mod licences;
mod serving;

use std::fs;
use std::path::Path;

/// A file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
