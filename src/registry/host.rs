//! One registry: its connections, and a request to it with everything around it.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use chrono::Utc;
use http::header::{ACCEPT, AUTHORIZATION, IF_NONE_MATCH, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, redirect};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::Duration;

use crate::metrics::Metrics;
use crate::model::Repository;
use crate::ports::{RegistryError, RegistryErrorKind};

use super::auth::{Introduction, TokenAnswer, Tokens, scope, token_url};
use super::backoff::Standing;
use super::challenge::{Challenge, parse};
use super::credentials::Finder;
use super::{CONNECT, DOCUMENT, RegistryConfig, SHORT};

/// Requests to one registry at once: polite, and enough for a hundred tags a second at 30 ms.
const CONCURRENT: usize = 4;

/// The words of a refusal are read up to this.
const WORDS: usize = 8 << 10;

/// The four types, in one line: with one missing, registries answer 404 or with another digest.
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A registry.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    base: String,
    plain: bool,
    ca_file: Option<std::path::PathBuf>,
    http: reqwest::Client,
    slots: Semaphore,
    tokens: Tokens,
    pub(super) finder: Finder,
    pub(super) standing: Mutex<Standing>,
    /// It answers 405 to HEAD.
    pub(super) head_unsupported: AtomicBool,
    metrics: Metrics,
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) repository: &'a Repository,
    /// After `/v2/<repository>/`.
    pub(super) path: String,
    pub(super) if_none_match: Option<&'a str>,
    pub(super) limit: Duration,
}

