//! The policy in force and its one decision: may this client go there, with what is known of it so far?

pub mod terms;
