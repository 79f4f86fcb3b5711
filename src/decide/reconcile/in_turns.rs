//! What is different where two versions must never run at once: the old one makes room before the new one starts, and
//! the proxy has requests wait meanwhile.
//!
//! The table names what served last until the switch, whether it runs or not. What may be found half-way: a candidate
//! that was never started beside the old one; the old one stopped and the candidate not started, running or ended; both
//! running, if a person did that. Before anything is started everything else is stopped (`alone`).

use crate::decide::container::restart_policy;
use crate::model::{Container, ContainerId, ContainerState, Decision, Plan, PlanReason, Step, Strategy};

use super::{View, act, alive};

impl<'a> View<'a> {
    pub(super) fn in_turns(&self) -> bool {
        self.seen.app.strategy == Strategy::Hold
    }

    /// Something is in the table: it serves, or has made room.
    pub(super) fn beside_in_turns(&self, serving: &Container) -> Decision {
        // It had replicas, before it was said that it must never run twice.
        if let Some(plan) = self.withdraw() {
            return act(plan);
        }
        let candidate = self.next_in_turn(Some(serving));
        if !alive(serving) {
            return match candidate {
                Some(candidate) => act(self.resume(&[candidate])),
                // It made room for one that is not carried on.
                None if self.made_room(serving) => act(self.back_in_service(serving)),
                None => self.serving_stopped(serving),
            };
        }
        if let Some(plan) = self.finish(serving) {
            return act(plan);
        }
        if let Some(plan) = self.clear_in_turns(serving) {
            return act(plan);
        }
        if let Some(candidate) = candidate {
            return act(self.resume(&[candidate]));
        }
        if self.is_disarmed(serving) {
            return act(self.back_in_service(serving));
        }
        if let Some(decision) = self.watched() {
            return decision;
        }
        self.compare(serving)
    }

    /// The table names nobody who is there. Who has made room for another has served, whatever its policy is by now.
    pub(super) fn without_service_in_turns(&self) -> Decision {
        let served = |c: &&Container| c.started.is_some() && self.has_successor(c);
        let Some(old) = self.others.iter().copied().find(served) else { return self.without_service() };
        if let Some(hold) = self.seen.backing_off(&old.owned.digest) {
            return Decision::Hold(hold);
        }
        let steps = vec![self.restoring(old), Step::Switch { expect: self.revision }];
        act(self.plan(PlanReason::RouteRestored, &[old], steps))
    }

    /// From a created candidate to the end.
    pub(super) fn turns(&self, serving: &Container) -> Vec<Step> {
        vec![
            Step::Hold { expect: self.revision },
            Step::Drain { containers: vec![serving.id.clone()] },
            Step::Park { container: serving.id.clone() },
            Step::Start,
            Step::Gate,
            Step::Arm,
            Step::Switch { expect: self.revision },
            Step::Retire { containers: vec![serving.id.clone()] },
        ]
    }

    /// What the table names is started again.
    pub(super) fn back_in_service(&self, serving: &Container) -> Plan {
        let steps = vec![Step::Hold { expect: self.revision }, self.restoring(serving)];
        self.plan(PlanReason::ServingLost, &[serving], steps)
    }

    /// The newest candidate, if it can be carried on: one that runs beside what serves must not.
    fn next_in_turn(&self, serving: Option<&Container>) -> Option<&'a Container> {
        let fits = |c: &&Container| c.state == ContainerState::Created || serving.is_none_or(|s| !alive(s));
        self.resumable(serving)?.into_iter().next().filter(fits)
    }

    /// Candidates that will not be carried on, and all failed ones but the last. What they were to replace is released
    /// if its requests wait, and gets its policy back.
    fn clear_in_turns(&self, serving: &Container) -> Option<Plan> {
        let keep = self.next_in_turn(Some(serving)).map(|c| &c.id);
        let newer = |c: &&Container| c.owned.generation > serving.owned.generation && Some(&c.id) != keep;
        let stale: Vec<&Container> = self.others.iter().copied().filter(newer).collect();
        let failed = self.failed.iter().copied().rev().skip(1);
        let ids: Vec<ContainerId> = stale.iter().copied().chain(failed).map(|c| c.id.clone()).collect();
        if ids.is_empty() {
            return None;
        }
        let mut steps = vec![Step::Stop { containers: ids.clone() }];
        if !stale.is_empty() {
            steps.push(self.restoring(serving));
        }
        steps.push(Step::Retire { containers: ids });
        Some(self.plan(PlanReason::ClearedLeftovers, &[serving], steps))
    }

    fn restoring(&self, container: &Container) -> Step {
        let restart = Some(restart_policy(self.seen.app).to_string());
        Step::Restore { container: container.id.clone(), restart }
    }

    /// It was stopped by us, or is about to be: for one that is there, or that somebody has removed since.
    fn made_room(&self, container: &Container) -> bool {
        self.has_successor(container) || self.is_disarmed(container)
    }

    fn has_successor(&self, container: &Container) -> bool {
        self.others.iter().any(|c| c.owned.replaces.as_ref() == Some(&container.id))
    }

    /// Its restart policy was taken away.
    fn is_disarmed(&self, container: &Container) -> bool {
        self.seen.app.container.restart.label() != "no" && container.restart_policy == "no"
    }

    /// Whatever a plan starts, everything else has stopped by then. What makes room does so in the plan itself.
    pub(super) fn alone(&self, decision: Decision) -> Decision {
        let Decision::Act(mut plan) = decision else { return decision };
        let starts = |step: &Step| matches!(step, Step::Start | Step::Restore { .. });
        let Some(first) = plan.steps.iter().position(starts) else { return Decision::Act(plan) };
        let known: Vec<&ContainerId> = plan.candidates.iter().chain(&plan.serving).collect();
        let stopped = |id: &ContainerId| {
            plan.steps
                .iter()
                .take(first)
                .any(|step| matches!(step, Step::Stop { containers } if containers.contains(id)))
        };
        let others = self.others.iter().chain(&self.failed).filter(|c| alive(c));
        let strays: Vec<ContainerId> =
            others.map(|c| c.id.clone()).filter(|id| !known.contains(&id) && !stopped(id)).collect();
        if !strays.is_empty() {
            plan.steps.insert(first, Step::Stop { containers: strays });
        }
        Decision::Act(plan)
    }
}

#[cfg(test)]
mod tests;
