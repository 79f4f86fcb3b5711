//! Faults, against a registry in this process that records what it is asked.

mod being_known;
mod clouds;
mod counting;
pub(crate) mod fake;
mod faults;
mod letting_in;
mod listing;
mod waiting;
mod ways;
