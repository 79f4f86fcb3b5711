//! What has to be fetched to check a proof: certificates and keys, over https, small, quickly, and remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, timeout};
use url::Url;

/// For one document; a sender waits for its answer meanwhile, Pub/Sub 10 s at least.
const TIME: Duration = Duration::from_secs(4);
/// A set of keys has some kilobytes.
const LARGEST: usize = 256 * 1024;
/// Keys are rotated by the day; a new one is found because its name is new.
const FRESH: Duration = Duration::from_secs(3600);
/// What could not be fetched is not asked for again at once.
const FAILED: Duration = Duration::from_secs(10);
/// Fetches under way at the same time: whoever sends rubbish can't make us call others more often.
const AT_ONCE: usize = 4;
/// Documents that are remembered.
const REMEMBERED: usize = 32;

/// A document that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} could not be asked: {problem}")]
pub struct Unfetched {
    /// Who was asked.
    pub host: String,
    /// What went wrong.
    pub problem: String,
}

impl Unfetched {
    pub(super) fn new(url: &Url, problem: impl Into<String>) -> Self {
        Self { host: url.host_str().unwrap_or_default().to_owned(), problem: problem.into() }
    }
}

/// Fetches documents from the net.
#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    /// The document at an https address, by GET, without following redirects.
    async fn get(&self, url: &Url) -> Result<Bytes, Unfetched>;
}

/// Over https, with the system's certificates and proxies.
#[derive(Default)]
pub struct HttpsFetch {
    /// Made at its first use: most receivers never need it, and a host without certificates must not keep them from
    /// working.
    client: OnceLock<Result<reqwest::Client, String>>,
}

impl HttpsFetch {
    fn client(&self, url: &Url) -> Result<&reqwest::Client, Unfetched> {
        let made = self.client.get_or_init(|| {
            // Another part of the program may have done it already, with the same provider.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder()
                .https_only(true)
                .redirect(reqwest::redirect::Policy::none())
                .timeout(TIME)
                .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")));
            client.build().map_err(|error| format!("the system's certificates can't be used: {error}"))
        });
        made.as_ref().map_err(|problem| Unfetched::new(url, problem))
    }
}

#[async_trait]
impl Fetch for HttpsFetch {
    async fn get(&self, url: &Url) -> Result<Bytes, Unfetched> {
        // The error's own text repeats the address, which for a subscription holds a token.
        let failed = |error: reqwest::Error| Unfetched::new(url, error.without_url().to_string());
        let mut response = self.client(url)?.get(url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(Unfetched::new(url, format!("HTTP {}", response.status().as_u16())));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(Unfetched::new(url, format!("its answer has more than {LARGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// What came of asking, and when.
type Remembered = (Instant, Result<Bytes, Unfetched>);

/// Fetches and remembers.
pub(super) struct Library {
    fetch: Arc<dyn Fetch>,
    documents: Mutex<BTreeMap<String, Remembered>>,
    slots: Semaphore,
}

impl Library {
    pub(super) fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch, documents: Mutex::default(), slots: Semaphore::new(AT_ONCE) }
    }

    /// A document that may have been fetched before.
    pub(super) async fn get(&self, url: &Url) -> Result<Bytes, Unfetched> {
        self.newer(url, FRESH).await
    }

    /// A document that was fetched no longer ago than `age`.
    pub(super) async fn newer(&self, url: &Url, age: Duration) -> Result<Bytes, Unfetched> {
        let key = url.as_str();
        let now = Instant::now();
        if let Some((at, known)) = self.documents.lock().expect("no holder panics").get(key)
            && now.duration_since(*at) < if known.is_ok() { age } else { FAILED }
        {
            return known.clone();
        }
        let result = self.once(url).await;
        let mut documents = self.documents.lock().expect("no holder panics");
        if documents.len() >= REMEMBERED
            && !documents.contains_key(key)
            && let Some(oldest) = documents.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone())
        {
            documents.remove(&oldest);
        }
        // A refresh that fails does not take away what is good enough for others.
        let kept = documents.get(key).is_some_and(|(at, known)| known.is_ok() && now.duration_since(*at) < FRESH);
        if result.is_ok() || !kept {
            documents.insert(key.to_owned(), (now, result.clone()));
        }
        result
    }

    /// A document that is not remembered.
    pub(super) async fn once(&self, url: &Url) -> Result<Bytes, Unfetched> {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(Unfetched::new(url, "too many such questions are under way"));
        };
        let late = || Unfetched::new(url, format!("no answer within {} s", TIME.as_secs()));
        let body = timeout(TIME, self.fetch.get(url)).await.map_err(|_| late())??;
        if body.len() > LARGEST {
            return Err(Unfetched::new(url, format!("its answer has more than {LARGEST} bytes")));
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_fetched_without_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
        let failed = HttpsFetch::default().get(&url).await.unwrap_err();
        assert_eq!(failed.host, "127.0.0.1");
        assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "not even a connection is made");
    }
}
