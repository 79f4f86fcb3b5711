//! The `Registry` port.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use chrono::Utc;
use http::header::ETAG;
use http::{HeaderMap, Method, StatusCode};

use crate::metrics::Metrics;
use crate::model::{
    Cached, CachedTags, Credentials, Digest, ManifestDetails, RegistryStatus, Repository, Resolved, Tag, TagList,
};
use crate::ports::{Registry, RegistryError, RegistryErrorKind, Store};

use super::backoff::Standing;
use super::credentials::{Finder, same_entries};
use super::host::{Answer, Ask, Host, is_plain};
use super::manifest::{Document, config_platform, matches, read};
use super::pool::Pools;
use super::quota::quota;
use super::refusal::trouble;
use super::{Config, Limits, RegistryConfig, tags};

/// Answers to a HEAD that `resolve` makes sense of.
const ODD: [StatusCode; 5] = [
    StatusCode::NOT_MODIFIED,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_IMPLEMENTED,
];

/// Every registry that is asked.
pub struct Client {
    config: RwLock<Config>,
    hosts: RwLock<HashMap<String, Arc<Host>>>,
    pools: Pools,
    limits: Limits,
    pub(super) metrics: Metrics,
    store: Arc<dyn Store>,
}

impl Client {
    /// A client that has asked nobody yet.
    pub fn new(config: Config, metrics: Metrics, store: Arc<dyn Store>) -> Self {
        Self::with_limits(config, metrics, store, Limits::default())
    }

    pub(super) fn with_limits(config: Config, metrics: Metrics, store: Arc<dyn Store>, limits: Limits) -> Self {
        // TLS needs a provider of cryptography; that somebody has set it already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (config, hosts, pools) = (RwLock::new(config), RwLock::default(), Pools::new(limits));
        Self { config, hosts, pools, limits, metrics, store }
    }

    /// Takes another configuration. A registry whose settings are the same keeps its tokens and waits; the others are
    /// set up anew, with what the store has of them. `ca_file`s are read again.
    pub fn reconfigure(&self, config: Config) {
        let mut current = self.config.write().expect("no holder panics");
        let same_docker = current.docker_config == config.docker_config;
        self.hosts.write().expect("no holder panics").retain(|name, host| {
            let settings = config.registries.get(name).cloned().unwrap_or_default();
            same_docker
                && host.config.ca_file.is_none()
                && same_settings(&settings, &host.config)
                && same_entries(&current, &config, name)
        });
        self.pools.forget();
        *current = config;
    }

    fn host(&self, repository: &Repository) -> Result<Arc<Host>, RegistryError> {
        let name = repository.registry();
        if let Some(host) = self.hosts.read().expect("no holder panics").get(name) {
            return Ok(host.clone());
        }
        // Held until the host is in its place, so that a change of the configuration can't come between.
        let config = self.config.read().expect("no holder panics");
        let settings = config.registries.get(name).cloned().unwrap_or_default();
        let finder = Finder::new(name, is_plain(repository.api_host(), &settings), &config);
        let host = Host::new(repository, &settings, finder, &self.pools, self.limits, self.metrics.clone()).map_err(
            |message| RegistryError { kind: RegistryErrorKind::Tls, message, retry_after: None, source: None },
        )?;
        let mut hosts = self.hosts.write().expect("no holder panics");
        let host = hosts.entry(name.to_owned()).or_insert_with(|| {
            self.restore(&host);
            Arc::new(host)
        });
        Ok(host.clone())
    }

    /// What the last run knew of a registry.
    fn restore(&self, host: &Host) {
        let note = self.store.note(&note_key(&host.name)).unwrap_or_else(|error| {
            tracing::debug!(registry = host.name, %error, "an earlier wait is not known");
            None
        });
        let Some(standing) = note.and_then(|bytes| serde_json::from_slice::<Standing>(&bytes).ok()) else { return };
        self.show(host, &standing);
        *host.standing.lock().expect("no holder panics") = standing;
    }

    /// An error at once while the registry or the repository is not to be asked.
    fn waiting(&self, host: &Host, repository: &Repository) -> Result<(), RegistryError> {
        let now = Utc::now();
        let standing = host.standing.lock().expect("no holder panics");
        let Some((until, kind, why)) = standing.waits(repository.path(), now) else { return Ok(()) };
        let words = format!("not asked before {} because of this: {why}", until.format("%H:%M:%S UTC"));
        Err(RegistryError { retry_after: (until - now).to_std().ok(), ..host.error(kind, repository, &words, None) })
    }

