//! Which tag an app should follow: a list of tags → the winner, and for each of the others why it lost.
//!
//! Nothing here trusts the order of a list, a registry's idea of what is newest, or a tag's text: what can't be read is
//! left out and named, never fatal. The winner depends on the set of tags and on what was followed before, on nothing else.
//! A wish becomes a [`TagPolicy`](crate::model::TagPolicy) by [`settle`], that becomes a [`Policy`] for one look.

mod choose;
mod judge;
mod number;
mod pattern;
mod range;
mod settle;
#[cfg(test)]
mod tests;
mod version;

pub use choose::Choice;
pub use judge::{Lost, Policy, is_artifact};
pub use settle::{Wishes, Wrong, settle};
