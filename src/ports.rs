//! The seams: what the engine needs from the outside, and how each can fail.
//!
//! Implementations live in the rooms of level 2 (`registry`, `docker`, `proxy`, `store`) and, for faults that
//! can't be produced for real, in tests. Every error says whether a retry can help; the retrying itself is
//! the engine's, never an adapter's.

mod engine;

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    AppHold, AppName, AppSwitch, Attempts, Cached, CachedTags, ContainerId, Credentials, Deployment, Digest, InFlight,
    ManifestDetails, Pin, Probe, ProbeOutcome, Quarantine, Referrer, RegistryStatus, Repository, Resolved, RouteSet,
    ScanRule, ScanSubject, ScanVerdict, Seen, SignatureRule, SignatureVerdict, SwapId, SwitchAck, Table, Tag, TagList,
    TrafficStats, Version,
};

pub use engine::{CreateContainer, Engine, EngineError, EngineErrorKind, EngineEvent, EngineInfo};

/// The source of an error, for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// How a registry failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryErrorKind {
    /// No connection, a broken one, or a time-out.
    Unreachable,
    /// Its certificate or ours is not accepted.
    Tls,
    /// The credentials are missing or refused.
    Unauthorized,
    /// It has no such repository, tag or digest.
    NotFound,
    /// 429, or we are waiting because of an earlier one.
    RateLimited,
    /// 5xx.
    Server,
    /// An answer that makes no sense.
    Protocol,
}

impl RegistryErrorKind {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Server => "server",
            Self::Protocol => "protocol",
        }
    }
}

/// A registry request failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    /// The kind.
    pub kind: RegistryErrorKind,
    /// One sentence for a person, naming the registry and what to do; never a secret.
    pub message: String,
    /// The registry asked us to wait so long.
    pub retry_after: Option<Duration>,
    /// What lies beneath.
    #[source]
    pub source: Option<Source>,
}

/// Reads from registries.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// The digest that a tag points to: one conditional HEAD.
    async fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
        last: Option<&Cached>,
    ) -> Result<Resolved, RegistryError>;

    /// Every tag of a repository, all pages of the list; `Unchanged` only when `last` was given. A list that is too long
    /// to be read whole is an error: a part of it would hide the newest tags.
    async fn tags(&self, repository: &Repository, last: Option<&CachedTags>) -> Result<TagList, RegistryError>;

    /// What the manifest or index behind a digest says.
    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<ManifestDetails, RegistryError>;

    /// What the engine needs for a pull of its own, if there are credentials for the registry.
    async fn pull_auth(&self, repository: &Repository) -> Result<Option<Credentials>, RegistryError>;

    /// How far apart looks at a tag have to be, for what is left of the registry's rate limit to last until its window
    /// ends; `None` when looks are free, or nothing is known of a limit.
    fn spacing(&self, _repository: &Repository) -> Option<Duration> {
        None
    }

    /// Back-off and quota of every registry that was asked.
    fn status(&self) -> Vec<RegistryStatus>;
}

/// Reads what lies beside images in a registry: signatures and the like. Every document is small, and what was asked for
/// by digest has been held against it.
#[async_trait]
pub trait Artifacts: Send + Sync + 'static {
    /// A manifest as it is; `None` when there is none.
    async fn manifest_bytes(
        &self,
        repository: &Repository,
        version: &Version,
    ) -> Result<Option<Vec<u8>>, RegistryError>;

    /// A blob; `None` when there is none.
    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<u8>>, RegistryError>;

    /// What refers to a digest: by the Referrers API, or by the tag that stands in for it (OCI distribution-spec 1.1).
    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Referrer>, RegistryError>;
}

/// Finds out about a version what a gate asks for. It waits no longer than its own time-outs, and decides nothing.
#[async_trait]
pub trait Gatekeeper: Send + Sync + 'static {
    /// Whether a digest is signed.
    async fn signature(&self, repository: &Repository, digest: &Digest, rule: &SignatureRule) -> SignatureVerdict;

    /// What the scanner says.
    async fn scan(&self, subject: &ScanSubject, rule: &ScanRule) -> ScanVerdict;
}

/// How the proxy failed.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// No proxy answers.
    #[error("the proxy does not answer at {socket}")]
    Unreachable {
        /// The control socket.
        socket: String,
        /// What lies beneath.
        #[source]
        source: Option<Source>,
    },
    /// The revision was not the expected one: someone else has switched.
    #[error("app {app} is at revision {found}, not {expected}")]
    Conflict {
        /// The app.
        app: AppName,
        /// What was expected.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// It could not do it: the table can't be written, the listener is unknown, …
    #[error("the proxy refused: {message}")]
    Refused {
        /// Its words.
        message: String,
    },
    /// It speaks another version of the protocol, or nonsense.
    #[error("the proxy's answer makes no sense: {message}")]
    Protocol {
        /// What was wrong.
        message: String,
    },
}

