//! `/prune`: what of all that was brought to the host nobody needs any more.

use axum::Json;
use axum::extract::State;

use super::Problem;
use super::router::ApiState;
use crate::model::Pruned;

/// What would be removed.
pub(super) async fn look(State(state): State<ApiState>) -> Result<Json<Pruned>, Problem> {
    Ok(Json(state.handle.prune(true).await?))
}

/// Removes it.
pub(super) async fn act(State(state): State<ApiState>) -> Result<Json<Pruned>, Problem> {
    Ok(Json(state.handle.prune(false).await?))
}
