//! The binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Faster than the C library's, and an idle tunnel takes less of it: docs/performance.md, "Build".
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    exeat::cli::run()
}
