//! What an app that moves with others does about its own decision: says where it stands, and waits until they go.

use super::{Reconciler, Reply};
use crate::decide::group::{Stance, Waiting, is_bake, is_move, stance};
use crate::engine::bus::explain;
use crate::engine::clock::Utc;
use crate::engine::group::{Call, Limits, Phase, Seat, Word, is_back, moves_on, record, take_along};
use crate::engine::looking::Seeing;
use crate::model::{Decision, EventKind, Follow, Hold, Pin, Plan, PlanReason, Step, Time};
use crate::ports::StoreError;

/// What was asked of an app that waits for others; goes on when it looks again.
#[derive(Default)]
pub(super) struct Postponed {
    pub(super) reason: Option<String>,
    pub(super) forced: bool,
    pub(super) reply: Option<Reply>,
}

impl Reconciler {
    /// What is to be done when the group is heard: the same, with a seat in the group's deployment, or nothing yet.
    /// After a failure it is only shown who is waited for. One that has its seat already keeps it, as long as it is about
    /// the same version.
    pub(super) fn together(
        &self,
        decision: Decision,
        seeing: &Seeing,
        (forced, failed): (bool, bool),
        seat: Option<Seat>,
    ) -> (Decision, Option<Seat>) {
        let (Some(board), app) = (&self.parts.group, &self.parts.app) else { return (decision, None) };
        if let (Some(seat), Decision::Act(plan)) = (seat, &decision)
            && seat.is_for(&plan.digest)
        {
            return (decision, Some(seat));
        }
        let serving = seeing.serving(app);
        let runs = serving.is_some_and(|container| container.is_running());
        let serving = serving.map(|container| container.owned.digest.clone());
        let looked = match app.follow {
            Follow::Pinned(_) => Some(Time::MAX_UTC),
            _ => self.tag.last_check.map(|(at, _)| at),
        };
        let pinned = seeing.pin.as_ref().is_some_and(|pin| pin.with.is_none() || matches!(decision, Decision::Act(_)));
        let stance = match &decision {
            // It would follow its tag if another of the group had not gone back.
            Decision::Hold(hold @ Hold::Pinned { .. }) if !pinned => Stance::Held(explain(hold)),
            decision => stance(decision, runs, pinned, explain),
        };
        let ready = matches!(stance, Stance::Ready(_));
        let switched = seeing.entry.as_ref().map(|entry| entry.since);
        board.tell(&app.name, Word { pinned, serving, switched, looked, stance });
        if ready && self.remembered(moves_on(&*self.parts.ports.store, &app.name)) == Some(true) {
            board.nudge(|other| *other != app.name);
        }
        let called = match &decision {
            Decision::Act(plan) if is_move(plan, runs) && !failed => board.call(&app.name, &plan.digest, forced),
            Decision::Act(plan) if is_move(plan, runs) => board.expect(&app.name, forced),
            Decision::Act(plan) if is_bake(plan) => board.resume(&app.name, &plan.digest),
            Decision::Act(_) => {
                board.decline(&app.name, "has something else to do first");
                return (decision, None);
            }
            Decision::Hold(hold) => {
                board.decline(&app.name, &format!("is held back: {}", explain(hold)));
                return (decision, None);
            }
            Decision::UpToDate => {
                board.decline(&app.name, "has nothing newer any more");
                return (decision, None);
            }
        };
        let Decision::Act(plan) = decision else { return (decision, None) };
        match called {
            Call::Go(seat) => (Decision::Act(plan), Some(seat)),
            Call::Alone => (Decision::Act(plan), None),
            Call::Passed => (Decision::Act(Box::new(watched(*plan))), None),
            Call::Wait(Waiting { on, message, until }) => {
                let digest = plan.digest;
                (Decision::Hold(Hold::Group { digest, waits_for: on, message, until }), None)
            }
        }
    }

    /// A version that is taken back by its watch takes along what came with it.
    pub(super) fn take_along(&self, plan: &Plan, seeing: &Seeing) {
        let (Some(board), app) = (&self.parts.group, &self.parts.app) else { return };
        let Some(failed) = seeing.serving(app).filter(|_| plan.reason == PlanReason::WatchFailed) else { return };
        let along = take_along(&*self.parts.ports.store, &app.name, failed.owned.generation);
        let along = self.remembered(along).unwrap_or_default();
        for other in &along {
            let (group, with) = (board.name.as_str(), app.name.as_str());
            tracing::warn!(
                app = other.as_str(),
                group,
                with,
                "goes back as well: it came with the version that failed"
            );
        }
        board.nudge(|other| along.contains(other));
    }

