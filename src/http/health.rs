//! `/healthz` and `/readyz`, for whoever starts and watches the agent.

use axum::extract::State;
use axum::http::StatusCode;

use super::metrics::MetricsState;
use crate::model::AppState;

/// The process lives and answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Every app has been looked at once, so that what the API says of it means something.
pub(super) async fn ready(State(state): State<MetricsState>) -> (StatusCode, String) {
    let statuses = state.statuses();
    let starting = statuses.iter().filter(|status| status.state == AppState::Starting);
    let names = starting.map(|status| status.app.as_str()).collect::<Vec<_>>();
    if names.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not looked at yet: {}\n", names.join(", ")))
}
