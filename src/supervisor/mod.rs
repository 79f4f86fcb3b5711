//! `tagboat run`: owns the listening sockets, keeps an agent and a proxy alive, and passes signals on.
//!
//! It speaks no HTTP and touches no container, so that there is nothing in it to go wrong: as long as it lives, a
//! connection that comes while the proxy is being restarted waits in the socket's queue and is refused by nobody. Its
//! children see that it has died by the end of their standard input, and end in order.

mod child;
mod handover;
mod relieved;
mod run;
#[cfg(test)]
mod stub;

pub use child::{GAVE_UP, RESTART};
pub use handover::{NotTaken, is_successor, successor_file};
pub use relieved::Relieved;
pub use run::{Config, Error, Listeners, Reload, Upgrade, run};