impl Host {
    /// Prepares the way to a registry. The error is a sentence for a person.
    pub(super) fn new(
        repository: &Repository,
        config: &RegistryConfig,
        standing: Standing,
        metrics: Metrics,
    ) -> Result<Self, String> {
        let (name, api) = (repository.registry(), repository.api_host());
        let plain = config.http || is_loopback(api);
        let redirects = redirect::Policy::limited(5);
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(redirects)
            .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")));
        if plain {
            // Without TLS the system's certificates are not needed, and in a container from scratch there are none.
            builder = builder.tls_certs_only([]).no_proxy();
        } else if let Some(path) = &config.ca_file {
            let pem =
                std::fs::read(path).map_err(|error| format!("ca_file {} can't be read: {error}", path.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            let certificates = certificates.map_err(|error| format!("ca_file {}: {error}", path.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| format!("TLS for registry {name} can't be set up: {error:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            base: format!("{}://{api}/v2/", if plain { "http" } else { "https" }),
            plain,
            ca_file: config.ca_file.clone(),
            http,
            slots: Semaphore::new(config.max_concurrent.unwrap_or(CONCURRENT).max(1)),
            tokens: Tokens::default(),
            finder: Finder::new(name, config),
            standing: Mutex::new(standing),
            head_unsupported: AtomicBool::new(false),
            metrics,
        })
    }

    /// Sends a request, introduced as the registry wants it. 401 leads to one more try with a fresh token; what the
    /// answer means beyond that is the caller's business.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let path = ask.repository.path();
        let introduction = match self.tokens.ready(path).await {
            Some(ready) => Some(ready),
            None => match self.tokens.known_challenge(path) {
                Some(challenge) => self.introduce(ask.repository, &challenge, false).await?,
                None => None,
            },
        };
        let response = self.once(ask, introduction.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenges = challenges(response.headers());
        let known = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let Some(challenge) = known("bearer").or_else(|| known("basic")) else {
            let schemes: Vec<&str> = challenges.iter().map(|c| c.scheme.as_str()).collect();
            let words = format!("it asks for an authentication that tagboat does not know ({})", schemes.join(", "));
            return Err(self.refused(ask.repository, &words).await);
        };
        self.finder.forget();
        let fresh = introduction.is_some();
        let Some(introduction) = self.introduce(ask.repository, challenge, fresh).await? else {
            return Err(self.refused(ask.repository, "it wants credentials").await);
        };
        let again = self.once(ask, Some(&introduction)).await?;
        if again.status() == StatusCode::UNAUTHORIZED {
            return Err(self.refused(ask.repository, "it answered 401").await);
        }
        Ok(again)
    }

    /// What a challenge asks for. `fresh`: the token that is kept was refused.
    async fn introduce(
        &self,
        repository: &Repository,
        challenge: &Challenge,
        fresh: bool,
    ) -> Result<Option<Introduction>, RegistryError> {
        if challenge.scheme == "basic" {
            let found = self.credentials(repository).await?;
            if found.is_some() {
                self.tokens.wants_basic();
            }
            return Ok(found.map(|_| Introduction::Basic));
        }
        self.tokens.learn(repository.path(), challenge);
        let entry = self.tokens.entry(repository.path());
        let asked = tokio::time::Instant::now();
        let mut token = entry.lock().await;
        // Whoever held the lock meanwhile has fetched it.
        let waited = asked.elapsed() > Duration::from_millis(1);
        if let Some((token, until)) = &*token
            && (!fresh || waited)
            && tokio::time::Instant::now() < *until
        {
            return Ok(Some(Introduction::Bearer(token.clone())));
        }
        let (fetched, until) = self.token(repository, challenge).await?;
        *token = Some((fetched.clone(), until));
        Ok(Some(Introduction::Bearer(fetched)))
    }

    async fn token(
        &self,
        repository: &Repository,
        challenge: &Challenge,
    ) -> Result<(secrecy::SecretString, tokio::time::Instant), RegistryError> {
        let url = token_url(challenge, repository.path(), self.plain)
            .map_err(|words| self.error(RegistryErrorKind::Protocol, repository, &words, None))?;
        let credentials = self.credentials(repository).await?;
        let request = match &credentials {
            Some(c) if c.is_identity_token => {
                let service = challenge.parameters.get("service").cloned().unwrap_or_default();
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token").append_pair("service", &service);
                form.append_pair("client_id", "tagboat").append_pair("scope", &scope(challenge, repository.path()));
                form.append_pair("refresh_token", c.secret.expose_secret());
                let mut bare = url.clone();
                bare.set_query(None);
                let kind = "application/x-www-form-urlencoded";
                self.http.post(bare).header(http::header::CONTENT_TYPE, kind).body(form.finish())
            }
            Some(c) => self.http.get(url).basic_auth(&c.username, Some(c.secret.expose_secret())),
            None => self.http.get(url),
        };
        let sent = request.timeout(SHORT).send().await;
        let response = self.counted(repository, "token", sent)?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            self.finder.forget();
            return Err(self.refused(repository, &format!("its token service answered {}", status.as_u16())).await);
        }
        if !status.is_success() {
            return Err(self.failed_answer(repository, response).await);
        }
        let body = self.body(repository, response, DOCUMENT).await?;
        let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
        answer
            .and_then(TokenAnswer::token)
            .ok_or_else(|| self.error(RegistryErrorKind::Protocol, repository, "its token service gave no token", None))
    }

    async fn credentials(&self, repository: &Repository) -> Result<Option<crate::model::Credentials>, RegistryError> {
        let found = self.finder.find().await;
        found.map_err(|words| self.error(RegistryErrorKind::Unauthorized, repository, &words, None))
    }

    /// One request, counted.
    async fn once(&self, ask: &Ask<'_>, introduction: Option<&Introduction>) -> Result<Response, RegistryError> {
        let url = format!("{}{}/{}", self.base, ask.repository.path(), ask.path);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
        if let Some(Ok(etag)) = ask.if_none_match.map(HeaderValue::from_str) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        if let Some(introduction) = introduction {
            let mut value = self.authorization(ask.repository, introduction).await?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let sent = self.http.request(ask.method.clone(), url).headers(headers).timeout(ask.limit).send().await;
        self.counted(ask.repository, ask.method.as_str(), sent)
    }

    async fn authorization(&self, repository: &Repository, how: &Introduction) -> Result<HeaderValue, RegistryError> {
        use base64::Engine;
        let text = match how {
            Introduction::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Introduction::Basic => {
                let credentials = self.credentials(repository).await?;
                let pair =
                    credentials.map(|c| format!("{}:{}", c.username, c.secret.expose_secret())).unwrap_or_default();
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        };
        let words = "the credentials hold characters that can't be sent";
        HeaderValue::from_str(&text).map_err(|_| self.error(RegistryErrorKind::Unauthorized, repository, words, None))
    }

    fn counted(
        &self,
        repository: &Repository,
        method: &str,
        sent: Result<Response, reqwest::Error>,
    ) -> Result<Response, RegistryError> {
        let method = method.to_ascii_lowercase();
        let count = |status: &str| {
            self.metrics.registry_requests_total.with_label_values(&[&self.name, &method, status]).inc();
        };
        match sent {
            Ok(response) => {
                count(response.status().as_str());
                Ok(response)
            }
            Err(error) => {
                let error = self.broken(repository, error);
                count(error.kind.label());
                Err(error)
            }
        }
    }

    /// The body, if it is not larger than `most`.
    pub(super) async fn body(
        &self,
        repository: &Repository,
        mut response: Response,
        most: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(repository, error))? {
            if body.len() + chunk.len() > most {
                let words = format!("its answer is larger than {most} bytes");
                return Err(self.error(RegistryErrorKind::Protocol, repository, &words, None));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The error that an answer is.
    pub(super) async fn failed_answer(&self, repository: &Repository, response: Response) -> RegistryError {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.body(repository, response, WORDS).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let said = said(&text);
        let words = format!(
            "it answered {}{}",
            status.as_u16(),
            if said.is_empty() { String::new() } else { format!(": {said}") }
        );
        let kind = match status.as_u16() {
            404 => RegistryErrorKind::NotFound,
            401 | 403 => return self.refused(repository, &words).await,
            429 => RegistryErrorKind::RateLimited,
            500..=599 => RegistryErrorKind::Server,
            _ => RegistryErrorKind::Protocol,
        };
        RegistryError {
            retry_after: super::quota::retry_after(&headers, &text, Utc::now()),
            ..self.error(kind, repository, &words, None)
        }
    }

    /// Not let in: says who we were, what the registry said and what to do; never the secret.
    async fn refused(&self, repository: &Repository, words: &str) -> RegistryError {
        let who = match self.finder.find().await {
            Ok(Some(c)) if c.is_identity_token => format!("the identity token from {} was used", c.origin),
            Ok(Some(c)) => format!("user {:?} from {} was used", c.username, c.origin),
            Ok(None) => format!(
                "there are no credentials: add registries.\"{}\".username and password, or run `docker login {}`",
                self.name, self.name
            ),
            Err(problem) => problem,
        };
        self.error(RegistryErrorKind::Unauthorized, repository, &format!("{words}; {who}"), None)
    }

    fn broken(&self, repository: &Repository, error: reqwest::Error) -> RegistryError {
        let error = error.without_url();
        let beneath = chain(&error);
        let tls = ["certificate", "UnknownIssuer", "tls", "TLS"].iter().any(|word| beneath.contains(word));
        if tls {
            let hint = match &self.ca_file {
                Some(path) => format!("ca_file {} does not vouch for it", path.display()),
                None => format!("if it has a certificate of its own, set registries.\"{}\".ca_file", self.name),
            };
            let words = format!("no trusted connection to it ({beneath}); {hint}");
            return self.error(RegistryErrorKind::Tls, repository, &words, None);
        }
        let words = if error.is_timeout() { "it did not answer in time" } else { "it can't be reached" };
        self.error(RegistryErrorKind::Unreachable, repository, words, Some(Box::new(error)))
    }

    pub(super) fn error(
        &self,
        kind: RegistryErrorKind,
        repository: &Repository,
        words: &str,
        source: Option<crate::ports::Source>,
    ) -> RegistryError {
        RegistryError {
            kind,
            message: format!("registry {}, {}: {words}", self.name, repository.path()),
            retry_after: None,
            source,
        }
    }
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(parse).collect()
}

/// The registry's own words, from the error document of the specification or as they are, in one short line.
fn said(body: &str) -> String {
    let document: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = document.as_ref().and_then(|d| d.pointer("/errors/0"));
    let words = match error {
        Some(error) => {
            let text = |key: &str| error[key].as_str().unwrap_or_default();
            format!("{} {}", text("code"), text("message"))
        }
        None => body.to_owned(),
    };
    let line: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.join(": ")
}

/// A registry on this host is spoken to in plain HTTP, as Docker does.
fn is_loopback(api: &str) -> bool {
    let host = api.rsplit_once(':').map_or(api, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_plain_by_itself() {
        for (api, plain) in [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("registry:5000", false),
            ("localhost.example.com", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(api), plain, "{api}");
        }
    }

    #[test]
    fn a_registrys_words_become_one_short_line() {
        assert_eq!(said(r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#), "DENIED no way");
        assert_eq!(said(&"x".repeat(999)).len(), 200);
    }
}
