//! After a failure: remember it, move the traffic back if it had moved, and put the candidate aside.
//!
//! The order matters for a crash in between: first the digest is quarantined, so that the next start does not try
//! it again, then the traffic goes back, and only a candidate that provably gets no request is stopped.

use crate::engine::chance;
use crate::engine::clock::Utc;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::decide::backoff::retry_after;
use crate::decide::container::failed_name;
use crate::decide::undo::{Undo, quarantines, undo};
use crate::model::{
    Attempts, ContainerId, DeploymentResult, EventKind, Failure, FailureReason, JobKind, PlanReason, Quarantine, Stage,
    Strategy,
};

use super::{Halt, Swap, chain};

/// Lines of a failed candidate's output that are kept as evidence.
pub(in crate::engine) const LOG_LINES: usize = 50;

impl Swap<'_> {
    /// Undoes what can be undone and says how the deployment ended.
    pub(super) async fn fail(&mut self, stage: Stage, reason: FailureReason, message: String) -> DeploymentResult {
        let log_tail = match self.witness() {
            Some(id) => self.executor.ports.engine.logs(id, LOG_LINES).await.unwrap_or_default(),
            None => std::mem::take(&mut self.output),
        };
        let failure = self.failure(stage, reason, message, log_tail);
        let quarantined = quarantines(self.plan, stage, reason);
        self.alerts = quarantined && self.owe_alert(&failure).await;
        self.remember(&failure, quarantined);
        self.dismiss().await;
        let rolled_back = match undo(self.plan, stage) {
            Undo::Leave => false,
            Undo::Abandon => {
                self.abandon().await;
                false
            }
            Undo::Dismiss => {
                if reason.blames_image() {
                    self.dismiss_culprit().await;
                }
                false
            }
            Undo::Revert => self.revert().await,
            Undo::Return if self.plan.strategy == Strategy::Hold => self.give_way().await,
            Undo::Return => self.put_back().await,
        };
        self.executor.publish(EventKind::SwapFailed {
            swap: self.plan.swap.clone(),
            digest: self.plan.digest.clone(),
            failure: failure.clone(),
            rolled_back,
            quarantined,
            strategy: self.plan.strategy,
        });
        if rolled_back { DeploymentResult::RolledBack { failure } } else { DeploymentResult::Failed { failure } }
    }

    /// Has the container of the job that is run after a failure made, before anything says that it failed: a crash in
    /// between must not lose it.
    async fn owe_alert(&self, failure: &Failure) -> bool {
        let wanted = self.executor.app.jobs.failed_deploy.is_some() && !self.plan.serving.is_empty();
        if !wanted || self.plan.reason == PlanReason::WatchFailed {
            return false;
        }
        match self.make_job(JobKind::FailedDeploy, Some(failure)).await {
            Ok(_) => true,
            Err(Halt::Interrupted) => false,
            Err(Halt::Failed(_, message) | Halt::Away(message)) => {
                tracing::warn!(app = self.executor.app.name.as_str(), "the failed_deploy job can't be made: {message}");
                false
            }
        }
    }

    fn remember(&self, failure: &Failure, quarantined: bool) {
        let (app, store) = (&self.executor.app.name, &self.executor.ports.store);
        let now = Utc::now();
        if failure.reason == FailureReason::Group {
            // It is tried again with the others, and is not to blame for them.
            return;
        }
        let written = if quarantined {
            store.put_quarantine(
                app,
                &Quarantine {
                    digest: self.plan.digest.clone(),
                    at: now,
                    failure: failure.clone(),
                    spec: Some(self.executor.spec.to_owned()),
                    swap: Some(self.plan.swap.clone()),
                },
            )
        } else {
            let before = store.attempts(app).ok().flatten().filter(|a| a.digest == self.plan.digest);
            let count = before.map_or(0, |a| a.count) + 1;
            let wait = retry_after(count, chance::fraction());
            store.put_attempts(
                app,
                Some(&Attempts {
                    digest: self.plan.digest.clone(),
                    count,
                    not_before: now + wait,
                    failure: failure.clone(),
                }),
            )
        };
        if let Err(error) = written {
            tracing::error!(app = app.as_str(), "the failure is not remembered over a restart: {}", chain(&error));
        }
    }

    /// Stops the candidates. The one that failed is kept under a name that says so; the others of its version have nothing
    /// to tell and are removed after that.
    async fn abandon(&self) {
        let Some(witness) = self.witness() else { return };
        if !self.gets_no_request(&self.candidates).await {
            // The next look decides by what the proxy says then.
            return;
        }
        // They may have served before: by an earlier run, or until just now.
        if try_join_all(self.candidates.iter().map(|id| self.drain_one(id))).await.is_err() {
            // A shutdown in the middle leaves the rest to the next start.
            return;
        }
        let name = failed_name(self.executor.app, self.plan.generation);
        let put_aside = async {
            self.stop_one(witness).await?;
            self.executor.ports.engine.rename(witness, &name).await?;
            for other in self.candidates.iter().filter(|id| *id != witness) {
                self.stop_one(other).await?;
                self.executor.ports.engine.remove(other).await?;
            }
            Ok::<_, Halt>(())
        };
        if let Err(Halt::Failed(_, message) | Halt::Away(message)) = put_aside.await {
            tracing::warn!(app = self.executor.app.name.as_str(), "the failed candidate is still there: {message}");
        }
    }

    /// Removes the one that failed to join those that serve: its last words are in the failure. The others may join them
    /// without it.
    async fn dismiss_culprit(&self) {
        let Some(culprit) = self.culprit.as_ref() else { return };
        if !self.gets_no_request(std::slice::from_ref(culprit)).await {
            return;
        }
        let removed = async {
            // It may have served a moment ago.
            self.drain_one(culprit).await?;
            self.stop_one(culprit).await?;
            self.executor.ports.engine.remove(culprit).await.map_err(Halt::from)
        };
        if let Err(Halt::Failed(_, message)) = removed.await {
            tracing::warn!(app = self.executor.app.name.as_str(), "the failed replica is still there: {message}");
        }
    }

    /// True when the proxy has said that none of the containers is active.
    pub(super) async fn gets_no_request(&self, ids: &[ContainerId]) -> bool {
        let Ok(table) = self.executor.ports.traffic.table().await else { return false };
        let entry = table.apps.get(&self.executor.app.name);
        entry.is_none_or(|entry| entry.active.iter().all(|target| !ids.contains(&target.container)))
    }

    /// Moves the traffic back. Returns whether it is back.
    async fn revert(&self) -> bool {
        let moved = self.back().await;
        if let Err(Halt::Failed(_, message) | Halt::Away(message)) = &moved {
            let app = self.executor.app.name.as_str();
            tracing::error!(app, "the traffic could not be moved back to the old version: {message}");
        }
        if moved.is_err() {
            return false;
        }
        self.abandon().await;
        true
    }

    async fn back(&self) -> Result<(), Halt> {
        let timer = Instant::now();
        let traffic = |message: String| Halt::Failed(FailureReason::Traffic, message);
        let (mut to, mut why) =
            (Vec::new(), Halt::Failed(FailureReason::Traffic, "there is no old version".to_owned()));
        for id in &self.plan.fallback {
            // Of several, those that are still there take over.
            match self.inspect(id).await.and_then(|old| self.target(&old).map_err(traffic)) {
                Ok(target) => to.push(target),
                Err(halt) => why = halt,
            }
        }
        if to.is_empty() {
            return Err(why);
        }
        let table = self.executor.ports.traffic.table().await.map_err(|error| traffic(chain(&error)))?;
        if self.is_brought_back(&self.plan.fallback, &table) {
            return Ok(());
        }
        let revision = table.apps.get(&self.executor.app.name).map_or(0, |entry| entry.revision);
        self.move_traffic(revision, &to).await?;
        tracing::info!(app = self.executor.app.name.as_str(), "traffic switched back in {}", Self::took(timer));
        Ok(())
    }
}
