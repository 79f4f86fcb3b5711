//! `POST /hooks/<id>`: authenticate, bound, queue, answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, mpsc};

use super::queue::Delivery;
use super::receiver::{Checker, HookReceiver};
use crate::http::{Problem, ProblemKind, body};
use crate::metrics::Metrics;

/// The largest delivery of a known sender is some tens of kilobytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// One receiver, ready.
pub(super) struct Entry {
    pub(super) receiver: Arc<HookReceiver>,
    pub(super) checker: Checker,
}

/// What the receivers need; cheap to clone.
#[derive(Clone)]
pub struct HooksState {
    pub(super) entries: Arc<BTreeMap<String, Entry>>,
    pub(super) queue: mpsc::Sender<Delivery>,
    /// Bytes that may wait in the queue.
    pub(super) room: Arc<Semaphore>,
    /// Bodies that may be read at the same time.
    pub(super) readers: Arc<Semaphore>,
    pub(super) metrics: Metrics,
}

pub(in crate::http) async fn receive(
    State(state): State<HooksState>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let Some(entry) = state.entries.get(&id) else {
        return Problem::new(ProblemKind::UnknownPath, "there is no such hook").into_response();
    };
    match accept(&state, entry, request).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err((problem, result)) => {
            state.count(&entry.receiver, result);
            problem.into_response()
        }
    }
}

/// Puts the delivery into the queue, or says why not and as what that is counted.
async fn accept(state: &HooksState, entry: &Entry, request: Request) -> Result<(), (Problem, &'static str)> {
    let (head, body) = request.into_parts();
    if body::announces_more_than(&head.headers, MAX_BODY) {
        let problem = Problem::new(ProblemKind::TooLarge, format!("at most {MAX_BODY} bytes are accepted"));
        return Err((problem, "too_large"));
    }
    // No word about what is wrong with it: that would help only those who guess.
    let refused = || (Problem::new(ProblemKind::Unauthorized, "the delivery is not authentic"), "unauthorized");
    if entry.checker.by_head(&head.headers) == Some(false) {
        return Err(refused());
    }
    let full = || (Problem::new(ProblemKind::Full, "too many deliveries wait; send it again"), "queue_full");
    let _reader = state.readers.try_acquire().map_err(|_| full())?;
    let body = body::read(body, MAX_BODY).await.map_err(|problem| {
        let result = if problem.is(ProblemKind::TooLarge) { "too_large" } else { "ignored" };
        (problem, result)
    })?;
    if !entry.checker.by_body(&head.headers, &body) {
        return Err(refused());
    }
    let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let room = Arc::clone(&state.room).try_acquire_many_owned(bytes).map_err(|_| full())?;
    let delivery = Delivery { receiver: Arc::clone(&entry.receiver), body, _room: room };
    state.queue.try_send(delivery).map_err(|_| full())
}

impl HooksState {
    fn count(&self, receiver: &HookReceiver, result: &str) {
        let labels = [receiver.id.as_str(), receiver.kind.label(), result];
        self.metrics.webhooks_total.with_label_values(&labels).inc();
    }
}
