//! The pure core: what should be done, given what is seen.
//!
//! Nothing in this room waits, reads a clock, an environment variable or a file, or is random: the time is an
//! argument and so is every random number. `tests/it/layers.rs` fails when that changes. All behaviour that can
//! be a function of values belongs here, so that it is tested by values.

pub mod admission;
pub mod backoff;
pub mod by_name;
pub mod compare;
pub mod container;
pub mod derive;
#[cfg(test)]
pub mod fixtures;
pub mod gate;
pub mod group;
pub mod jobs;
mod observation;
pub mod platform;
pub mod policy;
pub mod prune;
pub mod reconcile;
pub mod relief;
pub mod retention;
pub mod schedule;
pub mod strategy;
pub mod undo;
pub mod watch;
pub mod window;
