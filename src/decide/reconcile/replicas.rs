//! How many containers of the version that serves there are, and how many there should be.
//!
//! All containers of a version have its generation and are alike: which of them serve says the table, how many it should be
//! the app's configuration. What is too much is taken from the table before it goes; what is missing is started beside the
//! others and passes the gate before it joins them. Neither is a new version, and no request notices.

use crate::model::{Container, ContainerId, ContainerState, Decision, Hold, Plan, PlanReason, Step};

use super::{View, act, alive, ids};

impl<'a> View<'a> {
    /// So many containers of a version should serve.
    pub(super) fn wanted(&self) -> usize {
        if self.in_turns() { 1 } else { self.seen.app.replicas.max(1) as usize }
    }

    /// The numbers of the containers that a version lacks which has these: the lowest that are free.
    pub(super) fn missing(&self, there: &[&Container]) -> Vec<u32> {
        let taken = |number: &u32| there.iter().any(|c| c.owned.number() == *number);
        (1..).filter(|number| !taken(number)).take(self.wanted().saturating_sub(there.len())).collect()
    }

    /// What serves and goes on doing so: as much of one version as is wanted and runs.
    fn staying(&self) -> Vec<&'a Container> {
        let mut staying: Vec<&Container> = self.serving.iter().copied().filter(|c| alive(c)).collect();
        let version = staying.first().map(|c| c.owned.generation);
        staying.retain(|c| Some(c.owned.generation) == version);
        staying.truncate(self.wanted());
        staying
    }

    /// Containers of the version that serves which do not serve, the best first.
    fn idle(&self, staying: &[&Container]) -> Vec<&'a Container> {
        let version = staying.first().map(|c| c.owned.generation);
        let siblings = self.others.iter().chain(&self.serving).copied();
        let siblings = siblings.filter(|c| Some(c.owned.generation) == version && staying.iter().all(|s| s.id != c.id));
        let mut idle: Vec<&Container> = siblings.collect();
        idle.sort_by_key(|c| (!c.is_running(), c.owned.number()));
        idle
    }

    /// It can be put into service: one that never ran has to be what would be made now.
    fn can_join(&self, idle: &Container) -> bool {
        match idle.state {
            ContainerState::Created => idle.owned.spec == self.seen.spec,
            ContainerState::Running | ContainerState::Restarting | ContainerState::Exited => true,
            ContainerState::Paused | ContainerState::Removing | ContainerState::Dead => false,
        }
    }

    /// Takes out of the table what is gone or too much, as long as something is left, and removes what nobody needs.
    pub(super) fn withdraw(&self) -> Option<Plan> {
        let entry = self.seen.entry?;
        let staying = self.staying();
        let lead = *staying.first()?;
        let named = |target: &crate::model::Target| staying.iter().any(|c| c.id == target.container);
        let switches = !entry.active.iter().all(named);
        let mut needed = self.wanted() - staying.len();
        let spare: Vec<&Container> = self
            .idle(&staying)
            .into_iter()
            .filter(|c| {
                let joins = needed > 0 && self.can_join(c);
                needed -= usize::from(joins);
                !joins
            })
            .collect();
        if !switches && spare.is_empty() {
            return None;
        }
        let mut steps = vec![Step::Switch { expect: self.revision }];
        steps.retain(|_| switches);
        let answered = |id: &&ContainerId| entry.active.iter().chain(&entry.previous).any(|t| t.container == **id);
        let spare = ids(&spare);
        let draining: Vec<ContainerId> = spare.iter().filter(answered).cloned().collect();
        if !draining.is_empty() {
            steps.push(Step::Drain { containers: draining });
        }
        if !spare.is_empty() {
            steps.extend([Step::Stop { containers: spare.clone() }, Step::Retire { containers: spare }]);
        }
        Some(self.changed(lead, &staying, &[], steps))
    }

    /// Puts what is missing into service beside what serves: what is there already, or else new ones.
    pub(super) fn complete(&self) -> Option<Decision> {
        let staying = self.staying();
        let lead = *staying.first()?;
        let lacking = self.wanted() - staying.len();
        if lacking == 0 {
            return None;
        }
        match self.seen.obstacle(&lead.owned.digest) {
            None => {}
            Some(hold @ Hold::BackingOff { .. }) => return Some(Decision::Hold(hold)),
            Some(_) => return None,
        }
        let mut joining = self.idle(&staying);
        joining.retain(|c| self.can_join(c));
        joining.truncate(lacking);
        let join = [Step::Start, Step::Gate, Step::Arm, Step::Switch { expect: self.revision }];
        if !joining.is_empty() {
            let unproved = joining.iter().any(|c| c.state == ContainerState::Created);
            let steps = unproved.then_some(Step::Compare).into_iter().chain(join).collect();
            return Some(act(self.changed(lead, &staying, &joining, steps)));
        }
        if lead.owned.spec != self.seen.spec {
            // Another configuration is another version, which waits for something.
            return None;
        }
        let steps = [Step::Pull, Step::Create, Step::Compare].into_iter().chain(join).collect();
        let plan = self.changed(lead, &staying, &[], steps);
        Some(act(Plan { missing: self.missing(&staying), ..plan }))
    }

    fn changed(&self, lead: &Container, staying: &[&Container], joining: &[&Container], steps: Vec<Step>) -> Plan {
        let plan = self.plan(PlanReason::ReplicasChanged, &[lead], steps);
        // They are like those that are there, and no version that has to prove itself for a while.
        Plan {
            candidates: ids(joining),
            stay: ids(staying),
            fallback: Vec::new(),
            previous: None,
            watched: false,
            ..plan
        }
    }
}
