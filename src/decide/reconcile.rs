//! Observation → decision, behind the proxy: strategies `proxy` and `hold`.
//!
//! The proxy's table says what serves, the containers' labels say what exists and why; both survive us. What an
//! earlier run left half-way is therefore found by looking, and finished or undone by an ordinary plan. The
//! order of the questions is the order of danger: first what endangers the service, then what is left over, then
//! what is new.

use crate::model::{Container, ContainerId, ContainerState, Decision, Digest, Health, Origin, Plan, PlanReason, Step};

mod candidates;
mod in_turns;
mod replicas;

pub use super::observation::{Observation, Parked, Wanted, serving};
use super::{by_name, jobs, watch};

/// The name under which a failed candidate is kept for inspection: `shop.failed-7`. The name is the record that
/// it failed, so that the verdict survives the loss of everything else.
pub const FAILED: &str = ".failed-";

/// True for a candidate that failed and is kept for inspection.
pub fn is_failed(container: &Container) -> bool {
    container.name.contains(FAILED)
}

/// Says what to do now.
pub fn decide(seen: &Observation<'_>) -> Decision {
    let decision = if let Origin::Adopted { container } = &seen.app.origin {
        by_name::decide(seen, container)
    } else {
        let view = View::of(seen);
        match view.serving.first().copied() {
            Some(serving) if view.in_turns() => view.alone(view.beside_in_turns(serving)),
            None if view.in_turns() => view.alone(view.without_service_in_turns()),
            Some(serving) => view.beside(serving),
            None => view.without_service(),
        }
    };
    match decision {
        Decision::Act(plan) => Decision::Act(plan),
        settled => jobs::owed(seen).map_or(settled, act),
    }
}

/// The containers sorted by what they are.
struct View<'a> {
    seen: &'a Observation<'a>,
    revision: u64,
    /// What the table names, as far as it is there, by generation and number.
    serving: Vec<&'a Container>,
    /// Neither serving nor failed, by generation and number.
    others: Vec<&'a Container>,
    /// Failed, by generation.
    failed: Vec<&'a Container>,
}

impl<'a> View<'a> {
    fn of(seen: &'a Observation<'a>) -> Self {
        let active = |id: &ContainerId| seen.entry.is_some_and(|e| e.active.iter().any(|t| t.container == *id));
        let usable = |c: &&Container| !matches!(c.state, ContainerState::Dead | ContainerState::Removing);
        let mut all: Vec<&Container> = seen.containers.iter().filter(usable).collect();
        all.sort_by_key(|c| (c.owned.generation, c.owned.number()));
        let (serving, rest): (Vec<&Container>, Vec<&Container>) = all.into_iter().partition(|c| active(&c.id));
        let (failed, others) = rest.into_iter().partition(|c| is_failed(c));
        Self { seen, revision: seen.entry.map_or(0, |entry| entry.revision), serving, others, failed }
    }

    /// Something serves, or is at least in the table; `serving` is the first of it.
    fn beside(&self, serving: &Container) -> Decision {
        let unfinished = self.finish(serving);
        if !self.serving.iter().any(|c| alive(c)) {
            // With the version before it still warm the bake fails at once, and the traffic goes back.
            return match unfinished.filter(|plan| !plan.fallback.is_empty()) {
                Some(plan) => act(plan),
                None => self.serving_stopped(serving),
            };
        }
        if let Some(plan) = unfinished {
            return act(plan);
        }
        // What is gone must not be in the table when something else is started, which may get its address. One that has
        // failed in its watch stays there until that is seen to.
        if watch::failing(self.seen).is_none()
            && let Some(plan) = self.withdraw()
        {
            return act(plan);
        }
        if let Some(plan) = self.clear(Some(serving)) {
            return act(plan);
        }
        if let Some(candidates) = self.resumable(Some(serving)) {
            return act(self.resume(&candidates));
        }
        if let Some(decision) = self.watched() {
            return decision;
        }
        if let Some(plan) = self.withdraw() {
            return act(plan);
        }
        match self.compare(serving) {
            Decision::Act(plan) => Decision::Act(plan),
            settled => self.complete().unwrap_or(settled),
        }
    }

    /// What serves has failed soon after it went into service: the version before it comes back.
    fn watched(&self) -> Option<Decision> {
        watch::decide(self.seen, |digest| {
            let mut plan = self.deploy(digest, PlanReason::WatchFailed);
            // What is bad is nothing to go back to.
            plan.fallback = Vec::new();
            plan.steps.retain(|step| !matches!(step, Step::Bake { .. }));
            plan
        })
    }

