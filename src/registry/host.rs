//! One registry: a request to it with everything around it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ACCEPT, AUTHORIZATION, IF_NONE_MATCH, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant};
use url::Url;

use crate::metrics::Metrics;
use crate::model::{Credentials, Repository};
use crate::ports::{RegistryError, RegistryErrorKind};

use super::auth::{Introduction, Tokens};
use super::backoff::Standing;
use super::challenge::{Challenge, parse};
use super::credentials::Finder;
use super::habits::Habits;
use super::lanes::Lanes;
use super::pool::{Pools, Trust};
use super::{DOCUMENT, Limits, RegistryConfig};

/// Requests to one registry at once: polite, and enough for a hundred tags a second at 30 ms.
const CONCURRENT: usize = 4;

/// The words of a refusal are read up to this.
const WORDS: usize = 8 << 10;

/// Storage is behind one redirect, rarely two.
const REDIRECTS: usize = 5;

/// The four types, in one line: with one missing, registries answer 404 or with another digest.
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A registry.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    base: String,
    pub(super) plain: bool,
    pub(super) config: RegistryConfig,
    pub(super) http: reqwest::Client,
    pub(super) limits: Limits,
    /// Of a mirror: whose images are asked for (`?ns=`).
    pub(super) ns: Option<String>,
    /// Requests under way at once.
    pub(super) slots: Semaphore,
    /// One request of a repository at a time.
    pub(super) lanes: Lanes,
    pub(super) tokens: Tokens,
    pub(super) finder: Finder,
    pub(super) standing: Mutex<Standing>,
    pub(super) habits: Habits,
    /// It has answered since the start, whatever it said.
    pub(super) has_answered: AtomicBool,
    metrics: Metrics,
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) repository: &'a Repository,
    /// After `/v2/<repository>/`.
    pub(super) path: String,
    pub(super) if_none_match: Option<&'a str>,
}

