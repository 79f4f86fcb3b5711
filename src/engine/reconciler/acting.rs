//! From what is seen to what is done about it.

use std::time::Duration;

use tokio::time::Instant;

use super::grouping::Postponed;
use super::{LAST_RETRY, Reconciler, Reply};
use crate::decide::jobs::sweep;
use crate::decide::reconcile::decide;
use crate::decide::watch::failing;
use crate::engine::asked::Answer;
use crate::engine::bus::is_swap;
use crate::engine::clock::Utc;
use crate::engine::condition::describe;
use crate::engine::executor::{Ended, Executor};
use crate::engine::group::Seat;
use crate::engine::looking::{Seeing, look};
use crate::engine::observer::chain;
use crate::engine::reconciler::FIRST_RETRY;
use crate::engine::ties::tie_up;
use crate::engine::{chance, choice, journal};
use crate::model::{
    Container, ContainerId, ContainerState, Decision, EventKind, Hold, NOWHERE, Origin, Plan, PlanReason, SeenSource,
    Step, SwapId,
};

/// One activation leads to so many plans at most (clear, finish, restore, deploy, …); more is a sign of two parties
/// that undo each other's work, which waiting helps more than speed.
const ROUNDS: usize = 8;

impl Reconciler {
    /// Looks, decides and acts until there is nothing left to do. `reply` gets the first answer that means
    /// something to whoever asked.
    pub(in crate::engine) async fn pass(
        &mut self,
        source: SeenSource,
        reason: Option<&str>,
        forced: bool,
        mut reply: Option<Reply>,
    ) {
        let Postponed { reason: asked, forced: insisted, reply: waiting } = std::mem::take(&mut self.postponed);
        let (reason, forced) = (reason.or(asked.as_deref()), forced || insisted);
        reply = reply.or(waiting);
        let mut failed = false;
        let (mut tie, mut seat) = (None, None);
        for round in 0..ROUNDS {
            let insists = forced && round == 0;
            let (decision, seeing) = match self.decide(insists).await {
                Ok(decided) => decided,
                Err(hold) => {
                    self.blinded(&hold);
                    self.settle(&Decision::Hold(hold), None, &mut reply);
                    return self.retry_later();
                }
            };
            let (decision, place) = self.together(decision, &seeing, (insists, failed), seat.take());
            seat = place;
            if let Decision::Hold(hold) = &decision {
                self.attend(hold, reason, forced, &mut reply);
                self.postpone(hold, reason, insists, &mut reply);
            }
            let Decision::Act(plan) = decision else {
                self.settle(&decision, Some(&seeing), &mut reply);
                return self.sweep(&decision, &seeing).await;
            };
            if failed {
                self.condition.show(&self.parts, &self.tag, Some(&seeing), None);
                return self.retry_later();
            }
            if tie.is_none() && self.parts.app.origin != Origin::Declared {
                let Some(held) = tie_up(&self.parts, &plan, seat.as_ref()).await else { return };
                tie = Some(held);
                // What was decided upon may have changed while we waited.
                continue;
            }
            if is_swap(plan.reason)
                && let Some(reply) = reply.take()
            {
                let _ = reply.send(Ok(Answer::Started { deployment: plan.swap.clone(), digest: plan.digest.clone() }));
            }
            self.take_along(&plan, &seeing);
            match self.execute(&plan, &seeing, source, reason, seat.take()).await {
                Ended::Succeeded => self.failures = 0,
                Ended::Failed => failed = true,
                // What it leaves open in the history is carried on, or closed like an earlier run's.
                Ended::Away => self.concluded = false,
                Ended::Interrupted => return,
            }
        }
        self.retry_later();
    }

