//! How we introduce ourselves to a registry, and the token service's part in it.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::model::{Credentials, Repository, SecretKind};
use crate::ports::{RegistryError, RegistryErrorKind};

use super::auth::{Introduction, TokenAnswer, realm, scope, token_url};
use super::challenge::Challenge;
use super::host::{Answer, Host};
use super::refusal::same;

impl Host {
    /// What a challenge asks for; nothing when we have nothing, or nothing else than what was refused. `refused`: what
    /// was tried with the request that led to it.
    pub(super) async fn introduce(
        &self,
        repository: &Repository,
        challenge: &Challenge,
        refused: Option<&Introduction>,
    ) -> Result<Option<Introduction>, RegistryError> {
        if challenge.scheme == "basic" {
            let mut used = self.credentials(repository).await?;
            if matches!(refused, Some(Introduction::Basic)) {
                used = self.anew(repository, used).await?;
            }
            let used = used.filter(|used| used.kind == SecretKind::Password);
            if refused.is_none() {
                self.tokens.wants_basic(used.is_some());
            }
            return Ok(used.map(|_| Introduction::Basic));
        }
        if let Some(introduction) = self.with_registry_token(repository, refused).await? {
            return Ok(introduction);
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
            && let Some(other) = self.anew(repository, used.clone()).await?
        {
            answer = self.ask_token_service(repository, challenge, Some(&other)).await?;
            used = Some(other);
        }
        if let (StatusCode::UNAUTHORIZED, Some(used)) = (answer.status, used) {
            self.finder.remember_refused(used.secret);
        }
        if !answer.status.is_success() {
            return Err(self.failed_answer(repository, "its token service answered", &answer).await);
        }
        let answer: Option<TokenAnswer> = serde_json::from_slice(&answer.body).ok();
        let words = "its token service gave no token";
        let token = answer.and_then(TokenAnswer::token);
        token.ok_or_else(|| self.error(RegistryErrorKind::Protocol, repository, words, None))
    }

    /// A token that the registry itself takes, where that is what we have. The outer `None`: it is not.
    async fn with_registry_token(
        &self,
        repository: &Repository,
        refused: Option<&Introduction>,
    ) -> Result<Option<Option<Introduction>>, RegistryError> {
        let is_token = |used: &Credentials| used.kind == SecretKind::RegistryToken;
        let Some(used) = self.credentials(repository).await?.filter(is_token) else { return Ok(None) };
        let used = match refused {
            Some(Introduction::Bearer(refused)) if same(refused, &used.secret) => {
                self.anew(repository, Some(used)).await?.filter(is_token)
            }
            _ => Some(used),
        };
        Ok(Some(used.map(|used| Introduction::Bearer(used.secret))))
    }

    /// What the source says now instead of what was refused, if that is something else.
    async fn anew(
        &self,
        repository: &Repository,
        refused: Option<Credentials>,
    ) -> Result<Option<Credentials>, RegistryError> {
        let Some(refused) = refused else { return Ok(None) };
        self.finder.forget(repository).await;
        let now = self.credentials(repository).await?;
        Ok(now.filter(|now| now.username != refused.username || !same(&now.secret, &refused.secret)))
    }

    /// Docker's own file may fail us, and public images are there without it; what the configuration names may not.
    pub(super) async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>, RegistryError> {
        let found = self.finder.find(repository).await;
        match found.problem {
            Some(problem) if found.is_configured => {
                Err(self.error(RegistryErrorKind::Unauthorized, repository, &problem, None))
            }
            _ => Ok(found.credentials),
        }
    }

    /// Docker's form of the request with a password or without, OAuth2's with a refresh token.
    async fn ask_token_service(
        &self,
        repository: &Repository,
        challenge: &Challenge,
        used: Option<&Credentials>,
    ) -> Result<Answer, RegistryError> {
        if used.is_some_and(|used| self.finder.was_refused(used)) {
            return Err(self.refused(repository, "its token service answered 401 a moment ago").await);
        }
        if let Some(used) = used.filter(|used| used.kind == SecretKind::IdentityToken) {
            return self.exchange(repository, challenge, used, Some(&scope(challenge, repository.path()))).await;
        }
        let mut headers = HeaderMap::new();
        if let Some(used) = used {
            headers.insert(AUTHORIZATION, self.basic(repository, used)?);
        }
        let url = token_url(self.realm(repository, challenge)?, challenge, repository.path());
        let response = self.deliver(repository, ("token", Method::GET), url, headers, self.limits.short).await?;
        self.read(repository, response).await
    }

    fn realm(&self, repository: &Repository, challenge: &Challenge) -> Result<url::Url, RegistryError> {
        let wrong = |words: String| self.error(RegistryErrorKind::Protocol, repository, &words, None);
        realm(challenge, self.plain).map_err(wrong)
    }

    /// A refresh token for a token. It is in the body, so that no redirect is followed.
    pub(super) async fn exchange(
        &self,
        repository: &Repository,
        challenge: &Challenge,
        used: &Credentials,
        scope: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let service = challenge.parameters.get("service").map(String::as_str).unwrap_or_default();
        let mut pairs = vec![("grant_type", "refresh_token"), ("service", service), ("client_id", "tagboat")];
        pairs.push(("refresh_token", used.secret.expose_secret()));
        pairs.extend(scope.map(|scope| ("scope", scope)));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = self.http.post(self.realm(repository, challenge)?);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let sent = request.timeout(self.limits.short).send().await;
        let response = self.counted(repository, "token", sent)?;
        self.read(repository, response).await
    }
}
