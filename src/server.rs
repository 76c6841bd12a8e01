//! Binds every listener, then serves until told to stop.