    /// Nothing of what should serve runs. Something newer may be the cure; otherwise it is started. One of a group is started
    /// first: what is newer is to come with the others.
    fn serving_stopped(&self, serving: &Container) -> Decision {
        if let Some(decision) = self.watched() {
            return decision;
        }
        if let Some(digest) = self.seen.wanted.digest.as_ref()
            && *digest != serving.owned.digest
            && self.seen.forbids(digest).is_none()
            && (self.seen.app.group.is_none() || self.seen.backing_off(&serving.owned.digest).is_some())
        {
            return act(self.deploy(digest, PlanReason::TagMoved));
        }
        if let Some(hold) = self.seen.backing_off(&serving.owned.digest) {
            return Decision::Hold(hold);
        }
        if self.in_turns() {
            return act(self.back_in_service(serving));
        }
        let steps = vec![Step::Start, Step::Gate, Step::Switch { expect: self.revision }];
        let all: Vec<&Container> = self.serving.iter().copied().take(self.wanted()).collect();
        act(self.plan(PlanReason::ServingLost, &all, steps))
    }

    /// The proxy does not know what serves, or that is gone: the oldest container that ran in service takes over,
    /// never the newest; then a candidate that can be carried on; then a new one. Of several one is enough to begin with:
    /// none of the others can keep it away, and they join it by the next look.
    fn without_service(&self) -> Decision {
        let unarmed = self.seen.app.container.restart.label() != "no";
        let armed = |c: &&&Container| c.started.is_some() && !(unarmed && c.restart_policy == "no");
        let rank = |c: &&&Container| (!c.is_running(), c.health == Some(Health::Unhealthy), c.owned.generation);
        if let Some(incumbent) = self.others.iter().filter(armed).min_by_key(rank) {
            if let Some(hold) = self.seen.backing_off(&incumbent.owned.digest) {
                return Decision::Hold(hold);
            }
            let steps = vec![Step::Start, Step::Gate, Step::Switch { expect: self.revision }];
            return act(self.plan(PlanReason::RouteRestored, &[incumbent], steps));
        }
        if let Some(plan) = self.clear(None) {
            return act(plan);
        }
        if let Some(candidates) = self.resumable(None) {
            return act(self.resume(&candidates));
        }
        let Some(digest) = &self.seen.wanted.digest else { return Decision::Hold(self.seen.registry_unknown()) };
        let lost = self.seen.entry.is_some_and(|entry| !entry.active.is_empty());
        let reason = if lost { PlanReason::ServingLost } else { PlanReason::FirstDeployment };
        // What is lost is made anew, whatever the gates say of it by now.
        let recovers = lost && self.seen.has_served(digest);
        match if recovers { self.seen.obstacle(digest) } else { self.seen.forbids(digest) } {
            None => act(self.deploy(digest, reason)),
            Some(hold) => self.again(lost, digest).unwrap_or(Decision::Hold(hold)),
        }
    }

    /// What is wanted waits at a gate, and what served is lost: that comes back meanwhile.
    fn again(&self, lost: bool, wanted: &Digest) -> Option<Decision> {
        let last = self.seen.admission.served.first().filter(|last| lost && *last != wanted)?;
        let gated = self.seen.obstacle(wanted).is_none() && self.seen.obstacle(last).is_none();
        gated.then(|| act(Plan { tag: None, watched: false, ..self.deploy(last, PlanReason::ServingLost) }))
    }

    /// Older containers beside the one that serves: a swap was committed and not finished.
    fn finish(&self, serving: &Container) -> Option<Plan> {
        let old: Vec<&Container> =
            self.others.iter().copied().filter(|c| c.owned.generation < serving.owned.generation).collect();
        if old.is_empty() {
            return None;
        }
        let entry = self.seen.entry?;
        let ids: Vec<ContainerId> = old.iter().map(|c| c.id.clone()).collect();
        let baked = entry.since + self.seen.app.timing.bake;
        let before: Vec<&Container> =
            old.iter().copied().filter(|c| entry.previous.iter().any(|target| target.container == c.id)).collect();
        // One that must never run twice is not kept warm.
        let warm = !self.in_turns() && (self.seen.now < baked || !before.iter().any(|c| self.baked(c)));
        let fallback: Vec<ContainerId> =
            before.iter().filter(|c| warm && c.is_running()).map(|c| c.id.clone()).collect();
        let mut steps = Vec::new();
        if !fallback.is_empty() {
            // A crash took part of the window: what is left of it counts, but at least half, so that the new
            // version is really watched.
            let least = self.seen.now + self.seen.app.timing.bake / 2;
            steps.push(Step::Bake { until: Some(baked.max(least)) });
        }
        steps.extend(Self::retirement(ids));
        steps.extend(jobs::prepared(self.seen, serving));
        let mut plan = self.plan(PlanReason::FinishedSwap, &self.serving, steps);
        plan.fallback = fallback;
        plan.previous = old.last().map(|c| c.owned.digest.clone());
        Some(plan)
    }

    /// True when the bake has passed for certain, however long ago it should have ended: what served before loses its
    /// restart policy only then.
    fn baked(&self, old: &Container) -> bool {
        self.seen.app.container.restart.label() != "no" && old.restart_policy == "no"
    }

