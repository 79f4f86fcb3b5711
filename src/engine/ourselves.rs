//! The container that we run in, and the next one that takes over from it.
//!
//! Who swaps it is the old one's agent up to the start of the next one, and the next one's from there on: it finds the swap
//! as it would after a crash, and finishes it. Neither ever stops the container that it runs in. Two that can't run at the
//! same time are taken turns with by a third (`relief`).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::clock::Utc;
use crate::model::{ContainerId, Failure, FailureReason, Quarantine, Stage, Time};

use super::Ports;
use super::executor::LOG_LINES;
use super::observer::chain;

/// Writes down which container takes over, or that none does.
pub type Announce = Arc<dyn Fn(Option<&ContainerId>) -> std::io::Result<()> + Send + Sync>;

/// The container that we run in. The next one takes over from it while it runs.
#[derive(Clone)]
pub struct Own {
    /// It.
    pub id: ContainerId,
    /// Called with the next one before that is started: nobody else may take over.
    pub announce: Announce,
    /// Cancelled when ours is the next one and not good enough: whoever runs us gives its place back.
    pub give_up: CancellationToken,
    /// Our program's place in the container.
    pub program: String,
    /// The configuration file's.
    pub config: String,
    /// Since when nobody has had our place, if we were started in that of another one.
    pub away_since: Option<Time>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Quarantines the version of a container that was to take over and did not, unless somebody has done so already.
pub async fn did_not_take_over(ports: &Ports, next: &ContainerId, reason: FailureReason, why: &str) {
    let (next, _) = match ports.engine.inspect(next).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(container = next.short(), "what did not take over can't be looked at: {}", chain(&error));
            return;
        }
    };
    let owned = next.owned;
    let failure = Failure {
        stage: Stage::Gate,
        reason,
        message: format!("the next tagboat did not take over: {why}"),
        log_tail: ports.engine.logs(&next.id, LOG_LINES).await.unwrap_or_default(),
    };
    let known = ports.store.quarantine(&owned.app).unwrap_or_default();
    if owned.swap.0.is_empty() || known.iter().any(|entry| entry.digest == owned.digest) {
        return;
    }
    tracing::error!(app = owned.app.as_str(), digest = owned.digest.short(), "{}", failure.message);
    let quarantine =
        Quarantine { digest: owned.digest, at: Utc::now(), failure, spec: Some(owned.spec), swap: Some(owned.swap) };
    if let Err(error) = ports.store.put_quarantine(&owned.app, &quarantine) {
        tracing::error!(app = owned.app.as_str(), "the failure is not remembered: {}", chain(&error));
    }
}
