//! A version that served has failed: that is remembered before what served before comes back.

use crate::engine::clock::Utc;
use crate::model::{
    ContainerId, DeploymentResult, Digest, EventKind, FailureReason, Generation, Quarantine, Stage, SwapId,
};

use super::candidate::local_repository;
use super::undoing::LOG_LINES;
use super::{Stepped, Swap, chain};

impl Swap<'_> {
    /// Quarantines the version with its evidence, and sees to it that nobody goes back to it.
    pub(super) async fn condemn(
        &mut self,
        container: &ContainerId,
        generation: Generation,
        swap: &SwapId,
        digest: &Digest,
        message: &str,
    ) -> Stepped {
        let (app, ports) = (self.executor.app, self.executor.ports);
        let log_tail = ports.engine.logs(container, LOG_LINES).await.unwrap_or_default();
        let failure = self.failure(Stage::Watch, FailureReason::FailedInWatch, message.to_owned(), log_tail);
        let entry = Quarantine {
            digest: digest.clone(),
            at: Utc::now(),
            failure: failure.clone(),
            spec: Some(self.executor.spec.to_owned()),
            swap: Some(swap.clone()),
        };
        if let Err(error) = ports.store.put_quarantine(&app.name, &entry) {
            tracing::error!(app = app.name.as_str(), "the failure is not remembered over a restart: {}", chain(&error));
        }
        if let Ok(Some(mut deployment)) = ports.store.deployment(&app.name, swap) {
            deployment.result = DeploymentResult::RolledBack { failure: failure.clone() };
            if let Err(error) = ports.store.put_deployment(&app.name, &deployment) {
                tracing::warn!(app = app.name.as_str(), "the history does not say so: {}", chain(&error));
            }
        }
        let kept = format!("{}:gen-{generation}", local_repository(app));
        if let Err(error) = ports.engine.remove_image(&kept).await {
            tracing::debug!(app = app.name.as_str(), image = kept, "kept: {}", chain(&error));
        }
        let (swap, digest, back_to) = (swap.clone(), digest.clone(), self.plan.digest.clone());
        self.executor.publish(EventKind::WatchFailed { swap, digest, failure, back_to });
        Ok(message.to_owned())
    }
}
