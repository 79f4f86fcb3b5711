//! `/apps`: what runs where, and why nothing newer does.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::Problem;
use super::router::ApiState;
use crate::engine::explain;
use crate::model::AppStatus;

/// An app's status, with its hold in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppView {
    /// The status.
    #[serde(flatten)]
    pub status: AppStatus,
    /// Why the newest is not deployed and what can be done, in one sentence.
    pub explanation: Option<String>,
}

impl From<AppStatus> for AppView {
    fn from(status: AppStatus) -> Self {
        let explanation = status.hold.as_ref().map(explain);
        Self { status, explanation }
    }
}

pub(super) async fn list(State(state): State<ApiState>) -> Json<Vec<AppView>> {
    Json(state.handle.statuses().into_iter().map(AppView::from).collect())
}

pub(super) async fn show(State(state): State<ApiState>, Path(app): Path<String>) -> Result<Json<AppView>, Problem> {
    Ok(Json(state.handle.status(&app)?.into()))
}