    /// Looks and decides, and has the proxy told of a new address on the way.
    pub(in crate::engine) async fn decide(&self, forced: bool) -> Result<(Decision, Seeing), Hold> {
        let parts = &self.parts;
        self.follow_again();
        let mut seeing = look(&parts.app, &parts.ports, &self.tag, forced).await?;
        self.readdress(&seeing).await;
        let swap = SwapId(format!("{}-{:08x}", parts.app.name, chance::number()));
        let admission = self.admission(&seeing).await;
        let asked = (&admission, forced);
        let seen = seeing.observation(&parts.app, &parts.spec, asked, Utc::now(), &swap);
        if failing(&seen).is_some() {
            seeing.kept = self.kept().await;
        }
        let decision = decide(&seeing.observation(&parts.app, &parts.spec, asked, Utc::now(), &swap));
        Ok((decision, seeing))
    }

    /// A container that was restarted may have another address.
    async fn readdress(&self, seeing: &Seeing) {
        let Some(entry) = seeing.entry.as_ref().filter(|_| !self.parts.app.is_worker()) else { return };
        for target in &entry.active {
            let container = seeing.containers.iter().find(|c| c.id == target.container && c.is_running());
            let Some(container) = container else { continue };
            let stopped = target.addr.port() == NOWHERE;
            let known = !stopped && container.addresses.values().any(|ip| *ip == target.addr.ip());
            let networks = &self.parts.app.container.networks;
            let primary = networks.first().and_then(|name| container.addresses.get(name));
            let Some(ip) = primary.or_else(|| container.addresses.values().next()) else { continue };
            if known {
                continue;
            }
            let port = self.parts.app.port.filter(|_| stopped).unwrap_or(target.addr.port());
            let addr = (*ip, port).into();
            let app = &self.parts.app.name;
            match self.parts.ports.traffic.readdress(app, &container.id, addr).await {
                Ok(()) => tracing::info!(app = app.as_str(), %addr, "the container has a new address"),
                Err(error) => tracing::warn!(app = app.as_str(), "its new address is not in force: {}", chain(&error)),
            }
        }
    }

    async fn execute(
        &mut self,
        plan: &Plan,
        seeing: &Seeing,
        source: SeenSource,
        reason: Option<&str>,
        seat: Option<Seat>,
    ) -> Ended {
        let (parts, seat) = (&self.parts, seat.as_ref());
        if let Some(seat) = seat {
            self.seated(seat, plan);
        }
        let creates = plan.steps.contains(&Step::Create);
        let turn = async {
            match seat {
                Some(seat) => (seat.turn(&parts.slots).await, None).1,
                None => parts.slots.acquire().await.ok(),
            }
        };
        let _permit = tokio::select! {
            permit = turn, if creates => permit,
            () = parts.shutdown.cancelled(), if creates => return Ended::Interrupted,
            else => None,
        };
        for container in lost(plan, seeing) {
            parts.bus.publish(Utc::now(), &parts.app.name, EventKind::ServingLost { container: container.clone() });
        }
        self.condition.show(parts, &self.tag, Some(seeing), None);
        let status = &parts.status;
        let on_stage = |stage: Option<crate::model::Stage>| {
            status.send_modify(|status| {
                status.deploying = stage.map(|stage| (plan.swap.clone(), stage));
                if stage.is_some() && is_swap(plan.reason) {
                    status.state = crate::model::AppState::Deploying;
                }
            });
        };
        let executor = Executor {
            app: &parts.app,
            spec: &parts.spec,
            ports: &parts.ports,
            settings: &parts.settings,
            bus: &parts.bus,
            shutdown: &parts.shutdown,
            on_stage: &on_stage,
            seat,
        };
        let ended = executor.execute(plan, source, reason).await;
        if let Some(seat) = seat.filter(|_| ended != Ended::Interrupted) {
            self.unseated(seat);
        }
        ended
    }

