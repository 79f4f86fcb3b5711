//! What must hold: the invariants of docs/ARCHITECTURE.md by their numbers.

use chrono::TimeDelta;

use crate::decide::by_name::serving_name;
use crate::engine::clock::Utc;
use crate::model::{
    ContainerId, ContainerState, Digest, FailureReason, JobKind, NOWHERE, Quarantine, Strategy, Time, label,
};

use super::world::{APP, Made, Nature, World};

/// Probes that the gate asks for (`fixtures::app`).
const PROBES: u32 = 3;

/// A request that finds nobody looks again for so long.
const CONNECTING: TimeDelta = TimeDelta::seconds(1);

impl World {
    fn broke(&mut self, law: &str, made: &Made) {
        let crash = self.crash;
        let tail = self.trace.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n  ");
        self.broken.push(format!("{law}: {} ({:?}), crash {crash:?}\n  {tail}", made.name, made.state));
    }

    pub(super) fn active(&self) -> Vec<&ContainerId> {
        let app: crate::model::AppName = APP.parse().expect("a name");
        self.table.apps.get(&app).iter().flat_map(|entry| &entry.active).map(|target| &target.container).collect()
    }

    pub(super) fn is_active(&self, id: &ContainerId) -> bool {
        self.active().contains(&id)
    }

    pub(super) fn is_busy(&self, id: &ContainerId) -> bool {
        (self.is_active(id) && !self.is_held()) || self.busy.get(id).is_some_and(|until| *until > Utc::now())
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some_and(|until| until > Utc::now())
    }

    /// Of `hold`: never two at once, whatever a crash came between, unless a person made it so.
    pub(super) fn run_once(&mut self) {
        let alive = |made: &&Made| {
            made.label(label::JOB).is_none()
                && matches!(made.state, ContainerState::Running | ContainerState::Restarting)
        };
        let alive: Vec<Made> = self.containers.iter().filter(alive).cloned().collect();
        if let [first, _, ..] = alive.as_slice()
            && self.strategy == Strategy::Hold
            && !self.touched
        {
            self.broke(&format!("twice: {:?} run at once", self.all()), first);
        }
    }

    /// 3: traffic moves only to what has passed its gate, or follows the name.
    pub(super) fn may_serve(&mut self, id: &ContainerId) {
        let Some(made) = self.find(id).cloned() else { return };
        if self.routed && made.name == APP && made.runs() {
            return;
        }
        if !made.answers() || made.answered < PROBES {
            self.broke(&format!("3: {} probes were answered by what gets the traffic", made.answered), &made);
        }
    }

    /// A job of a kind never runs beside another of it, and a version only after its own.
    fn jobs_in_order(&mut self, made: &Made) {
        let kind = |made: &Made| made.label(label::JOB).map(str::to_owned);
        if let Some(own) = kind(made) {
            let twice = |other: &&Made| other.id != made.id && other.runs() && kind(other).as_ref() == Some(&own);
            if self.containers.iter().any(|other| twice(&other)) {
                self.broke("jobs: two run at the same time", made);
            }
            if made.started.is_some() {
                self.broke("jobs: one that has ended is started again", made);
            }
            return;
        }
        let first = self.images.first().is_some_and(|image| image.digest == made.image);
        let done = self.done.contains(&(JobKind::PreDeploy, made.image.to_string()));
        if self.jobs && !first && !done && !self.touched {
            self.broke("jobs: a version is started whose pre_deploy has not succeeded", made);
        }
    }

    /// What has ended by itself is noted.
    pub(super) fn note_job(&mut self, index: usize) {
        let Some(made) = self.containers.get(index).filter(|made| made.state == ContainerState::Exited) else { return };
        let kind = made.label(label::JOB).and_then(JobKind::named).filter(|_| made.code == 0);
        if let (Some(kind), Some(digest)) = (kind, made.label(label::DIGEST).map(str::to_owned)) {
            self.done.insert((kind, digest));
        }
    }

    /// At the end each job has run at least once.
    pub(super) fn jobs_are_done(&mut self, pushed: &Digest, lasts: bool) {
        let after = if lasts { JobKind::PostDeploy } else { JobKind::FailedDeploy };
        if !self.done.contains(&(after, pushed.to_string())) {
            let (all, trace) = (self.all(), self.trace.join("\n  "));
            self.broken.push(format!("jobs: {} was never run; there are {all:?}\n  {trace}", after.label()));
        }
    }