    /// Sends, and learns from the answer or the lack of one. `fine` are answers that are no failures to the caller.
    pub(super) async fn ask(&self, host: &Host, ask: &Ask<'_>, fine: &[StatusCode]) -> Result<Answer, RegistryError> {
        // The slot comes first: whoever queued for it must see the wait that those before ran into.
        let _slot = host.slots.acquire().await.expect("the semaphore is never closed");
        self.waiting(host, ask.repository)?;
        let answered = match host.send(ask).await {
            Ok(answer) => {
                self.read_quota(host, &answer.headers);
                if answer.status.is_success() || fine.contains(&answer.status) {
                    Ok(answer)
                } else {
                    let what = format!("{} is answered with", ask.path);
                    Err(host.failed_answer(ask.repository, &what, &answer).await)
                }
            }
            Err(error) => Err(error),
        };
        let path = ask.repository.path();
        let changed = {
            let mut standing = host.standing.lock().expect("no holder panics");
            match answered.as_ref().map_err(|error| (error, trouble(error))) {
                Err((error, Some(trouble))) => {
                    let (why, wait) = (&error.message, error.retry_after);
                    standing.failed(path, trouble, why, wait, Utc::now(), rand::random())
                }
                _ => standing.well(path, Utc::now()),
            }
        };
        if changed {
            self.keep(host);
        }
        answered
    }

    fn read_quota(&self, host: &Host, headers: &HeaderMap) {
        let Some(quota) = quota(headers, Utc::now()) else { return };
        let gauge = |value: Option<u64>, gauge: &prometheus::IntGaugeVec| {
            if let Some(value) = value.and_then(|v| i64::try_from(v).ok()) {
                gauge.with_label_values(&[&host.name]).set(value);
            }
        };
        gauge(quota.remaining, &self.metrics.registry_quota_remaining);
        gauge(quota.limit, &self.metrics.registry_quota_limit);
        let now = quota.at;
        let kept = {
            let mut standing = host.standing.lock().expect("no holder panics");
            standing.quota = Some(quota);
            standing.quota_is_kept(now)
        };
        if !kept {
            self.keep(host);
        }
    }

    /// Writes down what must survive a restart.
    fn keep(&self, host: &Host) {
        let standing: Standing = host.standing.lock().expect("no holder panics").clone();
        self.show(host, &standing);
        let bytes = serde_json::to_vec(&standing).expect("a standing can be written as JSON");
        if let Err(error) = self.store.put_note(&note_key(&host.name), &bytes) {
            tracing::debug!(registry = host.name, %error, "the wait is forgotten at a restart");
        }
    }

    fn show(&self, host: &Host, standing: &Standing) {
        let until = standing.whole(Utc::now()).map_or(0, |(until, _)| until.timestamp());
        self.metrics.registry_backoff_until_timestamp_seconds.with_label_values(&[&host.name]).set(until);
    }

    /// The document behind a tag or digest, whole.
    async fn get(&self, host: &Host, repository: &Repository, path: String) -> Result<Vec<u8>, RegistryError> {
        let ask = Ask { method: Method::GET, repository, path, if_none_match: None };
        Ok(self.ask(host, &ask, &[]).await?.body)
    }

    /// Where HEAD is of no use: GET, and the digest of what comes.
    async fn resolve_by_get(&self, host: &Host, repository: &Repository, tag: &Tag) -> Result<Resolved, RegistryError> {
        let body = self.get(host, repository, format!("manifests/{tag}")).await?;
        let digest = Digest::of(&body);
        Ok(Resolved { cached: Cached { digest: digest.clone(), etag: None }, digest, not_modified: false })
    }

    /// HEAD was refused in a way that may concern the method and not the tag: GET tells.
    async fn tell_by_get(
        &self,
        host: &Host,
        repository: &Repository,
        tag: &Tag,
        status: StatusCode,
    ) -> Result<Resolved, RegistryError> {
        let got = self.resolve_by_get(host, repository, tag).await;
        match &got {
            Ok(_) if host.habits.failed(status) => {
                tracing::info!(registry = host.name, %status, "HEAD is not supported: manifests are fetched whole");
            }
            Err(error) if error.kind == RegistryErrorKind::NotFound && status == StatusCode::NOT_FOUND => {
                host.habits.missing(reference(repository, tag));
            }
            _ => {}
        }
        got
    }
}

/// The same but for who we are, which `same_entries` compares.
fn same_settings(one: &RegistryConfig, other: &RegistryConfig) -> bool {
    one.ca_file == other.ca_file && one.http == other.http && one.max_concurrent == other.max_concurrent
}

fn note_key(registry: &str) -> String {
    format!("registry/{registry}")
}

