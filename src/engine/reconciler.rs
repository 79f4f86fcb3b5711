//! The task of one app: waits until something activates it, looks, decides, acts, looks again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::clock::Utc;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::jobs::sweep;
use crate::decide::reconcile::decide;
use crate::decide::watch::symptom;
use crate::model::{
    App, AppStatus, CheckResult, Decision, EventKind, Hold, NOWHERE, Origin, Plan, PlanReason, SeenSource, Step, SwapId,
};

use super::asked::{Activation, Answer, Command, Hint, RequestError};
use super::bus::{Bus, is_swap};
use super::checks::Checks;
use super::choice;
use super::condition::{Condition, describe};
use super::executor::{Ended, Executor};
use super::gatekeeping::Gatekeeping;
use super::journal;
use super::looking::{Seeing, look};
use super::observer::{TagView, chain};
use super::signing::Signing;
use super::ties::tie_up;
use super::{Ports, Settings};

/// A registry may announce a tag before it can be read (distribution does): look again so long after a webhook
/// before leaving it to the schedule.
pub(super) const LOOK_AGAIN: [Duration; 7] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// One activation leads to so many plans at most (clear, finish, restore, deploy, …); more is a sign of two parties
/// that undo each other's work, which waiting helps more than speed.
const ROUNDS: usize = 8;

/// Waits after the first failure; doubles.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Waits at most so long after a failure.
const LAST_RETRY: Duration = Duration::from_secs(60);

pub(super) type Reply = oneshot::Sender<Result<Answer, RequestError>>;

/// What a reconciler is given.
pub(super) struct Parts {
    pub(super) app: Arc<App>,
    pub(super) spec: String,
    pub(super) ports: Ports,
    pub(super) settings: Arc<Settings>,
    pub(super) bus: Bus,
    pub(super) status: watch::Sender<AppStatus>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) activation: Arc<Activation>,
    /// Something happened to one of its containers, or to the proxy.
    pub(super) nudge: Arc<Notify>,
    /// Something was announced that may be the signature which it waits for.
    pub(super) signed: Arc<Notify>,
    /// Limits the swaps under way.
    pub(super) slots: Arc<Semaphore>,
    /// What other apps have asked of registries.
    pub(super) checks: Arc<Checks>,
    /// How many apps start with it: many are spread out in time.
    pub(super) crowd: usize,
    pub(super) shutdown: CancellationToken,
}

/// The task.
pub(super) struct Reconciler {
    pub(super) parts: Parts,
    pub(super) tag: TagView,
    pub(super) gatekeeping: Gatekeeping,
    /// When it looks for a signature that was announced.
    pub(super) signing: Signing,
    condition: Condition,
    pub(super) next_poll: Instant,
    again: VecDeque<Instant>,
    expected: Option<Hint>,
    pub(super) retry: Option<Instant>,
    failures: u32,
    /// What an earlier run left open in the history is closed.
    concluded: bool,
    /// Looks at the registry in a row that got no answer.
    pub(super) unanswered: u32,
    /// It has yet to fall out of step with those that started with it.
    pub(super) in_crowd: bool,
}

/// What woke the task.
enum Wake {
    Shutdown,
    Command(Command),
    Activated(SeenSource, Option<Hint>),
    Nudged,
    Poll,
    Again,
    Retry,
    Checked,
    Signed,
    Signing,
}

impl Reconciler {
    pub(super) fn new(parts: Parts) -> Self {
        let tag = TagView::remembered(&parts.app, &parts.ports);
        Self {
            gatekeeping: Gatekeeping::default(),
            signing: Signing::default(),
            condition: Condition::default(),
            tag,
            next_poll: Instant::now(),
            again: VecDeque::new(),
            expected: None,
            retry: None,
            failures: 0,
            concluded: false,
            unanswered: 0,
            in_crowd: parts.crowd > 1,
            parts,
        }
    }

