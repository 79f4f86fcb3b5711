//! A world for this room's tests: an engine, a memory and, unless a test brings another, a registry, all in this process.
//! Apps are adopted containers that run what their tag pointed to; whoever pulls is told no, and written down.

mod faults;
mod hour;
mod signed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::{Fleet, Handle, Ports, Settings};
use crate::decide::fixtures;
use crate::metrics::Metrics;
use crate::model::*;
use crate::ports::*;

/// A manifest for each host that a test needs.
pub(super) fn index(text: &str, platforms: &[(&str, &str)]) -> ManifestDetails {
    let platform = |arch: &str| Platform { os: "linux".into(), architecture: arch.into(), variant: None };
    let entry = |(arch, manifest): &(&str, &str)| (Some(platform(arch)), Digest::of(manifest.as_bytes()));
    ManifestDetails { digest: Digest::of(text.as_bytes()), platforms: platforms.iter().map(entry).collect() }
}

/// The world.
#[derive(Default)]
pub(super) struct World {
    pub(super) tags: Mutex<HashMap<Repository, Digest>>,
    pub(super) manifests: Mutex<HashMap<Digest, ManifestDetails>>,
    /// When which repository was looked at.
    pub(super) looks: Mutex<Vec<(Instant, Repository)>>,
    /// Manifests that were read.
    pub(super) reads: Mutex<Vec<Digest>>,
    /// What somebody tried to pull.
    pub(super) pulls: Mutex<Vec<String>>,
    pub(super) containers: Mutex<HashMap<String, Container>>,
    pub(super) spacing: Mutex<Option<Duration>>,
    seen: Mutex<HashMap<(Repository, Tag), Seen>>,
    attempts: Mutex<HashMap<AppName, Attempts>>,
    pub(super) pins: Mutex<HashMap<AppName, Pin>>,
    pub(super) quarantined: Mutex<HashMap<AppName, Vec<Quarantine>>>,
    /// From when on an image is signed.
    pub(super) signed: Mutex<HashMap<Digest, Instant>>,
    /// When somebody looked for a signature.
    pub(super) signature_looks: Mutex<Vec<Instant>>,
    notes: Mutex<HashMap<String, Vec<u8>>>,
}

impl World {
    /// An app that was adopted, its container running what `text` is the digest of.
    pub(super) fn app(&self, name: &str, image: &str, text: &str) -> App {
        let app = App {
            image: image.parse().unwrap(),
            origin: Origin::Adopted { container: name.to_owned() },
            strategy: Strategy::Overlap,
            routes: Vec::new(),
            ..fixtures::app(name)
        };
        let now = chrono::Utc::now();
        let owned = Owned {
            app: app.name.clone(),
            generation: Generation(0),
            swap: SwapId(String::new()),
            replaces: None,
            digest: Digest::of(text.as_bytes()),
            spec: String::new(),
            restart: None,
            watched: false,
            replica: None,
        };
        let container = Container {
            id: ContainerId(format!("{name:0>12}")),
            name: name.to_owned(),
            owned,
            state: ContainerState::Running,
            health: None,
            health_output: String::new(),
            restart_count: 0,
            exit_code: 0,
            oom_killed: false,
            created: now,
            started: Some(now),
            finished: None,
            restart_policy: "always".to_owned(),
            image_id: String::new(),
            addresses: Default::default(),
        };
        self.containers.lock().unwrap().insert(name.to_owned(), container);
        app
    }

    /// The tag points to this from now on.
    pub(super) fn push(&self, app: &App, details: &ManifestDetails) {
        self.manifests.lock().unwrap().insert(details.digest.clone(), details.clone());
        self.tags.lock().unwrap().insert(app.image.clone(), details.digest.clone());
    }

    pub(super) fn ports(self: &Arc<Self>, registry: Arc<dyn Registry>) -> Ports {
        let (engine, traffic, store, gatekeeper) = (self.clone(), self.clone(), self.clone(), self.clone());
        Ports { registry, gatekeeper, engine, traffic, store, metrics: Metrics::new() }
    }
}

/// Running apps.
pub(super) struct Running {
    pub(super) handle: Handle,
    fleet: Fleet,
    stop: CancellationToken,
}

impl Running {
    pub(super) fn start(world: &Arc<World>, registry: Arc<dyn Registry>, apps: Vec<App>) -> Self {
        let stop = CancellationToken::new();
        let settings = Settings {
            owner: "test".to_owned(),
            parallel_swaps: 1,
            ties: Arc::default(),
            pulls: Arc::default(),
            own: None,
            adopts: false,
        };
        let fleet = Fleet::start(world.ports(registry), settings, apps, stop.clone());
        Self { handle: fleet.handle(), fleet, stop }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.fleet.join().await;
    }