    /// Candidates that will not be carried on, and all failed ones but the last.
    fn clear(&self, serving: Option<&Container>) -> Option<Plan> {
        let keep: Vec<&ContainerId> = self.resumable(serving).into_iter().flatten().map(|c| &c.id).collect();
        let newer = |c: &&&Container| serving.is_none_or(|s| c.owned.generation > s.owned.generation);
        let stale = self.others.iter().filter(newer).filter(|c| !keep.contains(&&c.id));
        let failed = self.failed.iter().rev().skip(1);
        let ids: Vec<ContainerId> = stale.chain(failed).map(|c| c.id.clone()).collect();
        let subject = serving.or(self.others.last().copied()).or(self.failed.last().copied())?;
        if ids.is_empty() {
            return None;
        }
        // One that the traffic was moved away from again may still be answering.
        let answered = |id: &&ContainerId| {
            self.seen.entry.is_some_and(|entry| entry.previous.iter().any(|target| target.container == **id))
        };
        let draining: Vec<ContainerId> = ids.iter().filter(answered).cloned().collect();
        let mut steps = vec![Step::Drain { containers: draining.clone() }];
        steps.retain(|_| !draining.is_empty());
        steps.extend([Step::Stop { containers: ids.clone() }, Step::Retire { containers: ids }]);
        Some(self.plan(PlanReason::ClearedLeftovers, &[subject], steps))
    }

    /// Nothing is left over: is what serves what is wanted?
    fn compare(&self, serving: &Container) -> Decision {
        let Some(digest) = &self.seen.wanted.digest else { return Decision::Hold(self.seen.registry_unknown()) };
        let is_new = *digest != serving.owned.digest;
        let reason = if is_new {
            if self.seen.wanted.pinned.is_some() { PlanReason::Pinned } else { PlanReason::TagMoved }
        } else if serving.owned.spec != self.seen.spec {
            PlanReason::ConfigurationChanged
        } else if self.seen.forced {
            PlanReason::Forced
        } else {
            return self.seen.settled();
        };
        let objection = if is_new { self.seen.forbids(digest) } else { self.seen.obstacle(digest) };
        match objection {
            Some(hold) => Decision::Hold(hold),
            None => act(self.deploy(digest, reason)),
        }
    }

    /// A whole swap.
    fn deploy(&self, digest: &Digest, reason: PlanReason) -> Plan {
        let mut steps = vec![Step::Create, Step::Compare];
        steps.extend(self.takeover());
        let last = self.seen.containers.iter().map(|c| c.owned.generation).max();
        let tabled = self.seen.entry.and_then(|e| e.active.iter().map(|t| t.generation).max());
        let (generation, swap) = jobs::number(self.seen, digest, last.max(tabled));
        Plan {
            swap,
            reason,
            strategy: self.seen.app.strategy,
            strategy_reason: self.seen.app.strategy_reason.clone(),
            digest: digest.clone(),
            tag: self.seen.wanted.tag.clone(),
            generation,
            serving: ids(&self.serving),
            fallback: ids(&self.serving),
            previous: self.serving.first().map(|c| c.owned.digest.clone()),
            candidates: Vec::new(),
            missing: self.missing(&[]),
            stay: Vec::new(),
            watched: watch::is_watched(self.seen, reason),
            steps: jobs::around(self.seen, reason, steps),
        }
    }

    /// From a created candidate to the end.
    fn takeover(&self) -> Vec<Step> {
        if let Some(serving) = self.serving.first().filter(|_| self.in_turns()) {
            return self.turns(serving);
        }
        let mut steps = vec![Step::Start, Step::Gate, Step::Arm, Step::Switch { expect: self.revision }];
        if !self.serving.is_empty() {
            steps.push(Step::Bake { until: None });
            steps.extend(Self::retirement(ids(&self.serving)));
        }
        steps
    }

    fn retirement(containers: Vec<ContainerId>) -> [Step; 3] {
        [
            Step::Drain { containers: containers.clone() },
            Step::Stop { containers: containers.clone() },
            Step::Retire { containers },
        ]
    }

    /// A plan about containers that exist, all of one version.
    fn plan(&self, reason: PlanReason, subjects: &[&Container], steps: Vec<Step>) -> Plan {
        let subject = &subjects.first().expect("a plan about containers has one").owned;
        let others = self.serving.iter().copied().filter(|c| subjects.iter().all(|subject| subject.id != c.id));
        let others: Vec<&Container> = others.collect();
        Plan {
            swap: subject.swap.clone(),
            reason,
            strategy: self.seen.app.strategy,
            strategy_reason: self.seen.app.strategy_reason.clone(),
            digest: subject.digest.clone(),
            tag: self.seen.wanted.tag.clone(),
            generation: subject.generation,
            serving: ids(&self.serving),
            fallback: ids(&others),
            previous: others.first().map(|c| c.owned.digest.clone()),
            candidates: ids(subjects),
            missing: Vec::new(),
            stay: Vec::new(),
            watched: subject.watched,
            steps,
        }
    }
}

fn ids(containers: &[&Container]) -> Vec<ContainerId> {
    containers.iter().map(|c| c.id.clone()).collect()
}

/// Running, or about to be started again by the engine: not ours to interfere with.
fn alive(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

fn act(plan: Plan) -> Decision {
    Decision::Act(Box::new(plan))
}

#[cfg(test)]
mod tests;
