//! Carries out a plan, step by step. There is nothing left to decide here: what to do next is in the plan, what
//! to do after a failure is in `decide::undo`.
//!
//! A step that only waits may be interrupted by a shutdown; one that changes something is finished first. Either
//! way the next start finds what is there and carries on.

mod adopted;
mod candidate;
mod condemning;
mod dependents;
mod each;
mod hooks;
mod in_turns;
mod jobs;
mod making_jobs;
mod ourselves;
mod outage;
mod service;
mod together;
mod undoing;

pub(super) use candidate::{SHELF, local_repository};
pub(super) use undoing::LOG_LINES;

use std::time::Duration;

use crate::engine::clock::Utc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{
    App, Container, ContainerId, DeploymentResult, EventKind, Failure, FailureReason, JobKind, Origin, Plan,
    SeenSource, Stage, Step, Strategy, Time,
};
use crate::ports::{EngineError, EngineErrorKind};

use super::bus::{Bus, is_swap};
use super::group::{Phase, Seat};
use super::journal::Journal;
use super::observer::chain;
use super::{Ports, Settings};
use in_turns::Held;

/// Between two looks at a container that is being gated, baked or drained.
const LOOK: Duration = Duration::from_millis(250);

/// Everything a swap works with.
pub(super) struct Executor<'a> {
    pub(super) app: &'a App,
    pub(super) spec: &'a str,
    pub(super) ports: &'a Ports,
    pub(super) settings: &'a Settings,
    pub(super) bus: &'a Bus,
    pub(super) shutdown: &'a CancellationToken,
    /// Told the stage under way.
    pub(super) on_stage: &'a (dyn Fn(Option<Stage>) + Send + Sync),
    /// Its place in the deployment of its group.
    pub(super) seat: Option<&'a Seat>,
}

/// How a plan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything is done.
    Succeeded,
    /// It failed and was undone as far as it can be.
    Failed,
    /// The agent is ending; the next start carries on.
    Interrupted,
    /// The engine went away in the middle; the next look carries on.
    Away,
}

/// Why a step did not finish.
enum Halt {
    Interrupted,
    /// The engine does not answer.
    Away(String),
    Failed(FailureReason, String),
}

type Stepped = Result<String, Halt>;

/// A plan under way.
struct Swap<'a> {
    executor: &'a Executor<'a>,
    plan: &'a Plan,
    candidates: Vec<ContainerId>,
    /// The one of them that failed.
    culprit: Option<ContainerId>,
    /// Since when nothing serves, because the old version was stopped to make room.
    parked: Option<Time>,
    /// The restart policy that the old version had then.
    policy: Option<String>,
    /// How long nothing served.
    gap: Duration,
    /// What has the app's requests wait at the proxy, while they do.
    held: Option<Held>,
    /// The last lines of a job that ended just now.
    output: Vec<String>,
    /// The job that is run after a failure is to be run.
    alerts: bool,
    /// Containers of jobs whose results stand elsewhere, or will in a moment.
    used: Vec<ContainerId>,
    /// The group's deployment, as long as this plan is a part of it.
    seat: Option<&'a Seat>,
    /// The traffic has been moved back with that of the group.
    brought_back: bool,
}

impl Executor<'_> {
    /// Carries out `plan`.
    pub(super) async fn execute(&self, plan: &Plan, source: SeenSource, reason: Option<&str>) -> Ended {
        let mut journal = Journal::open(&*self.ports.store, &self.app.name, plan, source, reason);
        journal.together(self.seat);
        let started = Instant::now();
        if is_swap(plan.reason) {
            self.publish(EventKind::SwapStarted {
                swap: plan.swap.clone(),
                reason: plan.reason,
                digest: plan.digest.clone(),
                generation: plan.generation,
            });
        }
        let mut swap = Swap::new(self, plan);
        for step in &plan.steps {
            let stage = step.stage();
            journal.begin(stage);
            (self.on_stage)(Some(stage));
            self.publish(EventKind::StageStarted { swap: plan.swap.clone(), stage });
            let timer = Instant::now();
            let stepped = self.while_held(swap.held.clone(), swap.step(step)).await;
            let millis = millis(timer.elapsed());
            let stepped = match stepped {
                Err(Halt::Failed(_, message)) if self.is_engine_leaving().await => Err(Halt::Away(message)),
                stepped => stepped,
            };
            match stepped {
                Ok(note) => {
                    journal.end(millis, &note, &std::mem::take(&mut swap.output));
                    self.publish(EventKind::StageFinished { swap: plan.swap.clone(), stage, millis, note });
                    // What the job before the deployment has done stands in its container until there is a candidate.
                    if stage != Stage::PreDeploy {
                        swap.dismiss().await;
                    }
                }
                Err(Halt::Interrupted) => return Ended::Interrupted,
                Err(Halt::Away(message)) => {
                    journal.end(millis, &message, &swap.output);
                    self.while_held(swap.held.clone(), self.engine_is_back(&message)).await;
                    (self.on_stage)(None);
                    return Ended::Away;
                }
                Err(Halt::Failed(reason, message)) => {
                    journal.end(millis, &message, &swap.output);
                    swap.break_up(stage, reason, &message).await;
                    let held = swap.held.clone();
                    journal.close(self.while_held(held, swap.fail(stage, reason, message)).await);
                    if swap.alerts && swap.old_serves().await {
                        self.alert(&mut swap, &mut journal).await;
                    }
                    (self.on_stage)(None);
                    return Ended::Failed;
                }
            }
        }
        (self.on_stage)(None);
        journal.close(DeploymentResult::Succeeded);
        self.succeeded(plan, millis(started.elapsed()), millis(swap.gap));
        Ended::Succeeded
    }

    /// Runs the job that comes after a failure. A shutdown in the middle leaves it to the next start.
    async fn alert(&self, swap: &mut Swap<'_>, journal: &mut Journal<'_>) {
        let (stage, timer) = (Stage::FailedDeploy, Instant::now());
        journal.begin(stage);
        (self.on_stage)(Some(stage));
        self.publish(EventKind::StageStarted { swap: swap.plan.swap.clone(), stage });
        if let Ok(note) = swap.job(JobKind::FailedDeploy).await {
            let millis = millis(timer.elapsed());
            journal.end(millis, &note, &std::mem::take(&mut swap.output));
            self.publish(EventKind::StageFinished { swap: swap.plan.swap.clone(), stage, millis, note });
            swap.dismiss().await;
        }
    }

    fn succeeded(&self, plan: &Plan, millis: u64, gap_millis: u64) {
        if let Err(error) = self.ports.store.put_attempts(&self.app.name, None) {
            tracing::warn!(app = self.app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        }
        self.publish(EventKind::SwapSucceeded {
            swap: plan.swap.clone(),
            reason: plan.reason,
            digest: plan.digest.clone(),
            millis,
            strategy: plan.strategy,
            gap_millis,
        });
    }

    fn publish(&self, kind: EventKind) {
        self.bus.publish(Utc::now(), &self.app.name, kind);
    }
}

