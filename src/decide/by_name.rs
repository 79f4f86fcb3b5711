//! Observation → decision where no proxy says what serves: the container's name does.
//!
//! The container called `shop` serves. A candidate is `shop.next-7`; once it has proved itself the old one becomes
//! `shop.prev-7` and the candidate takes `shop`: that is the commit point. A crash between the two renames leaves
//! nobody with the name, and is rolled forward, because a candidate is only ever renamed to after its gate. What the
//! old one needs to come back, its restart policy, is in the candidate's labels, written before the old one is
//! touched; a candidate that has failed gives up the name `next` last, so that until then it is known that the old
//! one may still have to be put back.

use crate::model::{
    Container, ContainerId, ContainerState, Decision, Digest, Generation, Hold, Plan, PlanReason, Step, Strategy,
};

use super::observation::Observation;
use super::{jobs, watch};

const NEXT: &str = ".next-";
const PREVIOUS: &str = ".prev-";
const FAILED: &str = ".failed-";
const JOIN: &str = ".join-";
const WAS: &str = ".was-";

/// A candidate's name.
pub fn next_name(name: &str, generation: Generation) -> String {
    format!("{name}{NEXT}{generation}")
}

/// The name of a container whose successor, of this generation, has taken over.
pub fn previous_name(name: &str, generation: Generation) -> String {
    format!("{name}{PREVIOUS}{generation}")
}

/// The name of a candidate that failed and is kept for inspection.
pub fn failed_name(name: &str, generation: Generation) -> String {
    format!("{name}{FAILED}{generation}")
}

/// The name, while it is made, of a container that follows another one into its new namespaces.
pub fn join_name(name: &str, generation: Generation) -> String {
    format!("{name}{JOIN}{generation}")
}

/// The name of the one that such a container takes the place of.
pub fn was_name(name: &str, generation: Generation) -> String {
    format!("{name}{WAS}{generation}")
}

/// True for a container that is on its way to follow another, or to be removed because it has been followed.
pub fn is_following(name: &str) -> bool {
    let end = [JOIN, WAS].iter().find_map(|part| name.rsplit_once(part));
    end.is_some_and(|(base, generation)| !base.is_empty() && generation.parse::<u64>().is_ok())
}

/// The name of the one that serves, whatever part in a swap the container with `name` has.
pub fn serving_name(name: &str) -> &str {
    let base = [NEXT, PREVIOUS, FAILED, JOIN, WAS].iter().find_map(|part| {
        let (base, generation) = name.rsplit_once(part)?;
        generation.parse::<u64>().ok().map(|_| base)
    });
    base.filter(|base| !base.is_empty()).unwrap_or(name)
}

/// Says what to do now about the app whose serving container is called `name`.
pub(super) fn decide(seen: &Observation<'_>, name: &str) -> Decision {
    let roles = Roles::of(seen, name);
    match roles.serving {
        Some(serving) => roles.beside(serving),
        None => roles.without_name(),
    }
}

/// The containers by the part they have, told by their names; each by generation.
struct Roles<'a> {
    seen: &'a Observation<'a>,
    serving: Option<&'a Container>,
    candidates: Vec<&'a Container>,
    previous: Vec<&'a Container>,
    failed: Vec<&'a Container>,
}

