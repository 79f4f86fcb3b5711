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

mod adoption;
mod asked;
mod bus;
mod chance;
mod checks;
mod choice;
mod clock;
mod condition;
#[cfg(test)]
pub(crate) mod detached;
mod executor;
#[cfg(debug_assertions)]
pub mod failpoint;
mod fleet;
mod gatekeeping;
mod group;
mod handle;
mod hinter;
mod journal;
mod looking;
mod lookout;
mod observer;
mod ourselves;
mod parking;
mod pruning;
mod pulls;
mod reconciler;
mod requests;
mod sameness;
mod signing;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod simulation;
mod ties;
mod timing;

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::ports;

pub use adoption::{Adoption, Found, Reader};
pub use asked::{Answer, Approved, DeployRequest, Hint, RequestError, RollbackTo, SignatureHint};
pub use bus::explain;
pub use fleet::Fleet;
pub use handle::Handle;
pub use hinter::Hinter;
pub use ourselves::{Announce, Own, did_not_take_over};
pub use pulls::Pulls;
pub use ties::Ties;

/// What the engine acts through.
#[derive(Clone)]
pub struct Ports {
    /// Registries.
    pub registry: Arc<dyn ports::Registry>,
    /// Containers.
    pub engine: Arc<dyn ports::Engine>,
    /// The proxy.
    pub traffic: Arc<dyn ports::Traffic>,
    /// Memory.
    pub store: Arc<dyn ports::Store>,
    /// Signatures and scans.
    pub gatekeeper: Arc<dyn ports::Gatekeeper>,
    /// Counts.
    pub metrics: Metrics,
}

/// What holds for all apps.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The value of the owner label: only containers that carry it are ever touched.
    pub owner: String,
    /// Swaps that may be under way at once; a host has one disk and a few cores.
    pub parallel_swaps: usize,
    /// Containers that live in each other's namespaces are not swapped at the same time.
    pub ties: Arc<Ties>,
    /// An image that several apps run is pulled once.
    pub pulls: Arc<Pulls>,
    /// The container that we run in, if we do.
    pub own: Option<Own>,
    /// Containers are to be adopted: until [`Fleet::seek`] has found them, nobody knows whose routes and groups they are of.
    pub adopts: bool,
}
