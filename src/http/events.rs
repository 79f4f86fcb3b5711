//! `/events`: what happens, as it happens (server-sent events).
//!
//! Each event is `event: <label>` and one line of JSON. A reader that is too slow is told how many events it
//! has missed (`event: lagged`) and should ask for the status again; nothing is replayed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

use super::router::ApiState;
use super::{Problem, ProblemKind};
use crate::model::{AppName, Event};

/// Often enough for a reader, and every proxy on the way, to notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `?app=`
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    app: Option<String>,
}

/// The data of a `lagged` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagged {
    /// Events that the reader did not get.
    pub missed: u64,
}

/// What one reader's stream needs.
struct Reader {
    events: Receiver<Arc<Event>>,
    app: Option<AppName>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn of_all(
    State(state): State<ApiState>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    open(&state, filter?.0.app.as_deref())
}

pub(super) async fn of_app(State(state): State<ApiState>, Path(app): Path<String>) -> Result<Response, Problem> {
    open(&state, Some(&app))
}

fn open(state: &ApiState, app: Option<&str>) -> Result<Response, Problem> {
    let app = app.map(|app| state.handle.status(app)).transpose()?.map(|status| status.app);
    let full = |_| Problem::new(ProblemKind::Full, "too many event streams are open");
    let place = Arc::clone(&state.streams).try_acquire_owned().map_err(full)?;
    let reader = Reader { events: state.handle.subscribe(), app, shutdown: state.shutdown.clone(), _place: place };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(axum::response::Sse::new(follow(reader)).keep_alive(keep_alive).into_response())
}

fn follow(reader: Reader) -> impl Stream<Item = Result<Sse, axum::Error>> {
    stream::unfold(reader, |mut reader| async move { reader.next().await.map(|event| (event, reader)) })
}

impl Reader {
    /// The next event for this reader; `None` when there will be no more.
    async fn next(&mut self) -> Option<Result<Sse, axum::Error>> {
        loop {
            let received: Result<Arc<Event>, broadcast::error::RecvError> = tokio::select! {
                received = self.events.recv() => received,
                () = self.shutdown.cancelled() => return None,
            };
            match received {
                Ok(event) if self.app.as_ref().is_some_and(|app| *app != event.app) => {}
                Ok(event) => return Some(Sse::default().event(event.kind.label()).json_data(&*event)),
                Err(RecvError::Lagged(missed)) => {
                    return Some(Sse::default().event("lagged").json_data(Lagged { missed }));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
