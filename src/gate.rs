//! The gates that judge what is inside a connection.
