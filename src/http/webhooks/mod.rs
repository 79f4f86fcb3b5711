//! Webhooks: a registry or a CI job says that something was pushed.
//!
//! A delivery goes to `/hooks/<id>`, where `id` names a configured receiver; what kind of sender it is comes
//! from the configuration and is never guessed. The answer never depends on the content: an authentic delivery
//! is put into a bounded queue and answered with 202 at once, since senders jam, drop or switch off a hook that
//! answers otherwise. One task takes deliveries from the queue, reads them and gives the engine *hints*: where
//! to look. Nothing in a delivery is believed: no digest, no image and no app in it is ever deployed.

mod distribution;
mod generic;
mod queue;
mod receive;
mod receiver;
#[cfg(test)]
mod tests;

pub use queue::{HintSink, HookWorker, build};
pub use receive::HooksState;
pub(super) use receive::receive;
pub use receiver::{HookAuth, HookKind, HookReceiver};
