//! The history entry of the swap under way. It is memory, not truth: a store that fails is warned about once a
//! swap and never fails the swap.

use crate::engine::clock::Utc;

use crate::model::{
    AppName, Deployment, DeploymentResult, GroupPart, Plan, Quarantine, SeenSource, Stage, StepRecord, SwapId,
};
use crate::ports::Store;

use super::group::Seat;

/// Writes one deployment as it goes.
pub(super) struct Journal<'a> {
    store: &'a dyn Store,
    app: &'a AppName,
    deployment: Option<Deployment>,
    /// How it ended is known and stays so.
    ended: bool,
    complained: bool,
}

impl<'a> Journal<'a> {
    /// Opens the entry, or continues that of an earlier run. Plans that change no version have none.
    pub(super) fn open(
        store: &'a dyn Store,
        app: &'a AppName,
        plan: &Plan,
        source: SeenSource,
        reason: Option<&str>,
    ) -> Self {
        let mut journal = Self { store, app, deployment: None, ended: false, complained: false };
        let earlier = || store.deployment(app, &plan.swap).ok().flatten();
        if plan.reason == crate::model::PlanReason::JobOwed {
            // It belongs to a deployment that has ended.
            journal.deployment = earlier();
            journal.ended = true;
        }
        if !super::bus::is_swap(plan.reason) {
            return journal;
        }
        let earlier = earlier();
        let mut deployment = earlier.unwrap_or_else(|| Deployment {
            id: plan.swap.clone(),
            generation: plan.generation,
            digest: plan.digest.clone(),
            previous: plan.previous.clone(),
            source,
            reason: reason.map_or_else(|| plan.reason.label().to_owned(), ToOwned::to_owned),
            strategy: plan.strategy.label().to_owned(),
            started: Utc::now(),
            finished: None,
            result: DeploymentResult::Running,
            steps: Vec::new(),
            group: None,
        });
        deployment.result = DeploymentResult::Running;
        deployment.finished = None;
        journal.deployment = Some(deployment);
        journal.write();
        journal
    }

    /// It is a part of its group's deployment.
    pub(super) fn together(&mut self, seat: Option<&Seat>) {
        let (Some(deployment), Some(seat)) = (&mut self.deployment, seat) else { return };
        let (name, id) = (seat.group().clone(), seat.id().clone());
        deployment.group = Some(GroupPart { name, id, members: seat.members() });
        self.write();
    }

    /// A stage begins; recorded before its side effect.
    pub(super) fn begin(&mut self, stage: Stage) {
        if let Some(deployment) = &mut self.deployment {
            deployment.steps.push(StepRecord {
                stage,
                started: Utc::now(),
                millis: None,
                note: String::new(),
                output: Vec::new(),
            });
        }
        self.write();
    }

    /// The stage that began last ended.
    pub(super) fn end(&mut self, millis: u64, note: &str, output: &[String]) {
        if let Some(step) = self.deployment.as_mut().and_then(|d| d.steps.last_mut()) {
            step.millis = Some(millis);
            note.clone_into(&mut step.note);
            output.clone_into(&mut step.output);
        }
        // The job's container goes next, and its output with it; after the end nothing else is written.
        let over = self.deployment.as_ref().is_some_and(|deployment| deployment.finished.is_some());
        if !output.is_empty() || over {
            self.write();
        }
    }

    /// The swap ended.
    pub(super) fn close(&mut self, result: DeploymentResult) {
        if let Some(deployment) = self.deployment.as_mut().filter(|_| !self.ended) {
            deployment.finished = Some(Utc::now());
            deployment.result = result;
        }
        self.write();
    }

    fn write(&mut self) {
        let Some(deployment) = &self.deployment else { return };
        if let Err(error) = self.store.put_deployment(self.app, deployment)
            && !self.complained
        {
            self.complained = true;
            let error = &error as &dyn std::error::Error;
            tracing::warn!(app = self.app.as_str(), error, "the history of this swap is incomplete: {error}");
        }
    }
}

/// Closes the entries that an earlier run left open and that nothing will carry on: the agent was killed between the
/// last effect of a swap and its record, or the swap was overtaken. `serving` is the swap that made what serves.
pub(super) fn conclude(store: &dyn Store, app: &AppName, serving: Option<&SwapId>, quarantine: &[Quarantine]) {
    for mut entry in store.deployments(app, usize::MAX).unwrap_or_default() {
        if entry.result != DeploymentResult::Running {
            continue;
        }
        let failed = quarantine.iter().find(|known| known.swap.as_ref() == Some(&entry.id));
        entry.result = match failed {
            Some(known) => DeploymentResult::Failed { failure: known.failure.clone() },
            None if serving == Some(&entry.id) => DeploymentResult::Succeeded,
            None => DeploymentResult::Superseded,
        };
        entry.finished = Some(Utc::now());
        if let Err(error) = store.put_deployment(app, &entry) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(app = app.as_str(), error, "the history of an earlier swap is incomplete: {error}");
        }
    }
}
