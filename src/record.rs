//! The audit record of a flow and where it is written.
