//! The queue of authentic deliveries and the one task that reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::receive::{Entry, HooksState};
use super::receiver::{Checker, HookReceiver, Ignored};
use crate::engine::Hint;
use crate::http::EmptySecret;
use crate::metrics::Metrics;

/// Deliveries that may wait; a push of a large image with all its layers is some dozens.
const QUEUE: usize = 256;
/// Bytes that they may hold together.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Bodies read at the same time; what their senders have not sent yet costs no memory.
const READERS: usize = 64;

/// Takes a hint and says how many apps it concerns.
pub type HintSink = Box<dyn Fn(&Hint) -> usize + Send + Sync>;

/// A delivery that is known to be authentic.
pub(super) struct Delivery {
    pub(super) receiver: Arc<HookReceiver>,
    pub(super) body: Bytes,
    pub(super) _room: OwnedSemaphorePermit,
}

/// Reads deliveries; to be run as one task.
pub struct HookWorker {
    queue: mpsc::Receiver<Delivery>,
    sink: HintSink,
    metrics: Metrics,
    /// Hook and reason of the deliveries that were complained about: once is enough.
    told: BTreeSet<(String, String)>,
}

/// The state for [`hooks_router`](crate::http::hooks_router) and the worker that empties its queue; nothing
/// runs until the worker does.
///
/// # Errors
/// The id of a receiver whose secret is empty.
pub fn build(
    receivers: Vec<HookReceiver>,
    sink: HintSink,
    metrics: Metrics,
) -> Result<(HooksState, HookWorker), (String, EmptySecret)> {
    let ready = receivers.into_iter().map(|receiver| match Checker::new(&receiver.auth) {
        Ok(checker) => Ok((receiver.id.clone(), Entry { receiver: Arc::new(receiver), checker })),
        Err(error) => Err((receiver.id, error)),
    });
    let entries = Arc::new(ready.collect::<Result<_, _>>()?);
    let (sender, queue) = mpsc::channel(QUEUE);
    let room = Arc::new(Semaphore::new(QUEUE_BYTES));
    let readers = Arc::new(Semaphore::new(READERS));
    let state = HooksState { entries, queue: sender, room, readers, metrics: metrics.clone() };
    Ok((state, HookWorker { queue, sink, metrics, told: BTreeSet::new() }))
}

impl HookWorker {
    /// Reads deliveries until `shutdown`. What still waits then is lost: the schedule finds it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = self.queue.recv() => delivery,
                () = shutdown.cancelled() => None,
            };
            let Some(delivery) = delivery else { return };
            let result = self.process(&delivery);
            let labels = [delivery.receiver.id.as_str(), delivery.receiver.kind.label(), result];
            self.metrics.webhooks_total.with_label_values(&labels).inc();
        }
    }

    fn process(&mut self, delivery: &Delivery) -> &'static str {
        let hook = delivery.receiver.id.as_str();
        match delivery.receiver.hints(&delivery.body) {
            Ok(hints) => {
                let concerned = hints.iter().map(|hint| (self.sink)(hint)).sum::<usize>();
                let images = hints.iter().map(|hint| hint.repository.to_string()).collect::<BTreeSet<_>>();
                tracing::debug!(hook, ?images, apps = concerned, "a webhook announced a push");
                if concerned > 0 {
                    return "accepted";
                }
                let images = images.into_iter().collect::<Vec<_>>().join(", ");
                self.tell(hook, format!("no app follows what was pushed: {images}"));
            }
            Err(Ignored::Uninteresting(reason)) => tracing::debug!(hook, reason, "a webhook was not about a tag"),
            Err(Ignored::Strange(reason)) => self.tell(hook, reason),
        }
        "ignored"
    }

    /// Says once per hook and reason, as far as can be remembered, why deliveries lead to nothing.
    fn tell(&mut self, hook: &str, reason: String) {
        const REMEMBERED: usize = 256;
        if self.told.len() < REMEMBERED && self.told.insert((hook.to_owned(), reason.clone())) {
            tracing::info!(hook, reason, "a webhook is ignored; the same reason is not logged again");
        }
    }
}
