//! The task of one app: waits until something activates it, looks, decides, acts, looks again.

mod acting;
mod grouping;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::clock::Utc;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{App, AppStatus, CheckResult, EventKind, SeenSource};

use super::asked::{Activation, Answer, Command, Hint, RequestError};
use super::bus::Bus;
use super::checks::Checks;
use super::condition::Condition;
use super::gatekeeping::Gatekeeping;
use super::group::Board;
use super::observer::TagView;
use super::signing::Signing;
use super::{Ports, Settings};

/// A registry that announces a tag before it can be read answers 500 while it writes it (distribution does): it is given
/// so long before it is asked.
const SETTLING: Duration = Duration::from_millis(50);

/// It may take longer: look again so long after that before leaving it to the schedule.
pub(super) const LOOK_AGAIN: [Duration; 6] = [
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

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
    /// Where it meets the apps that it moves with.
    pub(super) group: Option<Arc<Board>>,
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
    /// What was asked of it while it waits for its group.
    postponed: grouping::Postponed,
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
            postponed: grouping::Postponed::default(),
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
        if hint.as_ref().is_some_and(|hint| hint.early) {
            tokio::time::sleep(SETTLING).await;
        }
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
}
