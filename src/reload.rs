//! Watches the files that exeat was started with, and swaps the policy without a restart.