impl<'a> Swap<'a> {
    fn new(executor: &'a Executor<'a>, plan: &'a Plan) -> Self {
        Self {
            executor,
            plan,
            candidates: plan.candidates.clone(),
            culprit: None,
            parked: None,
            policy: None,
            gap: Duration::ZERO,
            held: None,
            output: Vec::new(),
            alerts: false,
            used: Vec::new(),
            seat: executor.seat,
            brought_back: false,
        }
    }

    async fn step(&mut self, step: &Step) -> Stepped {
        match step {
            Step::Condemn { container, generation, swap, digest, message } => {
                self.condemn(container, *generation, swap, digest, message).await
            }
            Step::Pull => self.pull().await,
            Step::Job { job } => self.job(*job).await,
            Step::Prepare { job } => self.prepare(*job).await,
            Step::Create => {
                self.meet(Phase::Prepared).await?;
                self.create().await
            }
            Step::Compare => self.compare().await,
            Step::Hold { expect } => self.hold(*expect).await,
            Step::Park { container } if self.executor.app.origin == Origin::Declared => self.make_room(container).await,
            Step::Park { container } => {
                // With traffic to move, the group has met when that was done.
                if self.executor.app.routes.is_empty() || self.plan.strategy != Strategy::Overlap {
                    self.meet_at_the_switch(None).await?;
                }
                self.park(container).await
            }
            Step::Start => self.start().await,
            Step::Gate => self.gate().await,
            Step::Arm => self.arm().await,
            Step::Follow { container } => self.follow(container).await,
            Step::Take { old } => self.take(old.as_ref()).await,
            Step::Switch { expect } => self.switch(*expect).await,
            Step::Bake { until } => {
                let note = self.bake(*until).await?;
                self.meet(Phase::Baked).await.map(|()| note)
            }
            Step::Drain { containers } => self.drain(containers).await,
            Step::Stop { containers } => self.stop(containers).await,
            Step::Retire { containers } => {
                self.stay_or_go_back().await?;
                self.retire(containers).await
            }
            Step::Restore { container, .. } if self.executor.app.origin == Origin::Declared => {
                self.serve_again(container).await
            }
            Step::Restore { container, restart } => self.restore(container, restart.as_deref()).await,
        }
    }

    /// The candidate's id, of several the first; a plan that lacks one is a bug of the planner, reported as a failure and
    /// not a panic.
    fn candidate(&self) -> Result<&ContainerId, Halt> {
        self.candidates
            .first()
            .ok_or_else(|| Halt::Failed(FailureReason::CandidateGone, "the plan has no candidate".to_owned()))
    }

    /// A container as it is now.
    async fn inspect(&self, id: &ContainerId) -> Result<Container, Halt> {
        self.executor.ports.engine.inspect(id).await.map(|(container, _)| container).map_err(Halt::from)
    }

    /// Requests wait, and what served is stopped.
    fn is_away(&self) -> bool {
        self.held.is_some() && self.parked.is_some()
    }

    /// True when what served before the failure serves on: a job can be run now without keeping it away.
    async fn old_serves(&self) -> bool {
        for old in &self.plan.serving {
            if self.inspect(old).await.is_ok_and(|container| container.is_running()) {
                return true;
            }
        }
        false
    }

    /// Waits a moment, unless the agent ends. With requests waiting and the old version away it does not: what is left
    /// to do is short, and nobody may come to do it for long.
    async fn pause(&self, duration: Duration) -> Result<(), Halt> {
        let away = self.is_away();
        tokio::select! {
            biased;
            () = self.executor.shutdown.cancelled(), if !away => Err(Halt::Interrupted),
            why = self.let_down() => Err(Halt::Failed(FailureReason::Group, why)),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }

    fn failure(&self, stage: Stage, reason: FailureReason, message: String, log_tail: Vec<String>) -> Failure {
        Failure { stage, reason, message, log_tail }
    }
}

impl From<EngineError> for Halt {
    fn from(error: EngineError) -> Self {
        let reason = match error.kind {
            EngineErrorKind::Unreachable => return Self::Away(chain(&error)),
            EngineErrorKind::NotFound => FailureReason::CandidateGone,
            EngineErrorKind::Pull => FailureReason::Pull,
            _ => FailureReason::Engine,
        };
        Self::Failed(reason, chain(&error))
    }
}

/// Milliseconds of a duration; the history does not outlive the year 584,556,019.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