    /// 9: what is quarantined is not started again by itself.
    pub(super) fn may_start(&mut self, id: &ContainerId) {
        let Some(made) = self.find(id).cloned() else { return };
        self.jobs_in_order(&made);
        if made.label(label::JOB).is_some() {
            return;
        }
        // What has failed in service may be all that there is until the one before it is back.
        let served = |entry: &Quarantine| entry.failure.reason == FailureReason::FailedInWatch;
        let failed = self.memory.quarantine.iter().any(|entry| entry.digest == made.image && !served(entry));
        if failed && made.name != APP && !self.is_active(id) && !self.touched {
            self.broke("9: what failed is started again", &made);
        }
    }

    /// 3, of `hold`: the address of what was stopped may be given to what is started now, and must not be in the table.
    pub(super) fn may_have_an_address(&mut self, id: &ContainerId) {
        let app: crate::model::AppName = APP.parse().expect("a name");
        let named = self.table.apps.get(&app).and_then(|entry| entry.active.first()).cloned();
        let (Some(named), Some(made)) = (named, self.find(id).cloned()) else { return };
        let stopped = self.find(&named.container).is_some_and(|old| !old.runs());
        let by_us = self.successors(&named.container).next().is_some();
        if self.strategy == Strategy::Hold && named.container != *id && stopped && by_us && named.addr.port() != NOWHERE
        {
            self.broke("3: it may get the address that the table has for another", &made);
        }
    }

    /// 4 and 5: nothing busy is stopped, and nothing that serves before what replaces it is there and was looked at.
    pub(super) fn may_stop(&mut self, id: &ContainerId) {
        let Some(made) = self.find(id).cloned() else { return };
        if !made.runs() {
            return;
        }
        if !self.strategy.is_by_name() {
            if self.is_active(id) && !self.is_held() {
                self.broke("4: what serves is stopped", &made);
            } else if self.is_busy(id) {
                self.broke("4: it is stopped with requests in flight", &made);
            } else if self.is_active(id) && !self.has_successor(id) && !self.touched {
                self.broke("5: what serves is stopped before its successor is there", &made);
            }
            return;
        }
        if self.routed && self.strategy == Strategy::Overlap && !self.touched {
            if self.is_active(id) {
                self.broke("4: what gets requests is stopped", &made);
            } else if self.is_busy(id) {
                self.broke("4: it is stopped with requests in flight", &made);
            }
        }
        if made.name != APP {
            return;
        }
        let strategy = self.strategy;
        let proved = self.successors(id).any(|next| {
            next.inspected && (strategy != Strategy::Overlap || (next.answers() && next.answered >= PROBES))
        });
        if !proved && !self.touched {
            self.broke("5: what serves is stopped before its successor has proved itself", &made);
        }
    }

    fn successors(&self, id: &ContainerId) -> impl Iterator<Item = &Made> {
        self.containers.iter().filter(|next| next.label(label::REPLACES) == Some(&id.0))
    }

    fn has_successor(&self, id: &ContainerId) -> bool {
        self.successors(id).any(|next| next.inspected)
    }

    /// 15, and that no container is lost: the one that serves is never removed, and one that a person made only after
    /// its successor has its name.
    pub(super) fn may_remove(&mut self, id: &ContainerId) {
        let Some(made) = self.find(id).cloned() else { return };
        if self.strategy.is_by_name() && made.name == APP {
            self.broke("15: what has the name is removed", &made);
        }
        let successor = self.named(serving_name(&made.name)).is_some_and(|serving| serving.id != *id);
        if made.label(label::OWNER).is_none() && !successor {
            self.broke("15: a person's container is removed", &made);
        }
    }

    /// Measures how long nothing serves, and how long requests fail.
    pub(super) fn measure(&mut self, now: Time) {
        let serves = match self.strategy {
            Strategy::Proxy | Strategy::Hold => {
                let active = self.active();
                if active.is_empty() {
                    return;
                }
                let answers = self.containers.iter().any(|made| active.contains(&&made.id) && made.answers());
                match (answers || self.is_held(), self.failing) {
                    (false, None) => self.failing = Some(now),
                    (true, Some(since)) => {
                        self.failed = self.failed.max(now - since);
                        self.failing = None;
                    }
                    _ => {}
                }
                answers && !self.is_held()
            }
            _ => self.containers.iter().any(|made| serving_name(&made.name) == APP && made.answers()),
        };
        match (serves, self.down) {
            (false, None) => self.down = Some(now),
            (true, Some(since)) => {
                self.gap = self.gap.max(now - since);
                self.down = None;
            }
            _ => {}
        }
    }

