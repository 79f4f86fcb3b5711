//! The `Registry` port.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use chrono::Utc;
use http::header::ETAG;
use http::{HeaderMap, Method, StatusCode};

use crate::metrics::Metrics;
use crate::model::{Cached, Credentials, Digest, ManifestDetails, RegistryStatus, Repository, Resolved, Tag};
use crate::ports::{Registry, RegistryError, RegistryErrorKind, Store};

use super::backoff::Standing;
use super::host::{Ask, Host};
use super::manifest::{Document, config_platform, read};
use super::quota::quota;
use super::{Config, DOCUMENT, LONG, SHORT};

/// Every registry that is asked.
pub struct Client {
    config: Config,
    hosts: RwLock<HashMap<String, Arc<Host>>>,
    metrics: Metrics,
    store: Arc<dyn Store>,
}

impl Client {
    /// A client that has asked nobody yet.
    pub fn new(config: Config, metrics: Metrics, store: Arc<dyn Store>) -> Self {
        // TLS needs a provider of cryptography; that somebody has set it already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { config, hosts: RwLock::new(HashMap::new()), metrics, store }
    }

    fn host(&self, repository: &Repository) -> Result<Arc<Host>, RegistryError> {
        let name = repository.registry();
        if let Some(host) = self.hosts.read().expect("no holder panics").get(name) {
            return Ok(host.clone());
        }
        let config = self.config.registries.get(name).cloned().unwrap_or_default();
        let standing = self.store.note(&note_key(name)).ok().flatten();
        let standing = standing.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let host = Host::new(repository, &config, standing, self.metrics.clone()).map_err(|message| RegistryError {
            kind: RegistryErrorKind::Tls,
            message,
            retry_after: None,
            source: None,
        })?;
        let mut hosts = self.hosts.write().expect("no holder panics");
        Ok(hosts.entry(name.to_owned()).or_insert_with(|| Arc::new(host)).clone())
    }

    /// An error at once while the registry is not to be asked.
    fn waiting(&self, host: &Host, repository: &Repository) -> Result<(), RegistryError> {
        let now = Utc::now();
        let standing = host.standing.lock().expect("no holder panics");
        let Some((until, why)) = standing.waits(repository.path(), now) else { return Ok(()) };
        let words = format!("not asked before {} because {why}", until.format("%H:%M:%S UTC"));
        let kind =
            if standing.whole(now).is_some() { RegistryErrorKind::RateLimited } else { RegistryErrorKind::Server };
        Err(RegistryError { retry_after: (until - now).to_std().ok(), ..host.error(kind, repository, &words, None) })
    }

    /// Sends, and learns from the answer or the lack of one.
    async fn ask(&self, host: &Host, ask: &Ask<'_>, fine: &[StatusCode]) -> Result<reqwest::Response, RegistryError> {
        self.waiting(host, ask.repository)?;
        let answered = match host.send(ask).await {
            Ok(response) if response.status().is_success() || fine.contains(&response.status()) => Ok(response),
            Ok(response) => {
                self.read_quota(host, response.headers());
                Err(host.failed_answer(ask.repository, response).await)
            }
            Err(error) => Err(error),
        };
        let path = ask.repository.path();
        let changed = {
            let mut standing = host.standing.lock().expect("no holder panics");
            match &answered {
                Ok(_) => standing.well(path),
                Err(error) => {
                    let why = error.message.clone();
                    standing.failed(path, error.kind, &why, error.retry_after, Utc::now(), rand::random())
                }
            }
        };
        if let Ok(response) = &answered {
            self.read_quota(host, response.headers());
        }
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
        let before = host.standing.lock().expect("no holder panics").quota.replace(quota.clone());
        if before.is_none_or(|before| before.remaining != quota.remaining) {
            self.keep(host);
        }
    }

