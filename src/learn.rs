//! Policies that nobody has to write: from what was seen, or from the rules of another program.
//!
//! Records become [`Observation`]s, a [`Tally`] counts them within bounds and makes a [`Draft`] of
//! what they ask for, and a draft is written as a policy file that people can read.

pub mod audit;
mod collapse;
mod count;
pub mod draft;
mod group;
pub mod import;
mod observation;
mod options;
mod rules;
mod settle;
mod suggestion;
mod tally;
mod unusual;

pub use draft::Draft;
pub use observation::{Observation, Sight};
pub use options::{Baseline, By, Options};
pub use suggestion::Suggestion;
pub use tally::Tally;

#[cfg(test)]
mod tests;