    /// Nothing is left to do: says so to whoever asked, in the status and, when it is news, as an event.
    fn settle(&mut self, decision: &Decision, seeing: Option<&Seeing>, reply: &mut Option<Reply>) {
        let hold = match decision {
            Decision::Hold(hold) => Some(hold),
            _ => None,
        };
        if let Some(reply) = reply.take() {
            let _ = reply.send(Ok(describe(hold, seeing)));
        }
        if let Some(until) = hold.and_then(Hold::until) {
            let wait = (until - Utc::now()).to_std().unwrap_or_default();
            self.retry = Some(Instant::now() + wait + Duration::from_millis(50));
        }
        self.look_again_because(hold, seeing);
        if let Some(seeing) = seeing.filter(|_| !self.concluded) {
            self.concluded = true;
            let (app, store) = (&self.parts.app, &*self.parts.ports.store);
            journal::conclude(store, &app.name, seeing.serving(app).map(|c| &c.owned.swap), &seeing.quarantine);
        }
        // Before the first look there is nothing to tell.
        let asked = self.tag.last_check.is_some();
        let told = hold.filter(|hold| asked || !matches!(hold, Hold::RegistryUnknown { .. }));
        if let Some(hold) = self.condition.news(told) {
            self.parts.bus.publish(Utc::now(), &self.parts.app.name, EventKind::Held { hold });
        }
        self.condition.show(&self.parts, &self.tag, seeing, hold);
        let serving = match seeing {
            Some(seeing) if seeing.only_index_moved => self.tag.digest.clone(),
            _ => self.parts.status.borrow().deployed.as_ref().map(|deployed| deployed.digest.clone()),
        };
        choice::served(&mut self.tag, &self.parts.app, &*self.parts.ports.store, serving.as_ref());
    }

    /// Removes the containers of jobs that nobody needs any more, and what an engine that died has removed half-way.
    async fn sweep(&mut self, decision: &Decision, seeing: &Seeing) {
        self.bury(seeing).await;
        let now = Utc::now();
        let sweep = sweep(&seeing.jobs, decision, now);
        for id in &sweep.remove {
            match self.parts.ports.engine.remove(id).await {
                Ok(()) => tracing::info!(app = self.parts.app.name.as_str(), container = id.short(), "old job removed"),
                Err(error) => tracing::warn!(app = self.parts.app.name.as_str(), "an old job stays: {}", chain(&error)),
            }
        }
        if let Some(until) = sweep.again {
            let at = Instant::now() + (until - now).to_std().unwrap_or_default();
            self.retry = Some(self.retry.map_or(at, |planned| planned.min(at)));
        }
    }

    /// A container is dead when its removal was not finished. What a person made is left to that person, as long as it
    /// has its name.
    async fn bury(&self, seeing: &Seeing) {
        let app = &self.parts.app;
        let theirs = |c: &Container| matches!(&app.origin, Origin::Adopted { container } if *container == c.name);
        for dead in seeing.containers.iter().filter(|c| c.state == ContainerState::Dead && !theirs(c)) {
            match self.parts.ports.engine.remove(&dead.id).await {
                Ok(()) => tracing::info!(app = app.name.as_str(), container = dead.name, "half-removed container gone"),
                Err(error) => {
                    let (app, container) = (app.name.as_str(), dead.name.as_str());
                    tracing::warn!(app, container, "a half-removed container stays: {}", chain(&error));
                }
            }
        }
    }

    fn retry_later(&mut self) {
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(Instant::now() + wait);
    }
}

/// The containers in the table whose loss is what a plan is about.
fn lost<'a>(plan: &Plan, seeing: &'a Seeing) -> Vec<&'a ContainerId> {
    let active = seeing.entry.iter().flat_map(|entry| &entry.active).map(|target| &target.container);
    match plan.reason {
        PlanReason::ServingLost => active.take(1).collect(),
        PlanReason::ReplicasChanged => {
            let is_there = |id: &ContainerId| seeing.containers.iter().any(|c| c.id == *id && c.is_running());
            active.filter(|id| !is_there(id)).collect()
        }
        _ => Vec::new(),
    }
}