fn reference(repository: &Repository, tag: &Tag) -> String {
    format!("{}:{tag}", repository.path())
}

/// Only an ETag that is the quoted digest is known to mean what we take it for (some registries' is another hash).
fn sendable<'a>(etag: Option<&'a str>, digest: &Digest) -> Option<&'a str> {
    etag.filter(|etag| etag.strip_prefix('"').and_then(|e| e.strip_suffix('"')) == Some(digest.as_str()))
}

/// What an answer to HEAD says of the digest.
fn read_head(headers: &HeaderMap, last: Option<&Cached>) -> Option<Cached> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(digest) = text("docker-content-digest").and_then(|digest| digest.parse().ok()) {
        let etag = sendable(text(ETAG.as_str()), &digest).map(str::to_owned);
        return Some(Cached { digest, etag });
    }
    // Artifactory. Enough to see that nothing has moved; what has is fetched.
    let hint: Digest = format!("sha256:{}", text("x-checksum-sha256")?).parse().ok()?;
    last.filter(|last| last.digest == hint).map(|last| Cached { etag: None, ..last.clone() })
}

#[async_trait]
impl Registry for Client {
    async fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
        last: Option<&Cached>,
    ) -> Result<Resolved, RegistryError> {
        let host = self.host(repository)?;
        if host.habits.head_is_useless() {
            return self.resolve_by_get(&host, repository, tag).await;
        }
        let conditional = last.and_then(|last| Some((last, sendable(last.etag.as_deref(), &last.digest)?)));
        let path = format!("manifests/{tag}");
        let ask = Ask { method: Method::HEAD, repository, path, if_none_match: conditional.map(|(_, etag)| etag) };
        let answer = self.ask(&host, &ask, &ODD).await?;
        match (answer.status.as_u16(), conditional) {
            (304, Some((last, _))) => {
                Ok(Resolved { digest: last.digest.clone(), cached: last.clone(), not_modified: true })
            }
            (200..=299, _) => {
                host.habits.found(&reference(repository, tag));
                match read_head(&answer.headers, last) {
                    Some(cached) => Ok(Resolved { digest: cached.digest.clone(), cached, not_modified: false }),
                    None => self.resolve_by_get(&host, repository, tag).await,
                }
            }
            (404, _) if host.habits.is_missing(&reference(repository, tag)) => {
                Err(host.failed_answer(repository, &format!("{} is answered with", ask.path), &answer).await)
            }
            (400 | 404 | 405 | 501, _) => self.tell_by_get(&host, repository, tag, answer.status).await,
            _ => {
                let words = format!("{} is answered with {}, which was not asked for", ask.path, answer.status);
                Err(host.error(RegistryErrorKind::Protocol, repository, &words, None))
            }
        }
    }

    async fn tags(&self, repository: &Repository, last: Option<&CachedTags>) -> Result<TagList, RegistryError> {
        let host = self.host(repository)?;
        tags::read(self, &host, repository, last).await
    }

    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<ManifestDetails, RegistryError> {
        let host = self.host(repository)?;
        let protocol = |words: &str| host.error(RegistryErrorKind::Protocol, repository, words, None);
        let body = self.get(&host, repository, format!("manifests/{digest}")).await?;
        let foreign = |digest: &Digest| protocol(&format!("what it gave for {digest} has another digest"));
        if !matches(digest, &body) {
            return Err(foreign(digest));
        }
        match read(digest, &body).map_err(|words| protocol(&words))? {
            Document::Index(details) => Ok(details),
            Document::Manifest(config) => {
                let body = self.get(&host, repository, format!("blobs/{config}")).await?;
                if !matches(&config, &body) {
                    return Err(foreign(&config));
                }
                Ok(ManifestDetails {
                    digest: digest.clone(),
                    platforms: vec![(config_platform(&body), digest.clone())],
                })
            }
        }
    }

    async fn pull_auth(&self, repository: &Repository) -> Result<Option<Credentials>, RegistryError> {
        let host = self.host(repository)?;
        host.credentials(repository).await
    }

    fn status(&self) -> Vec<RegistryStatus> {
        let now = Utc::now();
        let hosts = self.hosts.read().expect("no holder panics");
        let mut statuses: Vec<RegistryStatus> = hosts
            .values()
            .map(|host| {
                let standing = host.standing.lock().expect("no holder panics");
                RegistryStatus {
                    registry: host.name.clone(),
                    backing_off: standing.whole(now),
                    quota: standing.quota.clone(),
                }
            })
            .collect();
        statuses.sort_by(|a, b| a.registry.cmp(&b.registry));
        statuses
    }
}
