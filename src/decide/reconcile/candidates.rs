//! Candidates that an earlier run has left: carried on where they are still wanted.

use crate::decide::jobs;
use crate::model::{Container, ContainerState, Plan, PlanReason, Step};

use super::View;

impl<'a> View<'a> {
    /// The newest candidates, if they are what is wanted and none of them has failed or ended. One that ended while
    /// nobody watched may have been ended by a restart of the host: it is made anew rather than blamed.
    pub(super) fn resumable(&self, serving: Option<&Container>) -> Option<Vec<&'a Container>> {
        let newest = self.others.last()?.owned.generation;
        let of_it = |c: &&&Container| c.owned.generation == newest;
        let fits = |c: &&Container| {
            let wanted = self.seen.wanted.digest.as_ref() == Some(&c.owned.digest);
            let usable = matches!(c.state, ContainerState::Created | ContainerState::Running);
            wanted && usable && c.owned.spec == self.seen.spec && self.seen.obstacle(&c.owned.digest).is_none()
        };
        let newer = serving.is_none_or(|s| newest > s.owned.generation) && !self.failed.iter().any(|c| of_it(&c));
        let candidates: Vec<&Container> = self.others.iter().filter(of_it).copied().collect();
        let all = newer && candidates.iter().all(fits);
        all.then(|| candidates.into_iter().take(self.wanted()).collect())
    }

    pub(super) fn resume(&self, candidates: &[&Container]) -> Plan {
        let missing = self.missing(candidates);
        let made = [Step::Pull, Step::Create].into_iter().filter(|_| !missing.is_empty());
        let mut steps: Vec<Step> = made.chain([Step::Compare]).collect();
        steps.extend(self.takeover());
        // It was compared before it was started, and may have been armed since: its policy is no difference then.
        if missing.is_empty() && candidates.iter().all(|c| c.state == ContainerState::Running) {
            steps.retain(|step| *step != Step::Compare);
        }
        let plan = self.plan(PlanReason::ResumedCandidate, candidates, jobs::framed(self.seen, steps));
        Plan { missing, ..plan }
    }
}
