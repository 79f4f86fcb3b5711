//! How we introduce ourselves to a registry, and the token service's part in it.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Duration, Instant};

use crate::model::{Credentials, Repository};
use crate::ports::{RegistryError, RegistryErrorKind};

use super::auth::{Introduction, TokenAnswer, realm, scope, token_url};
use super::challenge::Challenge;
use super::host::{Answer, Host};
use super::refusal::same;

/// A password that a token service has refused is not shown to it again for so long: services lock users out.
const REFUSED: Duration = Duration::from_secs(60);

impl Host {
    /// What a challenge asks for. `refused`: what was tried with the request that led to it.
    pub(super) async fn introduce(
        &self,
        repository: &Repository,
        challenge: &Challenge,
        refused: Option<&Introduction>,
    ) -> Result<Option<Introduction>, RegistryError> {
        if challenge.scheme == "basic" {
            if matches!(refused, Some(Introduction::Basic)) {
                self.finder.forget().await;
            }
            let found = self.credentials(repository).await?;
            self.tokens.wants_basic(found.is_some());
            return Ok(found.map(|_| Introduction::Basic));
        }
        self.tokens.wants_basic(false);
        let entry = self.tokens.entry(repository.path());
        let mut token = entry.lock().await;
        // Whoever held the lock meanwhile may have fetched another one than was refused.
        if let Some((token, until)) = &*token
            && !matches!(refused, Some(Introduction::Bearer(refused)) if same(refused, token))
            && Instant::now() < *until
        {
            return Ok(Some(Introduction::Bearer(token.clone())));
        }
        let (fetched, until) = self.token(repository, challenge).await?;
        *token = Some((fetched.clone(), until));
        Ok(Some(Introduction::Bearer(fetched)))
    }

    /// A token. When the service refuses what a helper said a while ago, the helper is asked again, once.
    async fn token(
        &self,
        repository: &Repository,
        challenge: &Challenge,
    ) -> Result<(SecretString, Instant), RegistryError> {
        let mut used = self.credentials(repository).await?;
        let mut answer = self.ask_token_service(repository, challenge, used.as_ref()).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(before) = &used
        {
            self.finder.forget().await;
            let now = self.credentials(repository).await?;
            if now.as_ref().is_some_and(|now| !same(&now.secret, &before.secret)) {
                answer = self.ask_token_service(repository, challenge, now.as_ref()).await?;
                used = now;
            }
        }
        if let (StatusCode::UNAUTHORIZED, Some(used)) = (answer.status, used) {
            *self.refused_secret.lock().expect("no holder panics") = Some((used.secret, Instant::now() + REFUSED));
        }
        if !answer.status.is_success() {
            return Err(self.failed_answer(repository, "its token service answered", &answer).await);
        }
        let answer: Option<TokenAnswer> = serde_json::from_slice(&answer.body).ok();
        let words = "its token service gave no token";
        let token = answer.and_then(TokenAnswer::token);
        token.ok_or_else(|| self.error(RegistryErrorKind::Protocol, repository, words, None))
    }

    /// Docker's own file may fail us, and public images are there without it; what the configuration names may not.
    pub(super) async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>, RegistryError> {
        let found = self.finder.find().await;
        match found.problem {
            Some(problem) if self.config.username.is_some() => {
                Err(self.error(RegistryErrorKind::Unauthorized, repository, &problem, None))
            }
            _ => Ok(found.credentials),
        }
    }

    fn was_refused(&self, used: &Credentials) -> bool {
        let refused = self.refused_secret.lock().expect("no holder panics");
        refused.as_ref().is_some_and(|(secret, until)| Instant::now() < *until && same(secret, &used.secret))
    }

    /// Docker's form of the request with a password or without, OAuth2's with a refresh token.
    async fn ask_token_service(
        &self,
        repository: &Repository,
        challenge: &Challenge,
        used: Option<&Credentials>,
    ) -> Result<Answer, RegistryError> {
        if used.is_some_and(|used| self.was_refused(used)) {
            return Err(self.refused(repository, "its token service answered 401 a moment ago").await);
        }
        let realm = realm(challenge, self.plain)
            .map_err(|words| self.error(RegistryErrorKind::Protocol, repository, &words, None))?;
        let limit = self.limits.short;
        let Some(token) = used.filter(|used| used.is_identity_token) else {
            let mut headers = HeaderMap::new();
            if let Some(used) = used {
                headers.insert(AUTHORIZATION, self.basic(repository, used)?);
            }
            let url = token_url(realm, challenge, repository.path());
            let response = self.deliver(repository, ("token", Method::GET), url, headers, limit).await?;
            return self.read(repository, response).await;
        };
        let service = challenge.parameters.get("service").map(String::as_str).unwrap_or_default();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("client_id", "tagboat")
            .append_pair("scope", &scope(challenge, repository.path()))
            .append_pair("refresh_token", token.secret.expose_secret())
            .finish();
        let request = self.http.post(realm).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let sent = request.timeout(limit).send().await;
        let response = self.counted(repository, "token", sent)?;
        self.read(repository, response).await
    }
}
