//! What can be asked of an app besides deploying it: look, plan, roll back, lift a quarantine or a pin.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::JsonBody;
use super::deployments::answered;
use super::router::ApiState;
use super::{Problem, ProblemKind};
use crate::engine::{Approved, RequestError, RollbackTo};
use crate::model::{AppName, Decision, Digest};

/// How long an answer may take that needs the app's task.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whoever approves has a name of so many characters at most.
const LONGEST_NAME: usize = 100;

/// The app looks at its registry now; its events say what it finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checking {
    /// The app.
    pub checking: AppName,
}

/// The body of a request to roll back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackRequest {
    /// `"previous"`, a generation's number or a digest; without it, what served before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// This app and no other of its group.
    pub only: bool,
}

/// The body of a request to lift a quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiftRequest {
    /// Of this digest; without it, of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How many quarantines were lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// The number.
    pub lifted: usize,
}

/// The body of a request to approve of a version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApproveRequest {
    /// Of this version; without it, of what the tag points to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Who approves, as they call themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Whether there was a pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// There was one, and it is gone.
    pub unpinned: bool,
}

pub(super) async fn check(
    State(state): State<ApiState>,
    Path(app): Path<String>,
) -> Result<(StatusCode, Json<Checking>), Problem> {
    state.handle.check(&app)?;
    let checking = state.handle.status(&app)?.app;
    Ok((StatusCode::ACCEPTED, Json(Checking { checking })))
}

pub(super) async fn rollback(
    State(state): State<ApiState>,
    Path(app): Path<String>,
    JsonBody(body): JsonBody<RollbackRequest>,
) -> Result<Response, Problem> {
    let name = state.handle.status(&app)?.app;
    let to = rollback_to(body.to.as_ref())?;
    Ok(answered(&name, state.handle.rollback(&app, to, body.only).await?))
}

pub(super) async fn plan(State(state): State<ApiState>, Path(app): Path<String>) -> Result<Json<Decision>, Problem> {
    Ok(Json(patiently(&app, state.handle.plan(&app)).await?))
}

pub(super) async fn unquarantine(
    State(state): State<ApiState>,
    Path(app): Path<String>,
    JsonBody(body): JsonBody<LiftRequest>,
) -> Result<Json<Lifted>, Problem> {
    Ok(Json(Lifted { lifted: state.handle.unquarantine(&app, body.digest.as_ref())? }))
}

pub(super) async fn approve(
    State(state): State<ApiState>,
    Path(app): Path<String>,
    JsonBody(body): JsonBody<ApproveRequest>,
) -> Result<Json<Approved>, Problem> {
    let by = body.by.unwrap_or_else(|| "somebody".to_owned());
    let fits = (1..=LONGEST_NAME).contains(&by.chars().count()) && !by.chars().any(char::is_control);
    if !fits {
        let detail = format!("\"by\" must be a name of 1 to {LONGEST_NAME} characters in one line");
        return Err(Problem::new(ProblemKind::BadRequest, detail));
    }
    Ok(Json(state.handle.approve(&app, body.digest.as_ref(), &by)?))
}

pub(super) async fn unpin(State(state): State<ApiState>, Path(app): Path<String>) -> Result<Json<Unpinned>, Problem> {
    Ok(Json(Unpinned { unpinned: patiently(&app, state.handle.unpin(&app)).await? }))
}

/// An app that is in the middle of a swap answers when that has ended; nobody should have to wait so long.
async fn patiently<T>(app: &str, answer: impl Future<Output = Result<T, RequestError>>) -> Result<T, Problem> {
    let busy =
        |_| Problem::new(ProblemKind::Busy, format!("app {app} is busy with a swap; try again when it has ended"));
    Ok(tokio::time::timeout(PATIENCE, answer).await.map_err(busy)??)
}

fn rollback_to(to: Option<&Value>) -> Result<RollbackTo, Problem> {
    let bad = |given: &Value| {
        let detail = format!("\"to\" is {given}; it must be \"previous\", a generation's number or a digest");
        Problem::new(ProblemKind::BadRequest, detail)
    };
    match to {
        None | Some(Value::Null) => Ok(RollbackTo::Previous),
        Some(given @ Value::Number(number)) => number.as_u64().map(RollbackTo::Generation).ok_or_else(|| bad(given)),
        Some(Value::String(text)) if text == "previous" => Ok(RollbackTo::Previous),
        Some(given @ Value::String(text)) => {
            let generation = text.parse().map(RollbackTo::Generation).ok();
            generation.or_else(|| text.parse().map(RollbackTo::Digest).ok()).ok_or_else(|| bad(given))
        }
        Some(given) => Err(bad(given)),
    }
}
