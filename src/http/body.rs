//! Reading a request's body within bounds.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::{Problem, ProblemKind};

/// A request of the API is a few lines of JSON.
const API_BODY: usize = 64 * 1024;

/// A body that takes longer than this does not come from a healthy sender.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The length that the sender announces is more than `limit`.
pub(super) fn announces_more_than(headers: &HeaderMap, limit: usize) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit))
}

/// The whole body, of at most `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ProblemKind::TooLarge, format!("at most {limit} bytes are accepted"));
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::new(ProblemKind::BadRequest, format!("the body broke off: {error}"))),
        Err(_) => {
            let detail = format!("the body must be complete within {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(ProblemKind::TooSlow, detail))
        }
    }
}

/// A JSON body; none at all is the default.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request.into_body(), API_BODY).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        let bad =
            |error: serde_json::Error| Problem::new(ProblemKind::BadRequest, format!("the body is wrong: {error}"));
        serde_json::from_slice(&bytes).map(Self).map_err(bad)
    }
}
