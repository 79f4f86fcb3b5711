//! `/registries`: who is asked, who is left alone for a while, and what is left of the rate limits.

use axum::Json;
use axum::extract::State;

use super::router::ApiState;
use crate::model::RegistryStatus;

pub(super) async fn list(State(state): State<ApiState>) -> Json<Vec<RegistryStatus>> {
    Json(state.handle.registries())
}
