//! `/hooks`: the webhook receivers and what became of their last deliveries.

use axum::Json;
use axum::extract::State;

use super::router::ApiState;
use super::webhooks::HookView;

pub(super) async fn list(State(state): State<ApiState>) -> Json<Vec<HookView>> {
    Json(state.hooks.as_ref().map(|board| board.views()).unwrap_or_default())
}