    /// Writes down what must survive a restart.
    fn keep(&self, host: &Host) {
        let standing: Standing = host.standing.lock().expect("no holder panics").clone();
        let until = standing.whole(Utc::now()).map_or(0, |(until, _)| until.timestamp());
        self.metrics.registry_backoff_until_timestamp_seconds.with_label_values(&[&host.name]).set(until);
        let bytes = serde_json::to_vec(&standing).expect("a standing can be written as JSON");
        if let Err(error) = self.store.put_note(&note_key(&host.name), &bytes) {
            tracing::debug!(registry = host.name, %error, "the wait is forgotten at a restart");
        }
    }

    /// The document behind a tag or digest, whole.
    async fn get(&self, host: &Host, repository: &Repository, path: String) -> Result<Vec<u8>, RegistryError> {
        let ask = Ask { method: Method::GET, repository, path, if_none_match: None, limit: LONG };
        let response = self.ask(host, &ask, &[]).await?;
        host.body(repository, response, DOCUMENT).await
    }

    /// Where HEAD is of no use: GET, and the digest of what comes.
    async fn resolve_by_get(&self, host: &Host, repository: &Repository, tag: &Tag) -> Result<Resolved, RegistryError> {
        let body = self.get(host, repository, format!("manifests/{tag}")).await?;
        let digest = Digest::of(&body);
        Ok(Resolved { cached: Cached { digest: digest.clone(), etag: None }, digest, not_modified: false })
    }
}

fn note_key(registry: &str) -> String {
    format!("registry/{registry}")
}

/// The digest that an answer names, and the ETag if it may be sent back: only one that is the quoted digest is known
/// to mean what we take it for (some registries' ETag is something else's hash).
fn read_head(headers: &HeaderMap) -> Option<(Digest, Option<String>)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let digest: Digest = text("docker-content-digest")?.parse().ok()?;
    let etag = text(ETAG.as_str()).filter(|etag| etag.trim_matches('"') == digest.as_str());
    Some((digest, etag.map(str::to_owned)))
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
        if host.head_unsupported.load(Ordering::Relaxed) {
            return self.resolve_by_get(&host, repository, tag).await;
        }
        let etag = last.and_then(|cached| cached.etag.as_deref());
        let path = format!("manifests/{tag}");
        let ask = Ask { method: Method::HEAD, repository, path, if_none_match: etag, limit: SHORT };
        let odd = [
            StatusCode::NOT_MODIFIED,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_IMPLEMENTED,
        ];
        let response = self.ask(&host, &ask, &odd).await?;
        match (response.status(), last) {
            (StatusCode::NOT_MODIFIED, Some(last)) => {
                Ok(Resolved { digest: last.digest.clone(), cached: last.clone(), not_modified: true })
            }
            (status, _) if status.is_success() => match read_head(response.headers()) {
                Some((digest, etag)) => {
                    Ok(Resolved { cached: Cached { digest: digest.clone(), etag }, digest, not_modified: false })
                }
                None => self.resolve_by_get(&host, repository, tag).await,
            },
            _ => {
                tracing::info!(registry = host.name, "HEAD is not supported: manifests are fetched whole");
                host.head_unsupported.store(true, Ordering::Relaxed);
                self.resolve_by_get(&host, repository, tag).await
            }
        }
    }

    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<ManifestDetails, RegistryError> {
        let host = self.host(repository)?;
        let protocol = |words: &str| host.error(RegistryErrorKind::Protocol, repository, words, None);
        let body = self.get(&host, repository, format!("manifests/{digest}")).await?;
        if digest.as_str().starts_with("sha256:") && Digest::of(&body) != *digest {
            return Err(protocol(&format!("what it gave for {digest} has another digest")));
        }
        match read(digest, &body).map_err(|words| protocol(&words))? {
            Document::Index(details) => Ok(details),
            Document::Manifest(config) => {
                let body = self.get(&host, repository, format!("blobs/{config}")).await?;
                Ok(ManifestDetails {
                    digest: digest.clone(),
                    platforms: vec![(config_platform(&body), digest.clone())],
                })
            }
        }
    }

    async fn pull_auth(&self, repository: &Repository) -> Result<Option<Credentials>, RegistryError> {
        let host = self.host(repository)?;
        host.finder.find().await.map_err(|words| host.error(RegistryErrorKind::Unauthorized, repository, &words, None))
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
