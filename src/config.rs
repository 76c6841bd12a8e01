//! Settings: what a person wrote, what it means, and every mistake in it at once.
