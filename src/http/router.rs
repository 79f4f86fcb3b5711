//! Every route of every listener: the table of contents.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::metrics::MetricsState;
use super::webhooks::{HookBoard, HooksState, receive, receive_by_url};
use super::{
    Access, actions, apps, auth, deployments, events, health, hooks, metrics, page, problem, prune, registries, tags,
};
use crate::engine::Handle;

/// Event streams open at the same time; each costs a connection and a subscription.
const MAX_STREAMS: usize = 64;

/// What the API's handlers need; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) handle: Handle,
    pub(super) access: Arc<Access>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
    pub(super) hooks: Option<HookBoard>,
}

impl ApiState {
    /// For one listener: `access` says what its callers may do. Event streams end when `shutdown` is cancelled.
    pub fn new(handle: Handle, access: Access, shutdown: CancellationToken) -> Self {
        let (access, streams) = (Arc::new(access), Arc::new(Semaphore::new(MAX_STREAMS)));
        Self { handle, access, streams, shutdown, hooks: None }
    }

    /// With the webhook receivers, where there are some.
    pub fn with_hooks(self, hooks: Option<HookBoard>) -> Self {
        Self { hooks, ..self }
    }
}

/// The API and the status page.
pub fn api_router(state: ApiState) -> Router {
    let api = Router::new()
        .route("/apps", get(apps::list))
        .route("/apps/{app}", get(apps::show))
        .route("/apps/{app}/deployments", get(deployments::list).post(deployments::create))
        .route("/apps/{app}/deployments/{id}", get(deployments::show))
        .route("/apps/{app}/check", post(actions::check))
        .route("/apps/{app}/rollback", post(actions::rollback))
        .route("/apps/{app}/plan", get(actions::plan))
        .route("/apps/{app}/tags", get(tags::list))
        .route("/apps/{app}/unquarantine", post(actions::unquarantine))
        .route("/apps/{app}/unpin", post(actions::unpin))
        .route("/apps/{app}/approve", post(actions::approve))
        .route("/apps/{app}/events", get(events::of_app))
        .route("/prune", get(prune::look).post(prune::act))
        .route("/groups/{group}/deployments", get(deployments::of_group))
        .route("/registries", get(registries::list))
        .route("/hooks", get(hooks::list))
        .route("/events", get(events::of_all))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn_with_state(state.clone(), auth::authorize));
    Router::new()
        .route("/", get(page::show))
        .nest("/api/v1", api)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn(problem::never_stored))
        .layer(from_fn_with_state(state.clone(), auth::known_host))
        .with_state(state)
}

/// The webhook receivers.
pub fn hooks_router(state: HooksState) -> Router {
    Router::new()
        .route("/hooks/{id}", post(receive).options(receive))
        .route("/hooks/{id}/{secret}", post(receive_by_url).options(receive_by_url))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .with_state(state)
}

/// Metrics, liveness and readiness.
pub fn metrics_router(state: MetricsState) -> Router {
    Router::new()
        .route("/metrics", get(metrics::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .with_state(state)
}
