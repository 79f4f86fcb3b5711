//! Groups: apps that move together. The tasks of a group's apps meet here, and nowhere else.
//!
//! Every member puts on its group's [`Board`] where it stands, and by the same rules (`decide::group`) each of them sees
//! when they go. Then a [`Round`] is opened, in which each has a [`Seat`]: it carries out its own plan and meets the
//! others before its candidate is made, before the switch and after the bake. The last one to arrive at the switch makes
//! it for all. Whoever fails, leaves or does not come in time ends the round for the others.
//!
//! Nothing of it outlives the agent. What must be known after a crash is in the world: whoever has a candidate and was
//! not switched comes to the board again, and apps whose table entries were switched at the same instant were switched
//! together.

mod back;
mod board;
mod chronicle;
mod round;
mod seat;

pub(super) use back::{go_back, is_back, moves_on, take_along};
pub(super) use board::{Bell, Board, Call, Groups, Word, followed};
pub(super) use chronicle::{history, record};
pub(super) use round::{Alone, Limits, Phase};
pub(super) use seat::{Meeting, Seat};

#[cfg(test)]
mod tests;