    /// Waits until this holds of all statuses.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&[AppStatus]) -> bool) -> Vec<AppStatus> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let statuses = self.handle.statuses();
            if holds(&statuses) {
                return statuses;
            }
            assert!(Instant::now() < deadline, "{what}: {statuses:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[async_trait]
impl Registry for World {
    async fn resolve(&self, repository: &Repository, _: &Tag, _: Option<&Cached>) -> Result<Resolved, RegistryError> {
        self.looks.lock().unwrap().push((Instant::now(), repository.clone()));
        tokio::time::sleep(Duration::from_millis(30)).await;
        let digest = self.tags.lock().unwrap().get(repository).cloned();
        let digest = digest.ok_or_else(|| RegistryError {
            kind: RegistryErrorKind::NotFound,
            message: "no such tag".to_owned(),
            retry_after: None,
            source: None,
        })?;
        Ok(Resolved { cached: Cached { digest: digest.clone(), etag: None }, digest, not_modified: false })
    }
    async fn tags(&self, _: &Repository, _: Option<&CachedTags>) -> Result<TagList, RegistryError> {
        unreachable!("no app has a policy")
    }
    async fn manifest(&self, _: &Repository, digest: &Digest) -> Result<ManifestDetails, RegistryError> {
        self.reads.lock().unwrap().push(digest.clone());
        self.manifests.lock().unwrap().get(digest).cloned().ok_or_else(|| RegistryError {
            kind: RegistryErrorKind::NotFound,
            message: "no such manifest".to_owned(),
            retry_after: None,
            source: None,
        })
    }
    async fn pull_auth(&self, _: &Repository) -> Result<Option<Credentials>, RegistryError> {
        Ok(None)
    }
    fn spacing(&self, _: &Repository) -> Option<Duration> {
        *self.spacing.lock().unwrap()
    }
    fn status(&self) -> Vec<RegistryStatus> {
        Vec::new()
    }
}

fn refused<T>() -> Result<T, EngineError> {
    Err(EngineError { kind: EngineErrorKind::Pull, message: "nothing is pulled here".to_owned(), source: None })
}

#[async_trait]
impl Gatekeeper for World {
    async fn signature(&self, _: &Repository, digest: &Digest, _: &SignatureRule) -> SignatureVerdict {
        let now = Instant::now();
        self.signature_looks.lock().unwrap().push(now);
        let signed = self.signed.lock().unwrap().get(digest).is_some_and(|from| *from <= now);
        tokio::time::sleep(Duration::from_millis(30)).await;
        if signed { SignatureVerdict::Verified { by: "ci.pub".to_owned() } } else { SignatureVerdict::Missing }
    }
    async fn scan(&self, _: &ScanSubject, _: &ScanRule) -> ScanVerdict {
        unreachable!("nothing is scanned")
    }
}

#[async_trait]
impl Engine for World {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let platform = Platform { os: "linux".into(), architecture: "x86_64".into(), variant: None };
        Ok(EngineInfo { version: "test".into(), api_version: (1, 41), platform, about: serde_json::Value::Null })
    }
    async fn containers(&self, _: Option<&AppName>) -> Result<Vec<Container>, EngineError> {
        Ok(Vec::new())
    }
    async fn family(&self, name: &str) -> Result<Vec<Container>, EngineError> {
        Ok(self.containers.lock().unwrap().get(name).cloned().into_iter().collect())
    }
    async fn adoptable(&self, _: bool) -> Result<Vec<serde_json::Value>, EngineError> {
        Ok(Vec::new())
    }
    async fn inspect(&self, _: &ContainerId) -> Result<(Container, serde_json::Value), EngineError> {
        refused()
    }
    async fn document(&self, _: &str) -> Result<Option<serde_json::Value>, EngineError> {
        Ok(None)
    }
    async fn image(&self, _: &str) -> Result<Option<ImageDetails>, EngineError> {
        Ok(None)
    }
    async fn pull(
        &self,
        image: &ImageRef,
        _: Option<&Credentials>,
        _: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<ImageDetails, EngineError> {
        self.pulls.lock().unwrap().push(image.to_string());
        refused()
    }
    async fn tag(&self, _: &str, _: &str, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn tagged(&self, _: &str) -> Result<Vec<(String, ImageDetails)>, EngineError> {
        Ok(Vec::new())
    }
    async fn accepts(&self) -> Result<(), EngineError> {
        Ok(())
    }
    async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        Ok(Vec::new())
    }
    async fn remove_image(&self, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn create(&self, _: &CreateContainer) -> Result<ContainerId, EngineError> {
        refused()
    }
    async fn start(&self, _: &ContainerId) -> Result<(), EngineError> {
        refused()
    }
    async fn stop(&self, _: &ContainerId) -> Result<(), EngineError> {
        refused()
    }
    async fn remove(&self, _: &ContainerId) -> Result<(), EngineError> {
        refused()
    }
    async fn rename(&self, _: &ContainerId, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn set_restart_policy(&self, _: &ContainerId, _: &serde_json::Value) -> Result<(), EngineError> {
        refused()
    }
    async fn logs(&self, _: &ContainerId, _: usize) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
    async fn jobs(&self, _: &AppName) -> Result<Vec<JobContainer>, EngineError> {
        Ok(Vec::new())
    }
    async fn output(&self, _: &ContainerId) -> Result<BoxStream<'static, String>, EngineError> {
        refused()
    }
    async fn exec(&self, _: &ContainerId, _: &[String], _: Duration) -> Result<ExecOutcome, EngineError> {
        refused()
    }
    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        Ok(Box::pin(futures_util::stream::pending()))
    }
}

fn no_proxy<T>() -> Result<T, TrafficError> {
    Err(TrafficError::Refused { message: "there is no proxy here".to_owned() })
}

#[async_trait]
impl Traffic for World {
    async fn table(&self) -> Result<Table, TrafficError> {
        no_proxy()
    }
    async fn set_routes(&self, _: &[RouteSet]) -> Result<(), TrafficError> {
        Ok(())
    }
    async fn switch(&self, _: &[AppSwitch]) -> Result<SwitchAck, TrafficError> {
        no_proxy()
    }
    async fn hold(&self, _: &crate::model::AppHold) -> Result<(), TrafficError> {
        no_proxy()
    }
    async fn release(&self, _: &AppName, _: u64) -> Result<(), TrafficError> {
        no_proxy()
    }
    async fn readdress(&self, _: &AppName, _: &ContainerId, _: std::net::SocketAddr) -> Result<(), TrafficError> {
        no_proxy()
    }
    async fn probe(&self, _: std::net::SocketAddr, _: &Probe, _: Duration) -> Result<ProbeOutcome, TrafficError> {
        no_proxy()
    }
    async fn in_flight(&self, _: &ContainerId) -> Result<InFlight, TrafficError> {
        no_proxy()
    }
    async fn cut(&self, _: &ContainerId, _: Duration) -> Result<(), TrafficError> {
        no_proxy()
    }
    async fn stats(&self) -> Result<Vec<TrafficStats>, TrafficError> {
        no_proxy()
    }
}

type Stored<T> = Result<T, StoreError>;

impl Store for World {
    fn seen(&self, repository: &Repository, tag: &Tag) -> Stored<Option<Seen>> {
        Ok(self.seen.lock().unwrap().get(&(repository.clone(), tag.clone())).cloned())
    }
    fn put_seen(&self, repository: &Repository, tag: &Tag, seen: &Seen) -> Stored<()> {
        self.seen.lock().unwrap().insert((repository.clone(), tag.clone()), seen.clone());
        Ok(())
    }
    fn quarantine(&self, app: &AppName) -> Stored<Vec<Quarantine>> {
        Ok(self.quarantined.lock().unwrap().get(app).cloned().unwrap_or_default())
    }
    fn put_quarantine(&self, app: &AppName, entry: &Quarantine) -> Stored<()> {
        self.quarantined.lock().unwrap().entry(app.clone()).or_default().push(entry.clone());
        Ok(())
    }
    fn lift_quarantine(&self, _: &AppName, _: Option<&Digest>) -> Stored<usize> {
        Ok(0)
    }
    fn pin(&self, app: &AppName) -> Stored<Option<Pin>> {
        Ok(self.pins.lock().unwrap().get(app).cloned())
    }
    fn put_pin(&self, app: &AppName, pin: Option<&Pin>) -> Stored<()> {
        let mut pins = self.pins.lock().unwrap();
        match pin {
            Some(pin) => drop(pins.insert(app.clone(), pin.clone())),
            None => drop(pins.remove(app)),
        }
        Ok(())
    }
    fn attempts(&self, app: &AppName) -> Stored<Option<Attempts>> {
        Ok(self.attempts.lock().unwrap().get(app).cloned())
    }
    fn put_attempts(&self, app: &AppName, attempts: Option<&Attempts>) -> Stored<()> {
        let mut known = self.attempts.lock().unwrap();
        match attempts {
            Some(attempts) => drop(known.insert(app.clone(), attempts.clone())),
            None => drop(known.remove(app)),
        }
        Ok(())
    }
    fn put_deployment(&self, _: &AppName, _: &Deployment) -> Stored<()> {
        Ok(())
    }
    fn deployments(&self, _: &AppName, _: usize) -> Stored<Vec<Deployment>> {
        Ok(Vec::new())
    }
    fn deployment(&self, _: &AppName, _: &SwapId) -> Stored<Option<Deployment>> {
        Ok(None)
    }
    fn note(&self, key: &str) -> Stored<Option<Vec<u8>>> {
        Ok(self.notes.lock().unwrap().get(key).cloned())
    }
    fn put_note(&self, key: &str, value: &[u8]) -> Stored<()> {
        self.notes.lock().unwrap().insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}