    /// Runs until the shutdown. A swap that is under way then stops at its next safe point.
    pub(super) async fn run(mut self) {
        // What is left over from an earlier run does not wait for a registry; an app that was never looked at does.
        let asked = self.tag.digest.is_none().then(Utc::now);
        if asked.is_some() {
            self.ask(SeenSource::Start).await;
        }
        self.schedule(asked);
        self.pass(SeenSource::Start, None, false, None).await;
        loop {
            match self.wait().await {
                Wake::Shutdown => return,
                Wake::Command(command) => self.command(command).await,
                Wake::Activated(source, hint) => self.activated(source, hint).await,
                Wake::Nudged | Wake::Retry => self.pass(SeenSource::Poll, None, false, None).await,
                Wake::Poll => {
                    self.ask(SeenSource::Poll).await;
                    self.schedule(Some(Utc::now()));
                    self.pass(SeenSource::Poll, None, false, None).await;
                }
                Wake::Again => self.look_again().await,
                Wake::Checked => self.checked().await,
                Wake::Signed => self.signed(),
                Wake::Signing => self.look_for_signature().await,
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let (again, signing) = (self.again.front().copied(), self.signing.next());
        let retry = self.retry;
        let sleep = |at: Option<Instant>| async move {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let wake = tokio::select! {
            biased;
            () = self.parts.shutdown.cancelled() => Wake::Shutdown,
            Some(command) = self.parts.commands.recv() => Wake::Command(command),
            (source, hint) = self.parts.activation.next() => Wake::Activated(source, hint),
            () = self.parts.nudge.notified() => Wake::Nudged,
            () = self.parts.signed.notified() => Wake::Signed,
            () = sleep(again) => Wake::Again,
            () = sleep(signing) => Wake::Signing,
            () = sleep(retry) => Wake::Retry,
            () = self.gatekeeping.finished() => Wake::Checked,
            () = tokio::time::sleep_until(self.next_poll) => Wake::Poll,
        };
        if matches!(wake, Wake::Retry) {
            self.retry = None;
        }
        wake
    }

    async fn activated(&mut self, source: SeenSource, hint: Option<Hint>) {
        self.parts.bus.publish(Utc::now(), &self.parts.app.name, EventKind::Activated { source });
        self.gatekeeping.look_now();
        self.tag.awaited = hint.as_ref().and_then(|hint| hint.tag.clone());
        let result = self.ask(source).await;
        self.again.clear();
        self.expected = hint;
        if self.expected.is_some() && !self.agrees(result) {
            let now = Instant::now();
            self.again = LOOK_AGAIN.iter().map(|after| now + *after).collect();
        }
        self.pass(source, None, false, None).await;
    }

    /// Whether the registry now says what was announced; without a digest in the announcement, any news will do.
    fn agrees(&self, result: CheckResult) -> bool {
        if let Some(agrees) = self.tag.agrees(&self.parts.app, result) {
            return agrees;
        }
        match self.expected.as_ref().and_then(|hint| hint.digest.as_ref()) {
            Some(announced) => self.tag.digest.as_ref() == Some(announced),
            None => result == CheckResult::Changed,
        }
    }

    async fn look_again(&mut self) {
        let now = Instant::now();
        while self.again.front().is_some_and(|at| *at <= now) {
            self.again.pop_front();
        }
        let result = self.ask(SeenSource::Webhook).await;
        if self.agrees(result) {
            self.again.clear();
        }
        if result == CheckResult::Changed {
            self.pass(SeenSource::Webhook, None, false, None).await;
        }
    }

    /// Asks the registry, unless the agent ends meanwhile.
    pub(super) async fn ask(&mut self, source: SeenSource) -> CheckResult {
        let parts = &self.parts;
        let result = tokio::select! {
            result = self.tag.ask(&parts.app, &parts.ports, &parts.checks, &parts.bus, source) => result,
            () = parts.shutdown.cancelled() => CheckResult::Unknown,
        };
        let tag = &self.tag;
        self.parts.status.send_modify(|status| {
            status.last_check = tag.last_check;
            status.last_successful_check = tag.last_success;
        });
        let unknown = result == CheckResult::Unknown && self.tag.unmatched.is_none();
        self.unanswered = if unknown { self.unanswered.saturating_add(1) } else { 0 };
        self.look_sooner();
        result
    }

    /// Looks, decides and acts until there is nothing left to do. `reply` gets the first answer that means
    /// something to whoever asked.
    pub(super) async fn pass(
        &mut self,
        source: SeenSource,
        reason: Option<&str>,
        forced: bool,
        mut reply: Option<Reply>,
    ) {
        let mut failed = false;
        let mut tie = None;
        for round in 0..ROUNDS {
            let (decision, seeing) = match self.decide(forced && round == 0).await {
                Ok(decided) => decided,
                Err(hold) => {
                    self.settle(&Decision::Hold(hold), None, &mut reply);
                    return self.retry_later();
                }
            };
            if let Decision::Hold(hold) = &decision {
                self.attend(hold, reason, forced, &mut reply);
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
                let Some(held) = tie_up(&self.parts, &plan).await else { return };
                tie = Some(held);
                // What was decided upon may have changed while we waited.
                continue;
            }
            if is_swap(plan.reason)
                && let Some(reply) = reply.take()
            {
                let _ = reply.send(Ok(Answer::Started { deployment: plan.swap.clone(), digest: plan.digest.clone() }));
            }
            match self.execute(&plan, &seeing, source, reason).await {
                Ended::Succeeded => self.failures = 0,
                Ended::Failed => failed = true,
                Ended::Interrupted => return,
            }
        }
        self.retry_later();
    }

    /// Looks and decides, and has the proxy told of a new address on the way.
    pub(super) async fn decide(&self, forced: bool) -> Result<(Decision, Seeing), Hold> {
        let parts = &self.parts;
        let mut seeing = look(&parts.app, &parts.ports, &self.tag, forced).await?;
        self.readdress(&seeing).await;
        let swap = SwapId(format!("{}-{:08x}", parts.app.name, rand::random::<u32>()));
        let admission = self.admission(&seeing).await;
        let asked = (&admission, forced);
        let seen = seeing.observation(&parts.app, &parts.spec, asked, Utc::now(), &swap);
        if seen.serving().is_some_and(|serving| symptom(&seen, serving).is_some()) {
            seeing.kept = self.kept().await;
        }
        let decision = decide(&seeing.observation(&parts.app, &parts.spec, asked, Utc::now(), &swap));
        Ok((decision, seeing))
    }

    /// A container that was restarted may have another address.
    async fn readdress(&self, seeing: &Seeing) {
        let Some(entry) = &seeing.entry else { return };
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

    async fn execute(&mut self, plan: &Plan, seeing: &Seeing, source: SeenSource, reason: Option<&str>) -> Ended {
        let parts = &self.parts;
        let creates = plan.steps.contains(&Step::Create);
        let _permit = tokio::select! {
            permit = parts.slots.acquire(), if creates => permit.ok(),
            () = parts.shutdown.cancelled(), if creates => return Ended::Interrupted,
            else => None,
        };
        if plan.reason == PlanReason::ServingLost
            && let Some(lost) = seeing.entry.as_ref().and_then(|entry| entry.active.first())
        {
            let kind = EventKind::ServingLost { container: lost.container.clone() };
            parts.bus.publish(Utc::now(), &parts.app.name, kind);
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
        };
        executor.execute(plan, source, reason).await
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
        if let Some(hold) = self.condition.news(hold) {
            self.parts.bus.publish(Utc::now(), &self.parts.app.name, EventKind::Held { hold });
        }
        self.condition.show(&self.parts, &self.tag, seeing, hold);
        let serving = match seeing {
            Some(seeing) if seeing.only_index_moved => self.tag.digest.clone(),
            _ => self.parts.status.borrow().deployed.as_ref().map(|deployed| deployed.digest.clone()),
        };
        choice::served(&mut self.tag, &self.parts.app, &*self.parts.ports.store, serving.as_ref());
    }

    /// Removes the containers of jobs that nobody needs any more.
    async fn sweep(&mut self, decision: &Decision, seeing: &Seeing) {
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

    fn retry_later(&mut self) {
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(Instant::now() + wait);
    }
}
