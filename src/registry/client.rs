//! The `Registry` port.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use chrono::Utc;
use http::header::ETAG;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Duration;

use crate::metrics::Metrics;
use crate::model::{
    Cached, CachedTags, Credentials, Digest, ManifestDetails, RegistryStatus, Repository, Resolved, Tag, TagList,
};
use crate::ports::{Registry, RegistryError, RegistryErrorKind, Store};

use super::credentials::{Finder, same_entries};
use super::documents::Documents;
use super::host::{Ask, Host, is_plain};
use super::manifest::{Document, config_platform, matches, read};
use super::pool::Pools;
use super::quota::spacing;
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
    documents: Documents,
    pub(super) metrics: Metrics,
    pub(super) store: Arc<dyn Store>,
}

/// Where to ask for a repository: its mirrors, then the registry itself.
struct Way {
    /// Called by its registry's own name.
    repository: Repository,
    mirrors: Vec<Arc<Host>>,
    origin: Arc<Host>,
}

impl Client {
    /// A client that has asked nobody yet.
    pub fn new(config: Config, metrics: Metrics, store: Arc<dyn Store>) -> Self {
        Self::with_limits(config, metrics, store, Limits::default())
    }

    pub(crate) fn with_limits(config: Config, metrics: Metrics, store: Arc<dyn Store>, limits: Limits) -> Self {
        // TLS needs a provider of cryptography; that somebody has set it already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (config, hosts, pools) = (RwLock::new(config), RwLock::default(), Pools::new(limits));
        Self { config, hosts, pools, limits, documents: Documents::default(), metrics, store }
    }

    /// Takes another configuration. A registry whose settings are the same keeps its tokens and waits; the others are
    /// set up anew, with what the store has of them. `ca_file`s are read again.
    pub fn reconfigure(&self, config: Config) {
        let mut current = self.config.write().expect("no holder panics");
        let same_docker = current.docker_config == config.docker_config;
        self.hosts.write().expect("no holder panics").retain(|_, host| {
            let settings = config.registries.get(&host.name).cloned().unwrap_or_default();
            let files = host.config.ca_file.is_some() || host.config.client_cert_file.is_some();
            same_docker
                && !files
                && same_settings(&settings, &host.config)
                && same_entries(&current, &config, &host.name)
        });
        self.pools.forget();
        *current = config;
    }

    /// Where to ask for a repository.
    fn way(&self, repository: &Repository) -> Result<Way, RegistryError> {
        // Held until the hosts are in their places, so that a change of the configuration can't come between.
        let config = self.config.read().expect("no holder panics");
        let repository = config.own_name(repository);
        let name = repository.registry();
        let mirrors = config.registries.get(name).map(|registry| registry.mirrors.as_slice()).unwrap_or_default();
        let mirrors = mirrors.iter().filter_map(|mirror| {
            let host = self.host(&config, &repository, (mirror, mirror, Some(name)));
            host.inspect_err(|error| tracing::warn!("mirror {mirror} is not used: {error}")).ok()
        });
        let mirrors = mirrors.collect();
        let origin = self.host(&config, &repository, (name, repository.api_host(), None))?;
        drop(config);
        Ok(Way { repository, mirrors, origin })
    }

    /// The registry itself, past its mirrors: one that keeps copies may not know yet what was pushed beside an image.
    pub(super) fn origin(&self, repository: &Repository) -> Result<(Repository, Arc<Host>), RegistryError> {
        let way = self.way(repository)?;
        Ok((way.repository, way.origin))
    }