    /// What went back with another one follows its tag again once that one has moved on, or is no longer of the group.
    pub(super) fn follow_again(&self) {
        let (app, store) = (&self.parts.app.name, &*self.parts.ports.store);
        let Some(Some(Pin { with: Some(with), .. })) = self.remembered(store.pin(app)) else { return };
        let there = match &self.parts.group {
            Some(board) => board.has(&with),
            None => Some(false),
        };
        let back = match there {
            Some(true) => self.remembered(is_back(store, &with)).unwrap_or(true),
            known => known.is_none(),
        };
        if !back && self.remembered(store.put_pin(app, None)).is_some() {
            tracing::info!(app = app.as_str(), with = with.as_str(), "what it went back with has moved on: so does it");
        }
    }

    fn remembered<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        let app = self.parts.app.name.as_str();
        result.inspect_err(|error| tracing::warn!(app, error = error as &dyn std::error::Error, "{error}")).ok()
    }

    /// It can't be told what there is to be done: the others are told so.
    pub(super) fn blinded(&self, hold: &Hold) {
        let (Some(board), app) = (&self.parts.group, &self.parts.app.name) else { return };
        board.lost(app, &explain(hold));
        board.decline(app, &explain(hold));
    }

    /// The app waits for its group: what was asked of it is not forgotten. Whoever asked is told so unless it will be soon.
    pub(super) fn postpone(&mut self, hold: &Hold, reason: Option<&str>, forced: bool, reply: &mut Option<Reply>) {
        let Hold::Group { until, .. } = hold else { return };
        let reply = if until.is_some() { reply.take() } else { None };
        self.postponed = Postponed { reason: reason.map(str::to_owned), forced, reply };
    }

    /// Takes its place in the group's deployment, and says that it has begun.
    pub(super) fn seated(&self, seat: &Seat, plan: &Plan) {
        let timing = &self.parts.app.timing;
        let jobs = [&self.parts.app.jobs.pre_deploy].into_iter().flatten().map(|job| job.timeout).sum();
        let hooks = [&self.parts.app.hooks.post_start].into_iter().flatten().map(|hook| hook.timeout).sum();
        let limits = Limits {
            prepare: [timing.pull_deadline, jobs].into_iter().sum(),
            gate: [timing.healthy_deadline, hooks].into_iter().sum(),
            // What is swapped by name may have its gate yet to pass when the others are switched.
            bake: if plan.strategy.is_by_name() { timing.healthy_deadline } else { timing.bake },
        };
        let has = |wanted: fn(&Step) -> bool| plan.steps.iter().any(wanted);
        let phase = if has(|step| matches!(step, Step::Pull)) {
            Phase::Seated
        } else if has(|step| matches!(step, Step::Switch { .. } | Step::Park { .. })) {
            Phase::Prepared
        } else {
            Phase::Gated
        };
        let first = seat.begin(&plan.swap, phase, limits);
        record(&*self.parts.ports.store, &seat.record());
        if !first {
            return;
        }
        let (group, deployment) = (seat.group().clone(), seat.id().clone());
        let kind = EventKind::GroupStarted { group, deployment, members: seat.members() };
        self.parts.bus.publish(Utc::now(), &self.parts.app.name, kind);
    }

    /// Leaves it. The last to leave writes down how it ended.
    pub(super) fn unseated(&self, seat: &Seat) {
        let Some(entry) = seat.leave() else { return };
        record(&*self.parts.ports.store, &entry);
        let (group, deployment) = (entry.name, entry.id);
        let kind = EventKind::GroupEnded { group, deployment, result: entry.result, message: entry.message };
        self.parts.bus.publish(Utc::now(), &self.parts.app.name, kind);
    }
}

/// A plan whose bake has passed.
fn watched(mut plan: Plan) -> Plan {
    plan.steps.retain(|step| !matches!(step, Step::Bake { .. }));
    plan.fallback = Vec::new();
    plan
}