impl<'a> Roles<'a> {
    fn of(seen: &'a Observation<'a>, name: &str) -> Self {
        let mut all: Vec<&Container> = seen.containers.iter().filter(|c| c.state != ContainerState::Removing).collect();
        all.sort_by_key(|c| c.owned.generation);
        let part = |part: &str| -> Vec<&'a Container> {
            let is = |c: &&&Container| c.name.strip_prefix(name).is_some_and(|rest| rest.starts_with(part));
            all.iter().filter(is).copied().collect()
        };
        let serving = all.iter().copied().find(|c| c.name == name);
        Self { seen, serving, candidates: part(NEXT), previous: part(PREVIOUS), failed: part(FAILED) }
    }

    /// Nobody has the name.
    fn without_name(&self) -> Decision {
        let succeeds = |c: &&Container| self.previous.iter().any(|p| c.owned.replaces.as_ref() == Some(&p.id));
        if let Some(candidate) = self.candidates.iter().rev().find(|c| succeeds(c)) {
            // It ran when it was let in; a restart of the host in between leaves it stopped, for want of its policy.
            let mut steps = vec![Step::Take { old: None }, Step::Start, Step::Arm];
            steps.extend(self.aim(candidate));
            steps.extend(Self::removal(&self.previous));
            steps.extend(jobs::prepared(self.seen, candidate));
            return act(self.plan(PlanReason::FinishedSwap, candidate, steps));
        }
        if let Some(previous) = self.previous.last() {
            let restore = Step::Restore { container: previous.id.clone(), restart: self.parked_policy(previous) };
            let mut steps = vec![Step::Take { old: None }, restore];
            steps.extend(self.aim(previous));
            return act(self.plan(PlanReason::ServingLost, previous, steps));
        }
        // What it was to replace is gone: a person removed it, or it had been started with `--rm`. It is all that is left.
        if let Some(candidate) = self.candidates.iter().rev().find(|c| c.is_running()) {
            let mut steps = vec![Step::Gate, Step::Take { old: None }, Step::Arm];
            steps.extend(self.aim(candidate));
            return act(self.plan(PlanReason::ResumedCandidate, candidate, steps));
        }
        let message = "there is no container of its name any more".to_owned();
        Decision::Hold(Hold::NotSwappable { message })
    }

    /// Somebody has the name: first what is left over, then what is new.
    fn beside(&self, serving: &'a Container) -> Decision {
        if !self.previous.is_empty() {
            let mut steps = vec![Step::Start, Step::Arm];
            steps.extend(self.aim(serving));
            steps.extend(Self::removal(&self.previous));
            steps.extend(jobs::prepared(self.seen, serving));
            return act(self.plan(PlanReason::FinishedSwap, serving, steps));
        }
        if let Some(candidate) = self.resumable(serving) {
            return act(self.resume(candidate, serving));
        }
        if let Some(plan) = self.clear(serving) {
            return act(plan);
        }
        let parked = self.seen.parked;
        if parked.is_some_and(|parked| serving.owned.replaces.as_ref() == Some(&parked.container)) {
            // It has taken over and was not armed yet; a person has taken what it replaced.
            return act(self.plan(PlanReason::FinishedSwap, serving, vec![Step::Start, Step::Arm]));
        }
        if let Some(parked) = parked.filter(|parked| parked.container == serving.id) {
            // Somebody has removed the candidate that it made room for.
            let restore = Step::Restore { container: serving.id.clone(), restart: Some(parked.restart.clone()) };
            return act(self.plan(PlanReason::ServingLost, serving, vec![restore]));
        }
        let back = |digest: &Digest| self.deploy(digest, PlanReason::WatchFailed, serving);
        if let Some(decision) = watch::decide(self.seen, back) {
            return decision;
        }
        if let Some(aim) = self.aim(serving).filter(|_| serving.state == ContainerState::Running) {
            return act(self.plan(PlanReason::RouteRestored, serving, vec![aim]));
        }
        if !matches!(serving.state, ContainerState::Running | ContainerState::Restarting) {
            let state = serving.state.label();
            let message = format!("its container is {state}: it is left so, and swapped once it runs again");
            return Decision::Hold(Hold::NotSwappable { message });
        }
        self.compare(serving)
    }

    /// The newest candidate, if it is to replace what serves, is still wanted and has not ended.
    fn resumable(&self, serving: &Container) -> Option<&'a Container> {
        let candidate = self.candidates.last().copied()?;
        let replaces = candidate.owned.replaces.as_ref() == Some(&serving.id);
        let wanted = self.seen.wanted.digest.as_ref() == Some(&candidate.owned.digest);
        let usable = matches!(candidate.state, ContainerState::Created | ContainerState::Running);
        let alone = self.candidates.len() == 1;
        let allowed = self.seen.obstacle(&candidate.owned.digest).is_none();
        (replaces && wanted && usable && alone && allowed).then_some(candidate)
    }

    fn resume(&self, candidate: &Container, serving: &Container) -> Plan {
        let mut steps = jobs::framed(self.seen, self.steps(serving));
        if candidate.state == ContainerState::Running {
            steps.retain(|step| *step != Step::Compare);
        }
        if self.aim(candidate).is_none() {
            steps.retain(|step| !matches!(step, Step::Switch { .. }));
        }
        let mut plan = self.plan(PlanReason::ResumedCandidate, candidate, steps);
        plan.serving = vec![serving.id.clone()];
        plan.fallback = vec![serving.id.clone()];
        plan.previous = Some(serving.owned.digest.clone());
        plan
    }

    /// Candidates that will not be carried on, and all failed ones but the last. What they were to replace is put
    /// back first, if it was already parked.
    fn clear(&self, serving: &Container) -> Option<Plan> {
        let failed = self.failed.iter().rev().skip(1);
        let gone: Vec<&Container> = self.candidates.iter().chain(failed).copied().collect();
        if gone.is_empty() {
            return None;
        }
        let ids: Vec<ContainerId> = gone.iter().map(|c| c.id.clone()).collect();
        let mut steps = vec![Step::Stop { containers: ids.clone() }];
        let away = self.candidates.iter().any(|c| c.owned.replaces.as_ref() == Some(&serving.id));
        if away {
            let restore = Step::Restore { container: serving.id.clone(), restart: self.parked_policy(serving) };
            // Those that can run side by side take over from each other without a gap.
            let at = if self.overlaps() { 0 } else { steps.len() };
            steps.insert(at, restore);
        }
        // What is stopped must get no request any more, as long as there is something else to send them to.
        let at = if self.overlaps() { steps.len() - 1 } else { steps.len() };
        let aim = self.aim(serving).filter(|_| away || serving.is_running());
        if let Some(aim) = aim {
            steps.insert(at, aim);
            if self.overlaps() {
                steps.insert(at + 1, Step::Drain { containers: ids.clone() });
            }
        }
        steps.push(Step::Retire { containers: ids });
        Some(self.plan(PlanReason::ClearedLeftovers, serving, steps))
    }

    fn compare(&self, serving: &Container) -> Decision {
        let Some(digest) = &self.seen.wanted.digest else { return Decision::Hold(self.seen.registry_unknown()) };
        let is_new = *digest != serving.owned.digest;
        let reason = if is_new {
            if self.seen.wanted.pinned.is_some() { PlanReason::Pinned } else { PlanReason::TagMoved }
        } else if self.seen.forced {
            PlanReason::Forced
        } else {
            return self.seen.settled();
        };
        let objection = if is_new { self.seen.forbids(digest) } else { self.seen.obstacle(digest) };
        match objection {
            Some(hold) => Decision::Hold(hold),
            None => act(self.deploy(digest, reason, serving)),
        }
    }

    /// A whole swap.
    fn deploy(&self, digest: &Digest, reason: PlanReason, serving: &Container) -> Plan {
        let last = self.seen.containers.iter().map(|c| c.owned.generation).max();
        let mut steps = vec![Step::Create];
        steps.extend(self.steps(serving));
        let (generation, swap) = jobs::number(self.seen, digest, last);
        Plan {
            swap,
            reason,
            strategy: self.seen.app.strategy,
            strategy_reason: self.seen.app.strategy_reason.clone(),
            digest: digest.clone(),
            tag: self.seen.wanted.tag.clone(),
            generation,
            serving: vec![serving.id.clone()],
            fallback: vec![serving.id.clone()],
            previous: Some(serving.owned.digest.clone()),
            candidates: Vec::new(),
            missing: vec![1],
            stay: Vec::new(),
            watched: watch::is_watched(self.seen, reason),
            steps: jobs::around(self.seen, reason, steps),
        }
    }

    /// From a created candidate to the end.
    fn steps(&self, serving: &Container) -> Vec<Step> {
        let park = Step::Park { container: serving.id.clone() };
        let mut steps = vec![Step::Compare];
        let switch = self.is_routed().then_some(Step::Switch { expect: self.revision() });
        if self.overlaps() {
            steps.extend([Step::Start, Step::Gate]);
            if let Some(switch) = switch {
                steps.extend([
                    switch,
                    Step::Bake { until: None },
                    Step::Drain { containers: vec![serving.id.clone()] },
                ]);
            }
            steps.push(park);
        } else {
            steps.extend([park, Step::Start, Step::Gate]);
            steps.extend(switch);
        }
        let follow = Step::Follow { container: serving.id.clone() };
        steps.extend([Step::Take { old: Some(serving.id.clone()) }, Step::Arm, follow]);
        steps.push(Step::Retire { containers: vec![serving.id.clone()] });
        steps
    }

    /// Its requests come through the proxy, which follows the name: it is told of a candidate that has passed its gate
    /// before that takes over, and of what serves whenever it says otherwise.
    fn is_routed(&self) -> bool {
        !self.seen.app.routes.is_empty()
    }

    fn overlaps(&self) -> bool {
        self.seen.app.strategy == Strategy::Overlap
    }

    fn revision(&self) -> u64 {
        self.seen.entry.map_or(0, |entry| entry.revision)
    }

    /// What sends the app's requests to this container alone, unless they go there.
    fn aim(&self, to: &Container) -> Option<Step> {
        let active = self.seen.entry.map(|entry| entry.active.as_slice()).unwrap_or_default();
        let aimed = matches!(active, [only] if only.container == to.id);
        (self.is_routed() && !aimed).then(|| Step::Switch { expect: self.revision() })
    }

    /// What is left to do about those that were replaced.
    fn removal(containers: &[&Container]) -> Vec<Step> {
        let ids: Vec<ContainerId> = containers.iter().map(|c| c.id.clone()).collect();
        let mut steps = vec![Step::Stop { containers: ids.clone() }];
        steps.extend(ids.iter().map(|id| Step::Follow { container: id.clone() }));
        steps.push(Step::Retire { containers: ids });
        steps
    }

    /// The restart policy that a parked container had: as its latest successor was told.
    fn parked_policy(&self, parked: &Container) -> Option<String> {
        let mut successors = self.serving.iter().chain(&self.failed).chain(&self.candidates).rev();
        let told = successors.find(|c| c.owned.replaces.as_ref() == Some(&parked.id));
        let remembered = self.seen.parked.filter(|known| known.container == parked.id);
        told.and_then(|c| c.owned.restart.clone()).or_else(|| Some(remembered?.restart.clone()))
    }

    /// A plan about a container that exists.
    fn plan(&self, reason: PlanReason, subject: &Container, steps: Vec<Step>) -> Plan {
        let other = self.serving.filter(|serving| serving.id != subject.id);
        // One that a person made comes from no swap.
        let own = Some(&subject.owned.swap).filter(|swap| !swap.0.is_empty());
        Plan {
            swap: own.unwrap_or(self.seen.swap).clone(),
            reason,
            strategy: self.seen.app.strategy,
            strategy_reason: self.seen.app.strategy_reason.clone(),
            digest: subject.owned.digest.clone(),
            tag: self.seen.wanted.tag.clone(),
            generation: subject.owned.generation,
            serving: self.serving.iter().map(|serving| serving.id.clone()).collect(),
            fallback: other.iter().map(|serving| serving.id.clone()).collect(),
            previous: other.map(|serving| serving.owned.digest.clone()),
            candidates: vec![subject.id.clone()],
            missing: Vec::new(),
            stay: Vec::new(),
            watched: subject.owned.watched,
            steps,
        }
    }
}

fn act(plan: Plan) -> Decision {
    Decision::Act(Box::new(plan))
}

#[cfg(test)]
mod tests;
