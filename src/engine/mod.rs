//! The loop that keeps apps at the tags they follow.
//!
//! One reconciler task per app: something *activates* it (schedule, webhook, person, container event, start),
//! it observes the world through the ports, `decide` says what to do, the executor does it step by step, and
//! it looks again. An activation carries no input: what is deployed comes from the registry and from what a
//! person pinned, never from a hint. A swap that an earlier run left half-way is found by looking, and is
//! carried on by the same code.
//!
//! This room does not decide (that is `decide`), does not know which adapters are behind the ports, and does
//! not print. What happens leaves it as [`Event`](crate::model::Event)s and [`AppStatus`](crate::model::AppStatus).

mod handle;

pub use handle::{Answer, DeployRequest, Handle, Hint, RequestError, RollbackTo};