/// An answer, read to its end; of a refusal only the beginning.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Host {
    /// Prepares the way to a registry, or to a mirror of the one called `ns`. The error is a sentence for a person.
    pub(super) fn new(
        (name, api, ns): (&str, &str, Option<&str>),
        config: &RegistryConfig,
        finder: Finder,
        pools: &Pools,
        limits: Limits,
        metrics: Metrics,
    ) -> Result<Self, String> {
        let plain = is_plain(api, config);
        let trust = Trust {
            plain,
            here: is_loopback(api),
            authorities: config.ca_file.clone().filter(|_| !plain),
            anything: config.insecure && !plain,
            identity: config.client_cert_file.clone().map(|path| (path, config.client_key_file.clone())),
        };
        Ok(Self {
            name: name.to_owned(),
            base: format!("{}://{api}/v2/", if plain { "http" } else { "https" }),
            plain,
            ns: ns.map(str::to_owned),
            config: config.clone(),
            http: pools.client(&trust).map_err(|words| format!("registry {name}: {words}"))?,
            limits,
            slots: Semaphore::new(config.max_concurrent.unwrap_or(CONCURRENT).clamp(1, Semaphore::MAX_PERMITS)),
            lanes: Lanes::default(),
            tokens: Tokens::default(),
            finder,
            standing: Mutex::default(),
            habits: Habits::default(),
            has_answered: AtomicBool::new(false),
            metrics,
        })
    }

    /// Sends a request, introduced as the registry wants it. 401 leads to one more try with a fresh token; what the
    /// answer means beyond that is the caller's business.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Answer, RegistryError> {
        let path = ask.repository.path();
        let introduction = match self.tokens.ready(path).await {
            Some(ready) => Some(ready),
            None => match self.tokens.known_challenge(path) {
                Some(challenge) => self.introduce(ask.repository, &challenge, None).await?,
                // What holds for another repository here most likely holds for this one; if not, it will say so itself.
                None => match self.tokens.likely_challenge() {
                    Some(challenge) => self.introduce(ask.repository, &challenge, None).await.unwrap_or_default(),
                    None => None,
                },
            },
        };
        let mut answer = self.once(ask, introduction.as_ref()).await?;
        // zot says what it wants only to those who say nothing, so a token that it does not take any more would be shown
        // to it for ever.
        if answer.status == StatusCode::UNAUTHORIZED && introduction.is_some() && challenges(&answer.headers).is_empty()
        {
            answer = self.once(ask, None).await?;
        }
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let challenges = challenges(&answer.headers);
        let known = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let Some(challenge) = known("bearer").or_else(|| known("basic")) else {
            let schemes: Vec<&str> = challenges.iter().map(|c| c.scheme.as_str()).collect();
            let words = match schemes.as_slice() {
                [] => "it answered 401 and does not say what it asks for".to_owned(),
                schemes => format!("it answered 401 and asks for nothing that tagboat knows ({})", schemes.join(", ")),
            };
            return Err(self.refused(ask.repository, &words).await);
        };
        if challenge.scheme == "bearer" {
            self.tokens.learn(path, challenge);
        }
        let Some(introduction) = self.introduce(ask.repository, challenge, introduction.as_ref()).await? else {
            return Ok(answer);
        };
        self.once(ask, Some(&introduction)).await
    }

    /// One request, as it is.
    async fn once(&self, ask: &Ask<'_>, introduction: Option<&Introduction>) -> Result<Answer, RegistryError> {
        let repository = ask.repository;
        let url = format!("{}{}/{}", self.base, repository.path(), ask.path);
        let words = format!("{url} is no address");
        let mut url: Url =
            url.parse().map_err(|_| self.error(RegistryErrorKind::Protocol, repository, &words, None))?;
        if let Some(ns) = &self.ns {
            url.query_pairs_mut().append_pair("ns", ns);
        }
        let mut headers = HeaderMap::new();
        if ask.path.starts_with("manifests/") {
            headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
        }
        if let Some(Ok(etag)) = ask.if_none_match.map(HeaderValue::from_str) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        match introduction {
            Some(Introduction::Bearer(token)) => {
                let value = self.authorization(repository, &format!("Bearer {}", token.expose_secret()))?;
                headers.insert(AUTHORIZATION, value);
            }
            Some(Introduction::Basic) => {
                if let Some(used) = self.credentials(repository).await? {
                    headers.insert(AUTHORIZATION, self.basic(repository, &used)?);
                }
            }
            None => {}
        }
        let limit = if ask.method == Method::HEAD { self.limits.short } else { self.limits.long };
        let how = (ask.method.as_str(), ask.method.clone());
        let response = self.deliver(repository, how, url, headers, limit).await?;
        self.read(repository, response).await
    }

    /// Sends, and goes where the answers point. What introduces us stays with the origin it is for, and from https there
    /// is no way to http.
    pub(super) async fn deliver(
        &self,
        repository: &Repository,
        (label, method): (&str, Method),
        mut url: Url,
        mut headers: HeaderMap,
        limit: Duration,
    ) -> Result<Response, RegistryError> {
        let end = Instant::now() + limit;
        for _ in 0..=REDIRECTS {
            let request = self.http.request(method.clone(), url.clone()).headers(headers.clone());
            let sent = request.timeout(end.saturating_duration_since(Instant::now())).send().await;
            let response = self.counted(repository, label, sent)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let protocol = |words: &str| self.error(RegistryErrorKind::Protocol, repository, words, None);
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| protocol("it redirects to no address"))?;
            if !(next.scheme() == "https" || (next.scheme() == "http" && url.scheme() == "http")) {
                return Err(protocol("it redirects to what is not https"));
            }
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(self.error(RegistryErrorKind::Protocol, repository, "it redirects too often", None))
    }

    /// The address of its API.
    pub(super) fn api(&self, repository: &Repository) -> Result<Url, RegistryError> {
        let words = format!("{} is no address", self.base);
        self.base.parse().map_err(|_| self.error(RegistryErrorKind::Protocol, repository, &words, None))
    }

    pub(super) fn basic(&self, repository: &Repository, used: &Credentials) -> Result<HeaderValue, RegistryError> {
        use base64::Engine;
        let pair = format!("{}:{}", used.username, used.secret.expose_secret());
        let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        self.authorization(repository, &text)
    }

    pub(super) fn authorization(&self, repository: &Repository, text: &str) -> Result<HeaderValue, RegistryError> {
        let words = "its token holds characters that can't be sent";
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| self.error(RegistryErrorKind::Protocol, repository, words, None))?;
        value.set_sensitive(true);
        Ok(value)
    }

    pub(super) fn counted(
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
                self.has_answered.store(true, Ordering::Relaxed);
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

    pub(super) async fn read(&self, repository: &Repository, mut response: Response) -> Result<Answer, RegistryError> {
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Err(error) if status.is_success() => return Err(self.broken(repository, error)),
                _ => break,
            };
            body.extend_from_slice(&chunk);
            if !status.is_success() && body.len() >= WORDS {
                body.truncate(WORDS);
                break;
            }
            if body.len() > DOCUMENT {
                let words = format!("its answer is larger than {DOCUMENT} bytes");
                return Err(self.error(RegistryErrorKind::Protocol, repository, &words, None));
            }
        }
        Ok(Answer { status, headers, body })
    }
}

pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(parse).collect()
}

/// Whether a registry is spoken to in plain HTTP. Whoever names certificates for one on this host means TLS.
pub(super) fn is_plain(api: &str, config: &RegistryConfig) -> bool {
    let means_tls = config.insecure || config.ca_file.is_some() || config.client_cert_file.is_some();
    config.http || (is_loopback(api) && !means_tls)
}

/// A registry on this host is spoken to in plain HTTP, as Docker does.
fn is_loopback(api: &str) -> bool {
    let host = match api.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => api.split_once(':').map_or(api, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_plain_by_itself() {
        for (api, plain) in [
            ("localhost:5000", true),
            ("localhost", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("registry:5000", false),
            ("localhost.example.com", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(api), plain, "{api}");
        }
    }
}
