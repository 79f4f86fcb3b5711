//! The doors to the outside: the API with the status page, the webhook receivers, and the metrics.
//!
//! Three routers on three listeners, so that only what must be public is: [`api_router`] (loopback, and the
//! Unix socket with full rights), [`hooks_router`] (what registries and CI jobs call) and [`metrics_router`].
//! [`serve`] runs any of them on a listener that somebody else has bound.
//!
//! A request is parsed here into the engine's own types and handed to [`Handle`](crate::engine::Handle); its
//! answer becomes JSON, an error becomes a [`Problem`]. No rule about deployments is made in this room, and
//! nothing that a webhook says is believed: it only makes the engine look.

mod actions;
mod apps;
mod auth;
mod body;
mod deployments;
mod events;
mod health;
mod hooks;
mod metrics;
mod page;
mod problem;
mod prune;
mod registries;
mod router;
mod serve;
mod tags;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod webhooks;

pub use actions::{ApproveRequest, Checking, LiftRequest, Lifted, RollbackRequest, Unpinned};
pub use apps::AppView;
pub use auth::{Access, EmptySecret};
pub use deployments::{DeployBody, Wanted};
pub use events::Lagged;
pub use metrics::{MetricsState, ProxyCounters, metrics_table};
pub use problem::{Problem, ProblemKind};
pub use router::{ApiState, api_router, hooks_router, metrics_router};
pub use serve::{Listener, bind_unix, serve};
