//! Errors as the caller sees them (RFC 9457), and the one place where an error gets its status.

use axum::extract::Request;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::engine::RequestError;
use crate::model::Hold;

/// The kinds of problem; `type` in the document is `urn:tagboat:problem:` and the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The app is not in the configuration.
    UnknownApp,
    /// The app has no such deployment.
    UnknownDeployment,
    /// There is nothing at this path.
    UnknownPath,
    /// The path can't be asked so.
    WrongMethod,
    /// The request makes no sense.
    BadRequest,
    /// The token is missing or wrong.
    Unauthorized,
    /// Nothing may be changed here without a token.
    ReadOnly,
    /// A page of another site sent it.
    CrossSite,
    /// It was sent to a name that is not ours.
    UnknownHost,
    /// The body is not JSON.
    NotJson,
    /// The body is too large.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// There is no earlier version.
    NothingToRollBackTo,
    /// It may not be deployed now.
    Held,
    /// The version asked for was not found.
    Unresolved,
    /// Too many requests wait for the app.
    Busy,
    /// The queue of deliveries or streams is full.
    Full,
    /// The agent is ending.
    Stopping,
    /// The container engine failed.
    Engine,
    /// Our own failure.
    Internal,
}

impl ProblemKind {
    /// Stable name.
    pub fn label(self) -> &'static str {
        self.facts().0
    }

    /// The status that it is answered with.
    pub fn status(self) -> StatusCode {
        self.facts().1
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::UnknownApp => ("unknown-app", StatusCode::NOT_FOUND, "There is no such app"),
            Self::UnknownDeployment => ("unknown-deployment", StatusCode::NOT_FOUND, "There is no such deployment"),
            Self::UnknownPath => ("unknown-path", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::WrongMethod => ("wrong-method", StatusCode::METHOD_NOT_ALLOWED, "It can't be asked so"),
            Self::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "The request makes no sense"),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "A valid token is needed"),
            Self::ReadOnly => ("read-only", StatusCode::FORBIDDEN, "Nothing may be changed without a token"),
            Self::CrossSite => ("cross-site", StatusCode::FORBIDDEN, "Another site sent this request"),
            Self::UnknownHost => ("unknown-host", StatusCode::FORBIDDEN, "This host name is not known"),
            Self::NotJson => ("not-json", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be JSON"),
            Self::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::TooSlow => ("too-slow", StatusCode::REQUEST_TIMEOUT, "The body did not come in time"),
            Self::NothingToRollBackTo => {
                ("nothing-to-roll-back-to", StatusCode::CONFLICT, "There is no earlier version")
            }
            Self::Held => ("held", StatusCode::CONFLICT, "It is held back"),
            Self::Unresolved => ("unresolved", StatusCode::UNPROCESSABLE_ENTITY, "The version was not found"),
            Self::Busy => ("busy", StatusCode::TOO_MANY_REQUESTS, "Too many requests wait for this app"),
            Self::Full => ("full", StatusCode::SERVICE_UNAVAILABLE, "Too much at once"),
            Self::Stopping => ("stopping", StatusCode::SERVICE_UNAVAILABLE, "The agent is ending"),
            Self::Engine => ("engine", StatusCode::BAD_GATEWAY, "The container engine failed"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "The agent failed"),
        }
    }

    /// Seconds after which trying again can help.
    fn retry_after(self) -> Option<&'static str> {
        matches!(self, Self::Busy | Self::Full | Self::Stopping).then_some("5")
    }
}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:tagboat:problem:` and the label of the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Why it is held back, when that is the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<Hold>>,
    #[serde(skip)]
    retry_after: Option<&'static str>,
}

impl Problem {
    /// A problem of this kind, with its detail.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (label, status, title) = kind.facts();
        Self {
            kind: format!("urn:tagboat:problem:{label}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hold: None,
            retry_after: kind.retry_after(),
        }
    }

    /// A deployment that is held back.
    pub fn held(detail: String, hold: Hold) -> Self {
        Self { hold: Some(Box::new(hold)), ..Self::new(ProblemKind::Held, detail) }
    }

    /// True when it is of this kind.
    pub fn is(&self, kind: ProblemKind) -> bool {
        self.kind.strip_prefix("urn:tagboat:problem:") == Some(kind.label())
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let kind = match &error {
            RequestError::UnknownApp { .. } => ProblemKind::UnknownApp,
            RequestError::UnknownGroup { .. } => ProblemKind::UnknownPath,
            RequestError::NothingToRollBackTo { .. } => ProblemKind::NothingToRollBackTo,
            RequestError::Unresolved { .. } => ProblemKind::Unresolved,
            RequestError::Busy { .. } => ProblemKind::Busy,
            RequestError::Stopping => ProblemKind::Stopping,
            RequestError::Engine(_) => ProblemKind::Engine,
            RequestError::Store(store) => {
                tracing::error!(error = %store, source = %store.source, "a request failed in the state directory");
                return Self::new(ProblemKind::Internal, format!("{store}; the agent's log says more"));
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ProblemKind::BadRequest, rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(ProblemKind::BadRequest, rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tagboat\""));
        }
        response
    }
}

/// For every path that leads nowhere.
pub(super) async fn no_route(request: Request) -> Problem {
    Problem::new(ProblemKind::UnknownPath, format!("there is nothing at {}", request.uri().path()))
}

/// For every path that is asked with the wrong method.
pub(super) async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} can't be asked with {}", request.uri().path(), request.method());
    Problem::new(ProblemKind::WrongMethod, detail)
}

/// Answers describe this moment: no cache may keep them.
pub(super) async fn never_stored(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