    fn host(
        &self,
        config: &Config,
        repository: &Repository,
        place: (&str, &str, Option<&str>),
    ) -> Result<Arc<Host>, RegistryError> {
        let key = key(place.0, place.2);
        if let Some(host) = self.hosts.read().expect("no holder panics").get(&key) {
            return Ok(host.clone());
        }
        let settings = config.registries.get(place.0).cloned().unwrap_or_default();
        let finder = Finder::new(place.0, is_plain(place.1, &settings), config);
        let metrics = self.metrics.clone();
        let host = Host::new(place, &settings, finder, &self.pools, self.limits, metrics).map_err(|words| {
            let message = format!("{words} (asked for {repository})");
            RegistryError { kind: RegistryErrorKind::Tls, message, retry_after: None, source: None }
        })?;
        let mut hosts = self.hosts.write().expect("no holder panics");
        let host = hosts.entry(key).or_insert_with(|| {
            self.restore(&host);
            Arc::new(host)
        });
        Ok(host.clone())
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

    async fn resolve_at(
        &self,
        host: &Host,
        repository: &Repository,
        tag: &Tag,
        last: Option<&Cached>,
    ) -> Result<Resolved, RegistryError> {
        host.standing.lock().expect("no holder panics").watches(&reference(repository, tag));
        if host.habits.head_is_useless() {
            return self.resolve_by_get(host, repository, tag).await;
        }
        let conditional = last.and_then(|last| Some((last, sendable(last.etag.as_deref(), &last.digest)?)));
        let path = format!("manifests/{tag}");
        let ask = Ask { method: Method::HEAD, repository, path, if_none_match: conditional.map(|(_, etag)| etag) };
        let answer = self.ask(host, &ask, &ODD).await?;
        match (answer.status.as_u16(), conditional) {
            (304, Some((last, _))) => {
                Ok(Resolved { digest: last.digest.clone(), cached: last.clone(), not_modified: true })
            }
            (200..=299, _) => {
                host.habits.found(&reference(repository, tag));
                match read_head(&answer.headers, last) {
                    Some(cached) => Ok(Resolved { digest: cached.digest.clone(), cached, not_modified: false }),
                    None => self.resolve_by_get(host, repository, tag).await,
                }
            }
            (404, _) if host.habits.is_missing(&reference(repository, tag)) => {
                Err(host.failed_answer(repository, &format!("{} is answered with", ask.path), &answer).await)
            }
            (400 | 404 | 405 | 501, _) => self.tell_by_get(host, repository, tag, answer.status).await,
            _ => {
                let words = format!("{} is answered with {}, which was not asked for", ask.path, answer.status);
                Err(host.error(RegistryErrorKind::Protocol, repository, &words, None))
            }
        }
    }

    async fn manifest_at(
        &self,
        host: &Host,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<ManifestDetails, RegistryError> {
        let protocol = |words: &str| host.error(RegistryErrorKind::Protocol, repository, words, None);
        let body = self.get(host, repository, format!("manifests/{digest}")).await?;
        let foreign = |digest: &Digest| protocol(&format!("what it gave for {digest} has another digest"));
        if !matches(digest, &body) {
            return Err(foreign(digest));
        }
        let details = match read(digest, &body).map_err(|words| protocol(&words))? {
            Document::Index(details) => details,
            Document::Manifest(config) => {
                let body = self.get(host, repository, format!("blobs/{config}")).await?;
                if !matches(&config, &body) {
                    return Err(foreign(&config));
                }
                let platforms = vec![(config_platform(&body), digest.clone())];
                ManifestDetails { digest: digest.clone(), platforms }
            }
        };
        self.documents.put(repository, &details);
        Ok(details)
    }
}

/// A mirror that does not answer is no failure: the registry itself is asked next.
fn passed_over(error: &RegistryError) {
    tracing::debug!("a mirror is passed over: {error}");
}

/// The same but for who we are, which `same_entries` compares.
fn same_settings(one: &RegistryConfig, other: &RegistryConfig) -> bool {
    one.ca_file == other.ca_file
        && one.client_cert_file == other.client_cert_file
        && one.client_key_file == other.client_key_file
        && one.insecure == other.insecure
        && one.http == other.http
        && one.mirrors == other.mirrors
        && one.aliases == other.aliases
        && one.max_concurrent == other.max_concurrent
}

/// What a host is kept by: a mirror's answers for one registry say nothing about those for another.
pub(super) fn key(name: &str, ns: Option<&str>) -> String {
    ns.map_or_else(|| name.to_owned(), |ns| format!("{name}?ns={ns}"))
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
        let Way { repository, mirrors, origin } = self.way(repository)?;
        for mirror in &mirrors {
            match self.resolve_at(mirror, &repository, tag, last).await {
                Ok(resolved) => return Ok(resolved),
                Err(error) => passed_over(&error),
            }
        }
        self.resolve_at(&origin, &repository, tag, last).await
    }

    async fn tags(&self, repository: &Repository, last: Option<&CachedTags>) -> Result<TagList, RegistryError> {
        // A mirror may list only what went through it.
        let (repository, origin) = self.origin(repository)?;
        tags::read(self, &origin, &repository, last).await
    }

    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<ManifestDetails, RegistryError> {
        let Way { repository, mirrors, origin } = self.way(repository)?;
        if let Some(known) = self.documents.get(&repository, digest) {
            return Ok(known);
        }
        for mirror in &mirrors {
            match self.manifest_at(mirror, &repository, digest).await {
                Ok(details) => return Ok(details),
                Err(error) => passed_over(&error),
            }
        }
        self.manifest_at(&origin, &repository, digest).await
    }

    async fn pull_auth(&self, repository: &Repository) -> Result<Option<Credentials>, RegistryError> {
        let (repository, origin) = self.origin(repository)?;
        origin.credentials(&repository).await
    }

    fn spacing(&self, repository: &Repository) -> Option<Duration> {
        let (_, origin) = self.origin(repository).ok()?;
        let spacing = {
            let standing = origin.standing.lock().expect("no holder panics");
            spacing(standing.quota.as_ref()?, standing.watched(), Utc::now())
        };
        let seconds = spacing.and_then(|spacing| i64::try_from(spacing.as_secs()).ok()).unwrap_or_default();
        self.metrics.registry_check_spacing_seconds.with_label_values(&[&origin.name]).set(seconds);
        spacing
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
