//! The queue of announced pushes and the one task that acts on them.

use std::sync::Arc;

use chrono::Utc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::auth::Checker;
use super::board::HookBoard;
use super::debounce::Debounce;
use super::fetch::{Fetch, Library};
use super::pending::{Look, Pending};
use super::receive::{Entry, HooksState};
use super::receiver::HookReceiver;
use crate::engine::{Hint, Hinter};
use crate::http::EmptySecret;
use crate::metrics::Metrics;
use crate::model::{Event, EventKind};
use crate::ports::Store;

/// Deliveries that may wait; the worker takes microseconds for one.
pub(super) const QUEUE: usize = 256;
/// Bodies read and checked at the same time; what their senders have not sent yet costs no memory.
const READERS: usize = 64;
/// How often what waits for a look is looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// Acts on deliveries; to be run as one task.
pub struct HookWorker {
    queue: mpsc::Receiver<Vec<Hint>>,
    engine: Hinter,
    pending: Arc<Pending>,
    debounce: Debounce,
    /// What an earlier run left behind, until an app is there that it concerns: adopted ones are found after the start.
    late: Vec<Hint>,
}

/// The state for [`hooks_router`](crate::http::hooks_router) and the worker that empties its queue; nothing
/// runs until the worker does.
///
/// # Errors
/// The id of a receiver whose secret is empty.
pub fn build(
    receivers: Vec<HookReceiver>,
    engine: Hinter,
    store: Arc<dyn Store>,
    fetch: Arc<dyn Fetch>,
    metrics: Metrics,
) -> Result<(HooksState, HookWorker), (String, EmptySecret)> {
    let board = HookBoard::new(receivers.iter(), metrics);
    let ready = receivers.into_iter().map(|receiver| match Checker::new(&receiver.auth, receiver.sender.facts()) {
        Ok(checker) => Ok((receiver.id.clone(), Entry { receiver, checker })),
        Err(error) => Err((receiver.id, error)),
    });
    let entries = Arc::new(ready.collect::<Result<_, _>>()?);
    let (sender, queue) = mpsc::channel(QUEUE);
    let pending = Arc::new(Pending::new(store));
    let state = HooksState {
        entries,
        queue: sender,
        readers: Arc::new(Semaphore::new(READERS)),
        library: Arc::new(Library::new(fetch)),
        pending: Arc::clone(&pending),
        recent: Arc::default(),
        engine: engine.clone(),
        board,
    };
    Ok((state, HookWorker { queue, engine, pending, debounce: Debounce::default(), late: Vec::new() }))
}

impl HookWorker {
    /// Acts on deliveries until `shutdown`; first on those that an earlier run had answered and not yet acted on. What
    /// waits at the end is left to the next run in the same way.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut events = self.engine.subscribe();
        self.late = self.pending.recall(Utc::now());
        self.act_on_late();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.debounce.next();
            tokio::select! {
                () = shutdown.cancelled() => return,
                hints = self.queue.recv() => match hints {
                    Some(hints) => self.take(hints),
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.act_on_due(),
                event = events.recv() => match event {
                    Ok(event) => self.happened(&event).await,
                    // What was missed the sweep finds.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = sweep.tick() => {
                    self.act_on_late();
                    self.sweep().await;
                }
            }
        }
    }

    fn take(&mut self, hints: Vec<Hint>) {
        let now = Instant::now();
        for hint in hints {
            if let Some(hint) = self.debounce.offer(hint, now) {
                self.engine.hint(&hint);
            }
        }
    }

    fn act_on_late(&mut self) {
        self.late.retain(|hint| {
            let concerned = self.engine.hint(hint) > 0;
            if concerned {
                tracing::info!(repository = %hint.repository, "a push that was announced before the start is looked at");
            }
            !concerned && self.pending.has(hint)
        });
    }

    fn act_on_due(&mut self) {
        for hint in self.debounce.due(Instant::now()) {
            self.engine.hint(&hint);
        }
    }

    /// A look strikes off what it was had for.
    async fn happened(&self, event: &Event) {
        let EventKind::Checked { result, digest, .. } = &event.kind else { return };
        let look = Look { app: &event.app, at: event.at, changed: result == "changed", digest: digest.as_ref() };
        let concerns = |hint: &Hint| self.engine.concerned(hint).contains(look.app);
        if self.pending.looked(&look, concerns) {
            self.pending.write().await;
        }
    }

    /// Strikes off pushes whose every app has looked since, and those that concern no app any more.
    async fn sweep(&self) {
        if self.pending.is_empty() {
            return;
        }
        let looked = |hint: &Hint, since| {
            let apps = self.engine.concerned(hint);
            let looks = apps.iter().filter_map(|app| self.engine.last_look(app));
            looks.filter(|at| *at >= since).count() == apps.len()
        };
        if self.pending.sweep(Utc::now(), looked) {
            self.pending.write().await;
        }
    }
}
