//! Two swaps must not touch the same container: that of one recreates what lives in its namespaces.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::decide::derive::{dependents, namespace_joins};
use crate::model::Plan;

use super::group::{Alone, Seat};
use super::reconciler::Parts;

/// Which swaps may be under way beside which.
#[derive(Debug, Default)]
pub struct Ties {
    /// Held alone by whoever swaps a container that lives in another's namespaces or lends its own: the swap of one
    /// recreates the other.
    swaps: Arc<RwLock<()>>,
    /// Who is tied to whom is looked up by one at a time: it takes a document of every container.
    looks: Mutex<()>,
}

/// Keeps other swaps away while it is held.
#[expect(dead_code, reason = "held for their drop")]
pub(super) enum Tie {
    Alone(OwnedRwLockWriteGuard<()>),
    Beside(OwnedRwLockReadGuard<()>),
    /// The group has it.
    Together(Arc<Alone>),
}

/// Whether a container lives in another's namespaces, or another in its own.
fn is_tied(id: &str, all: &[&Value]) -> bool {
    let own = all.iter().find(|document| document["Id"].as_str() == Some(id));
    own.is_some_and(|own| !namespace_joins(own).is_empty())
        || dependents(id, all).is_ok_and(|others| !others.is_empty())
}

/// Waits until no other swap can touch the same containers; `None` at the shutdown. Those of a group wait for each other
/// later on, and must not do so here.
pub(super) async fn tie_up(parts: &Parts, plan: &Plan, seat: Option<&Seat>) -> Option<Tie> {
    let swaps = parts.settings.ties.swaps.clone();
    let wait = async {
        match seat {
            Some(seat) => Tie::Together(seat.tie(&swaps).await),
            None if tied(parts, plan).await => Tie::Alone(swaps.write_owned().await),
            None => Tie::Beside(swaps.read_owned().await),
        }
    };
    parts.shutdown.run_until_cancelled(wait).await
}

/// Whether what the plan is about is tied to anything. When it can't be told, it is as well to be alone.
async fn tied(parts: &Parts, plan: &Plan) -> bool {
    let _turn = parts.settings.ties.looks.lock().await;
    let documents = parts.ports.engine.adoptable(true).await.unwrap_or_default();
    let all: Vec<&Value> = documents.iter().collect();
    let mut ids = plan.serving.iter().chain(&plan.candidates);
    documents.is_empty() || ids.any(|id| is_tied(&id.0, &all))
}