    /// What serves now.
    pub(super) fn serving(&self) -> Vec<Made> {
        match self.strategy {
            Strategy::Proxy | Strategy::Hold => {
                self.containers.iter().filter(|made| self.is_active(&made.id)).cloned().collect()
            }
            _ => self.named(APP).into_iter().cloned().collect(),
        }
    }

    /// 6, 7 and the policies: at rest there is exactly what is wanted, as it was. `expected` is the digest that serves.
    pub(super) fn at_rest(&mut self, expected: &Digest, policy: &str, longest: TimeDelta) {
        let all = self.serving();
        let Some(serving) = all.first().cloned() else {
            self.broken.push(format!("6: nothing serves; there are {:?}\n  {}", self.all(), self.trace.join("\n  ")));
            return;
        };
        let named = if self.strategy.is_by_name() { all.len() } else { self.active().len() };
        if all.len() != self.replicas || named != self.replicas {
            self.broke(&format!("6: {} serve instead of {}", all.len(), self.replicas), &serving);
        }
        for serving in &all {
            if serving.image != *expected || !serving.answers() {
                self.broke(&format!("6: {} serves instead of {}", serving.image.short(), expected.short()), serving);
            }
            if serving.policy_name() != policy {
                let found = serving.policy_name();
                self.broke(&format!("6: its restart policy is {found} instead of {policy}"), serving);
            }
        }
        if self.routed && !self.is_active(&serving.id) {
            self.broke(&format!("6: the requests go to {:?} instead", self.active()), &serving);
        }
        self.no_orphans(&all);
        if self.gap > longest {
            self.broke(&format!("6: nothing served for {} ms", self.gap.num_milliseconds()), &serving);
        }
        if self.strategy == Strategy::Hold && self.failed > CONNECTING && !self.touched && longest < TimeDelta::days(1)
        {
            self.broke(&format!("requests failed for {} ms", self.failed.num_milliseconds()), &serving);
        }
        let open: Vec<String> = self.memory.open().iter().map(|id| id.0.clone()).collect();
        if !open.is_empty() {
            self.broke(&format!("history: swaps that never ended: {}", open.join(", ")), &serving);
        }
    }

    /// 7: beside what serves there is at most the last one that failed, and that has ended for good.
    pub(super) fn no_orphans(&mut self, all: &[Made]) {
        let Some(serving) = all.first() else { return };
        let serves = |made: &&Made| all.iter().any(|serving| serving.id == made.id);
        let others: Vec<Made> = self.containers.iter().filter(|made| !serves(made)).cloned().collect();
        let others: Vec<Made> = others.into_iter().filter(|made| self.belongs(made)).collect();
        let failed = |made: &Made| made.name.contains(".failed-");
        if others.iter().filter(|made| failed(made)).count() > 1 {
            self.broke("7: more than one failed candidate is kept", serving);
        }
        for made in &others {
            let ended = matches!(made.state, ContainerState::Exited | ContainerState::Created);
            // A person may have started what had failed, or given it another policy.
            let ended = (ended && made.policy_name() == "no") || self.touched;
            if !failed(made) || !ended {
                self.broke(&format!("7: {} is left over, policy {}", made.name, made.policy_name()), made);
            }
        }
    }

    fn belongs(&self, made: &Made) -> bool {
        match self.strategy {
            _ if made.label(label::JOB).is_some() => true,
            Strategy::Proxy | Strategy::Hold => made.label(label::APP) == Some(APP),
            _ => serving_name(&made.name) == APP,
        }
    }

    /// Names, states and images, for a message.
    pub(super) fn all(&self) -> Vec<String> {
        let one =
            |made: &Made| format!("{} {} {:?} {}", made.name, made.state.label(), made.nature, made.policy_name());
        self.containers.iter().map(one).collect()
    }
}

/// True for an image that must end up serving.
pub(super) fn lasts(nature: Nature) -> bool {
    nature == Nature::Good
}
