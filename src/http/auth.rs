//! Who may do what: the token, and the checks that keep other people's web pages out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::router::ApiState;
use super::{Problem, ProblemKind};

/// A secret is configured but empty, so that everyone would know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty: give it a value, or remove the key")]
pub struct EmptySecret;

/// A secret reduced to what is needed to recognise it. Comparing hashes takes the same time for every guess,
/// whatever its length.
#[derive(Clone)]
pub(super) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(super) fn new(secret: &SecretString) -> Result<Self, EmptySecret> {
        if secret.expose_secret().trim().is_empty() {
            return Err(EmptySecret);
        }
        Ok(Self(Sha256::digest(secret.expose_secret().as_bytes()).into()))
    }

    pub(super) fn matches(&self, given: &[u8]) -> bool {
        Sha256::digest(given).ct_eq(&self.0).into()
    }
}

/// What the callers of a listener may do.
#[derive(Clone)]
pub enum Access {
    /// Everything: the Unix socket, guarded by its file mode.
    Full,
    /// What the token, or its absence, allows: a TCP listener.
    Guarded(Guard),
}

/// The rules of a TCP listener; made by [`Access::guarded`].
#[derive(Clone)]
pub struct Guard {
    token: Option<SecretHash>,
    hosts: BTreeSet<String>,
}

impl Access {
    /// With a token every request to the API must show it. Without one nothing can be changed, and the listener can
    /// be reached only by IP address, as `localhost`, or by one of the names in `hosts`.
    ///
    /// # Errors
    /// The token is empty.
    pub fn guarded(token: Option<&SecretString>, hosts: impl IntoIterator<Item = String>) -> Result<Self, EmptySecret> {
        let token = token.map(SecretHash::new).transpose()?;
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self::Guarded(Guard { token, hosts }))
    }
}

impl Guard {
    /// A page that makes the browser resolve its own name to our address (DNS rebinding) still sends its own
    /// name: only names that can't be somebody else's are accepted. With a token there is nothing to be had that
    /// way, and the API may stand behind a reverse proxy under any name.
    fn knows_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if self.token.is_some() {
            return Ok(());
        }
        let given = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host_of(given).unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        if literal || host == "localhost" || host.ends_with(".localhost") || self.hosts.contains(&host) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::UnknownHost,
            format!("{given:?} is not a name of this API: use localhost or its IP address, or configure api.token"),
        ))
    }

    fn admits(&self, headers: &HeaderMap, changes: bool) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            if !changes {
                return Ok(());
            }
            return Err(Problem::new(
                ProblemKind::ReadOnly,
                "configure api.token and send it as \"Authorization: Bearer …\", or use the Unix socket",
            ));
        };
        if bearer(headers).is_some_and(|given| token.matches(given)) {
            return Ok(());
        }
        Err(Problem::new(ProblemKind::Unauthorized, "send the API token as \"Authorization: Bearer …\""))
    }
}

/// Refuses requests to names that are not ours; the status page included.
pub(super) async fn known_host(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if let Access::Guarded(guard) = state.access.as_ref()
        && let Err(problem) = guard.knows_host(request.headers())
    {
        return problem.into_response();
    }
    next.run(request).await
}

/// Lets a request to the API pass if its sender may make it.
pub(super) async fn authorize(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if let Access::Guarded(guard) = state.access.as_ref() {
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let headers = request.headers();
        let own = if changes { same_site(headers) } else { Ok(()) };
        if let Err(problem) = own.and_then(|()| guard.admits(headers, changes)) {
            return problem.into_response();
        }
    }
    next.run(request).await
}

/// The value of a `Bearer` authorization.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// A browser tells where a request that changes something comes from; other clients say nothing of the kind.
fn same_site(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    let refuse =
        || Problem::new(ProblemKind::CrossSite, "changes are accepted only from this API's own pages and tools");
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(refuse());
    }
    if let Some(origin) = text(ORIGIN.as_str()) {
        let from = origin.split_once("://").map(|(_, authority)| authority);
        if from.is_none() || from != text(HOST.as_str()).as_deref() {
            return Err(refuse());
        }
    }
    // A form can be sent across sites without asking first; JSON can't.
    if text(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.split(';').next().map(str::trim) != Some("application/json"))
    {
        return Err(Problem::new(ProblemKind::NotJson, "send the body as application/json"));
    }
    Ok(())
}

/// The host of a `Host` header, lower-case, without its port.
fn host_of(given: &str) -> Option<String> {
    let authority: Authority = given.parse().ok()?;
    Some(authority.host().to_ascii_lowercase())
}
