//! What exeat asks of the operating system.
