//! Webhooks: a registry or a CI job says that something was pushed.
//!
//! A delivery goes to `/hooks/<id>`, where `id` names a configured receiver; what kind of sender it is comes
//! from the configuration and is never guessed. The answer never depends on the content: an authentic delivery
//! is answered with 202 at once, since senders jam, drop or switch off a hook that answers otherwise. It is read by
//! its sender's file below `senders`, a pure function; what comes out are *hints* to the engine: where to look. They
//! are written down before the answer and struck off when the look was had. What may be a signature only wakes those who
//! wait for one, and is not written down. Nothing in a delivery is believed: no
//! digest, no image and no app in it is ever deployed.
//!
//! `receive` is the door, `auth` (with `id_token` and `sns_proof`) the proof, `queue` the one task behind it.

mod auth;
mod board;
mod debounce;
mod fetch;
mod id_token;
mod jwt_ring;
mod path;
mod pending;
mod queue;
mod reading;
mod receive;
mod receiver;
mod recent;
mod sender;
mod senders;
mod sns_proof;
#[cfg(test)]
mod tests;
mod trial;

pub use auth::HookAuth;
pub use board::{HookBoard, HookView, LastDelivery};
pub use fetch::{Fetch, HttpsFetch, Unfetched};
pub use id_token::IdTokenRules;
pub use path::{FieldPath, InvalidPath};
pub use queue::{HookWorker, build};
pub use reading::{Misread, Reading};
pub use receive::HooksState;
pub(super) use receive::{receive, receive_by_url};
pub use receiver::{Fields, HookReceiver};
pub use sender::{Proof, Sample, Sender, Subject, UnknownSender};
pub use sns_proof::{InvalidArn, TopicArn};
pub use trial::Trial;