/// Moves traffic.
#[async_trait]
pub trait Traffic: Send + Sync + 'static {
    /// The route table in force.
    async fn table(&self) -> Result<Table, TrafficError>;

    /// Sets the routes of every app, and drops those that are not named. All or nothing.
    async fn set_routes(&self, apps: &[RouteSet]) -> Result<(), TrafficError>;

    /// Moves the traffic of these apps in one generation of the table. When this returns, the table is on
    /// disk and every request that begins later goes to the new targets.
    async fn switch(&self, changes: &[AppSwitch]) -> Result<SwitchAck, TrafficError>;

    /// Has the new requests of an app wait. When this returns, every request that begins later waits, and what is under
    /// way is what `in_flight` counts. Setting it again prolongs it.
    async fn hold(&self, hold: &AppHold) -> Result<(), TrafficError>;

    /// Ends the hold that was set at this revision: what waits goes to what the table names. Fine when there is none.
    async fn release(&self, app: &AppName, expect: u64) -> Result<(), TrafficError>;

    /// The same container listens at another address now.
    async fn readdress(
        &self,
        app: &AppName,
        container: &ContainerId,
        addr: std::net::SocketAddr,
    ) -> Result<(), TrafficError>;

    /// One probe, made from where the proxy stands.
    async fn probe(
        &self,
        addr: std::net::SocketAddr,
        probe: &Probe,
        timeout: Duration,
    ) -> Result<ProbeOutcome, TrafficError>;

    /// What is under way on a container.
    async fn in_flight(&self, container: &ContainerId) -> Result<InFlight, TrafficError>;

    /// Ends what is still under way on a container, spread over some seconds.
    async fn cut(&self, container: &ContainerId, over: Duration) -> Result<(), TrafficError>;

    /// The counters of every proxy process.
    async fn stats(&self) -> Result<Vec<TrafficStats>, TrafficError>;
}

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} in the state directory")]
pub struct StoreError {
    /// What was tried: "record a deployment", …
    pub operation: &'static str,
    /// What lies beneath.
    #[source]
    pub source: Source,
}

/// Remembers. Every method is synchronous and short; writes are on disk when they return.
pub trait Store: Send + Sync + 'static {
    /// What is known of a tag.
    fn seen(&self, repository: &Repository, tag: &Tag) -> Result<Option<Seen>, StoreError>;
    /// Records it.
    fn put_seen(&self, repository: &Repository, tag: &Tag, seen: &Seen) -> Result<(), StoreError>;

    /// The quarantined digests of an app.
    fn quarantine(&self, app: &AppName) -> Result<Vec<Quarantine>, StoreError>;
    /// Adds one; replaces an entry of the same digest.
    fn put_quarantine(&self, app: &AppName, entry: &Quarantine) -> Result<(), StoreError>;
    /// Lifts one, or all. Returns how many there were.
    fn lift_quarantine(&self, app: &AppName, digest: Option<&Digest>) -> Result<usize, StoreError>;

    /// The app's pin.
    fn pin(&self, app: &AppName) -> Result<Option<Pin>, StoreError>;
    /// Sets or clears it.
    fn put_pin(&self, app: &AppName, pin: Option<&Pin>) -> Result<(), StoreError>;

    /// Failed attempts at the current digest.
    fn attempts(&self, app: &AppName) -> Result<Option<Attempts>, StoreError>;
    /// Sets or clears them.
    fn put_attempts(&self, app: &AppName, attempts: Option<&Attempts>) -> Result<(), StoreError>;

    /// Writes or rewrites a history entry, by its id.
    fn put_deployment(&self, app: &AppName, deployment: &Deployment) -> Result<(), StoreError>;
    /// The newest `limit` entries, newest first.
    fn deployments(&self, app: &AppName, limit: usize) -> Result<Vec<Deployment>, StoreError>;
    /// One entry.
    fn deployment(&self, app: &AppName, id: &SwapId) -> Result<Option<Deployment>, StoreError>;

    /// A small record of an adapter that must survive a restart, such as a registry's back-off.
    fn note(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes one.
    fn put_note(&self, key: &str, value: &[u8]) -> Result<(), StoreError>;
}
