//! `/apps/{app}/deployments`: the history, and how to add to it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::body::JsonBody;
use super::router::ApiState;
use super::{Problem, ProblemKind};
use crate::engine::{Answer, DeployRequest, explain};
use crate::model::{AppName, Deployment, Digest, GroupDeployment, SwapId, Tag, Version};

/// Entries shown unless told otherwise.
const DEFAULT_LIMIT: usize = 20;
/// Entries shown at most; each may hold a log tail.
const MAX_LIMIT: usize = 200;
/// Characters kept of what a caller says about a deployment.
const MAX_REASON: usize = 300;

/// `?limit=`
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    limit: Option<usize>,
}

/// A version asked for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// A tag of the app's repository.
    Tag(Tag),
    /// A digest of it.
    Digest(Digest),
}

/// The body of a request to deploy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployBody {
    /// What; without it, what the app follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Wanted>,
    /// Although nothing has changed.
    pub force: bool,
    /// This app and no other of its group.
    pub only: bool,
    /// What it is about, in one line: "release 1.4".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

impl DeployBody {
    /// What the history will say.
    fn remark(&self) -> String {
        let said = [self.title.as_deref(), self.reason.as_deref()];
        let mut text =
            said.into_iter().flatten().map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(": ");
        if text.is_empty() {
            "deployed by request".clone_into(&mut text);
        }
        if let Some(author) = self.author.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
            text = format!("{text}, by {author}");
        }
        one_line(&text)
    }
}

/// Text of a caller as the history and the log may hold it.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}

impl From<DeployBody> for DeployRequest {
    fn from(body: DeployBody) -> Self {
        let reason = body.remark();
        let version = body.version.map(|wanted| match wanted {
            Wanted::Tag(tag) => Version::Tag(tag),
            Wanted::Digest(digest) => Version::Digest(digest),
        });
        Self { version, force: body.force, reason, only: body.only }
    }
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Path(app): Path<String>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Vec<Deployment>>, Problem> {
    let limit = listing?.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    Ok(Json(state.handle.deployments(&app, limit)?))
}

pub(super) async fn of_group(
    State(state): State<ApiState>,
    Path(group): Path<String>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Vec<GroupDeployment>>, Problem> {
    let limit = listing?.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    Ok(Json(state.handle.group_deployments(&group, limit)?))
}

pub(super) async fn show(
    State(state): State<ApiState>,
    Path((app, id)): Path<(String, String)>,
) -> Result<Json<Deployment>, Problem> {
    let found = state.handle.deployment(&app, &SwapId(id.clone()))?;
    let missing = || Problem::new(ProblemKind::UnknownDeployment, format!("app {app} has no deployment {id:?}"));
    found.map(Json).ok_or_else(missing)
}

pub(super) async fn create(
    State(state): State<ApiState>,
    Path(app): Path<String>,
    JsonBody(body): JsonBody<DeployBody>,
) -> Result<Response, Problem> {
    let name = state.handle.status(&app)?.app;
    Ok(answered(&name, state.handle.deploy(&app, body.into()).await?))
}

/// What became of a request to deploy or roll back. Held is a failure of the request, so that a script that
/// only looks at the status notices it.
pub(super) fn answered(app: &AppName, answer: Answer) -> Response {
    match answer {
        Answer::Held { hold } => Problem::held(explain(&hold), hold).into_response(),
        Answer::UpToDate { .. } => Json(answer).into_response(),
        Answer::Queued => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        Answer::Started { ref deployment, .. } => {
            let place = format!("/api/v1/apps/{app}/deployments/{deployment}");
            (StatusCode::ACCEPTED, [(LOCATION, place)], Json(answer)).into_response()
        }
    }
}
