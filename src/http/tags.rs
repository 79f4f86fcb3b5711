//! `/apps/{app}/tags`: the tags of an app's repository, which of them it follows, and why not the others.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};

use super::router::ApiState;
use super::{Problem, ProblemKind};
use crate::model::TagReport;

/// A list of many pages takes its time; nobody should have to wait for ever.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn list(State(state): State<ApiState>, Path(app): Path<String>) -> Result<Json<TagReport>, Problem> {
    let slow = |_| {
        let detail = format!("the registry did not list the tags of app {app} within {} s", PATIENCE.as_secs());
        Problem::new(ProblemKind::Unresolved, detail)
    };
    Ok(Json(tokio::time::timeout(PATIENCE, state.handle.tags(&app)).await.map_err(slow)??))
}
