//! Whether a registry takes a credential: asked before that is kept.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use secrecy::ExposeSecret;

use crate::metrics::Metrics;
use crate::model::{Credentials, Repository, SecretKind};
use crate::ports::{RegistryError, RegistryErrorKind};

use super::auth::{TokenAnswer, realm};
use super::challenge::Challenge;
use super::credentials::Finder;
use super::host::{Answer, Host, challenges, is_plain};
use super::pool::Pools;
use super::refusal::said;
use super::{Config, Limits};

/// What a registry says to a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lets it in.
    Accepted,
    /// It lets anyone in without asking, so that nothing is known of the credential.
    NotAsked,
}

/// Asks a registry (`ghcr.io`, or `ghcr.io/acme` for its host) whether it takes a credential. Nothing is kept.
///
/// # Errors
/// When it refuses, or can't be asked; the message names the user and never the secret.
pub async fn verify(config: &Config, registry: &str, credentials: &Credentials) -> Result<Verdict, RegistryError> {
    // An address of the API is needed, and a name for messages; the repository itself is not asked for.
    let name = format!("{}/login", registry.split('/').next().unwrap_or(registry));
    let repository: Repository = name.parse().map_err(|error| failure(format!("{registry}: {error}")))?;
    let repository = config.own_name(&repository);
    let settings = config.registries.get(repository.registry()).cloned().unwrap_or_default();
    let limits = Limits::default();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = (repository.registry(), repository.api_host(), None);
    let finder = Finder::new(place.0, is_plain(place.1, &settings), config);
    let host = Host::new(place, &settings, finder, &Pools::new(limits), limits, Metrics::new());
    let host = host.map_err(failure)?;
    Login { host: &host, repository: &repository, credentials }.try_it().await
}

fn failure(message: String) -> RegistryError {
    RegistryError { kind: RegistryErrorKind::Protocol, message, retry_after: None, source: None }
}

struct Login<'a> {
    host: &'a Host,
    repository: &'a Repository,
    credentials: &'a Credentials,
}

impl Login<'_> {
    async fn try_it(&self) -> Result<Verdict, RegistryError> {
        let answer = self.get(None).await?;
        if answer.status.is_success() {
            return Ok(Verdict::NotAsked);
        }
        if answer.status != StatusCode::UNAUTHORIZED {
            return Err(self.refused("its API", &answer));
        }
        let challenges = challenges(&answer.headers);
        let known = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let authorization = match (self.credentials.kind, known("bearer"), known("basic")) {
            (SecretKind::RegistryToken, ..) => self.bearer(self.credentials.secret.expose_secret())?,
            (_, Some(challenge), _) => self.token(challenge).await?,
            (_, None, Some(_)) => self.host.basic(self.repository, self.credentials)?,
            (_, None, None) => return Err(self.refused("its API asks for nothing that tagboat knows, and", &answer)),
        };
        let answer = self.get(Some(authorization)).await?;
        if answer.status.is_success() {
            return Ok(Verdict::Accepted);
        }
        Err(self.refused("its API", &answer))
    }

    async fn get(&self, authorization: Option<HeaderValue>) -> Result<Answer, RegistryError> {
        let headers: HeaderMap = authorization.into_iter().map(|value| (AUTHORIZATION, value)).collect();
        let (url, limit) = (self.host.api(self.repository)?, self.host.limits.short);
        let response = self.host.deliver(self.repository, ("get", Method::GET), url, headers, limit).await?;
        self.host.read(self.repository, response).await
    }

    /// A token for nothing in particular: that one is given at all is the answer. For Docker Hub and others a token of
    /// nobody is given too, so whoever has no user must be refused by now.
    async fn token(&self, challenge: &Challenge) -> Result<HeaderValue, RegistryError> {
        let answer = match self.credentials.kind {
            SecretKind::IdentityToken => self.host.exchange(self.repository, challenge, self.credentials, None).await?,
            _ => {
                let protocol =
                    |words: String| self.host.error(RegistryErrorKind::Protocol, self.repository, &words, None);
                let mut url = realm(challenge, self.host.plain).map_err(protocol)?;
                if let Some(service) = challenge.parameters.get("service") {
                    url.query_pairs_mut().append_pair("service", service);
                }
                url.query_pairs_mut().append_pair("account", &self.credentials.username);
                let basic = self.host.basic(self.repository, self.credentials)?;
                let headers: HeaderMap = [(AUTHORIZATION, basic)].into_iter().collect();
                let how = ("token", Method::GET);
                let response = self.host.deliver(self.repository, how, url, headers, self.host.limits.short).await?;
                self.host.read(self.repository, response).await?
            }
        };
        if !answer.status.is_success() {
            return Err(self.refused("its token service", &answer));
        }
        let token = serde_json::from_slice(&answer.body).ok().and_then(TokenAnswer::token);
        let (token, _) = token.ok_or_else(|| self.refused("its token service gave no token:", &answer))?;
        self.bearer(token.expose_secret())
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, RegistryError> {
        self.host.authorization(self.repository, &format!("Bearer {token}"))
    }

    fn refused(&self, who: &str, answer: &Answer) -> RegistryError {
        let status = answer.status.as_u16();
        // The words of a success may be a token.
        let said =
            if answer.status.is_success() { String::new() } else { said(&String::from_utf8_lossy(&answer.body)) };
        let said = if said.is_empty() { String::new() } else { format!(", it says \"{said}\"") };
        let (kind, advice) = match status {
            401 | 403 => (RegistryErrorKind::Unauthorized, self.advice()),
            429 => (RegistryErrorKind::RateLimited, "wait, then try again".to_owned()),
            500..=599 => (RegistryErrorKind::Server, "try again later".to_owned()),
            404 => (RegistryErrorKind::Protocol, "is this the name of a registry?".to_owned()),
            _ => (RegistryErrorKind::Protocol, "nothing was kept".to_owned()),
        };
        let message = format!("registry {}: {who} answered {status}{said}; {advice}", self.host.name);
        RegistryError { kind, message, retry_after: None, source: None }
    }

    fn advice(&self) -> String {
        let user = &self.credentials.username;
        match (self.credentials.kind, self.host.name.as_str()) {
            (SecretKind::Password, "docker.io") => {
                format!("user {user:?} was tried: with two factors, Docker Hub wants an access token for a password")
            }
            (SecretKind::Password, "ghcr.io") => {
                format!(
                    "user {user:?} was tried: the password is a personal access token (classic) with `read:packages`"
                )
            }
            (SecretKind::Password, _) => format!("user {user:?} was tried: are the user and the password right?"),
            _ => "the token was tried: is it still valid?".to_owned(),
        }
    }
}
