//! A small world behind the API for this room's tests: two apps, a history, a registry that backs off.

mod samples;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use chrono::TimeZone;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Listener, serve};
use crate::decide::policy::{Wishes, settle};
use crate::engine::detached::{Answers, Detached};
use crate::engine::{Answer, DeployRequest, RequestError, RollbackTo};
use crate::model::*;
use crate::ports::*;

pub(crate) use samples::*;

/// Remembers what it was asked and answers as told.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) answer: Mutex<Option<Result<Answer, RequestError>>>,
    pub(crate) traffic: Mutex<Vec<TrafficStats>>,
    pub(crate) proxy_hangs: AtomicBool,
    pub(crate) notes: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) disk: Mutex<Disk>,
}

/// How the store's notes fare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Disk {
    #[default]
    Works,
    Fails,
    /// Every write takes longer than anyone waits.
    Hangs,
}

impl World {
    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
    }

    pub(crate) fn last(&self) -> String {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn answer(&self) -> Result<Answer, RequestError> {
        let started = Answer::Started { deployment: SwapId("s8".into()), digest: digest('c') };
        self.answer.lock().unwrap().take().unwrap_or(Ok(started))
    }
}

impl Answers for World {
    fn deploy(&self, request: DeployRequest) -> Result<Answer, RequestError> {
        self.note(format!("{request:?}"));
        self.answer()
    }
    fn rollback(&self, to: RollbackTo) -> Result<Answer, RequestError> {
        self.note(format!("{to:?}"));
        self.answer()
    }
    fn plan(&self) -> Result<Decision, RequestError> {
        Ok(Decision::Act(Box::new(Plan {
            tag: None,
            swap: SwapId("s9".into()),
            reason: PlanReason::TagMoved,
            strategy: Strategy::Proxy,
            strategy_reason: String::new(),
            digest: digest('c'),
            generation: Generation(8),
            serving: vec![ContainerId("f".repeat(64))],
            fallback: Vec::new(),
            previous: Some(digest('a')),
            candidates: Vec::new(),
            missing: vec![1],
            stay: Vec::new(),
            watched: true,
            steps: vec![Step::Pull, Step::Create, Step::Switch { expect: 4 }],
        })))
    }
    fn prune(&self, dry_run: bool) -> Pruned {
        self.note(format!("prune, dry run: {dry_run}"));
        let failed = Leftover {
            kind: LeftoverKind::Container,
            reference: "shop.failed-7".into(),
            app: Some("shop".parse().unwrap()),
            why: "version 7 failed; why is in the history".into(),
            bytes: None,
        };
        let image = Leftover {
            kind: LeftoverKind::Image,
            reference: "tagboat.local/shop:gen-1".into(),
            bytes: Some(12_345_678),
            ..failed.clone()
        };
        Pruned { dry_run, removed: vec![failed, image], remains: Vec::new() }
    }
    fn unpin(&self) -> Result<bool, RequestError> {
        self.note("unpin".into());
        Ok(true)
    }
}

/// The ports behind the handle; what this room does not use fails.
struct Ports(Arc<World>);

fn unused<T>() -> Result<T, TrafficError> {
    Err(TrafficError::Refused { message: "not part of this test".into() })
}

#[async_trait]
impl Traffic for Ports {
    async fn table(&self) -> Result<Table, TrafficError> {
        unused()
    }
    async fn set_routes(&self, _: &[RouteSet]) -> Result<(), TrafficError> {
        unused()
    }
    async fn switch(&self, _: &[AppSwitch]) -> Result<SwitchAck, TrafficError> {
        unused()
    }
    async fn hold(&self, _: &crate::model::AppHold) -> Result<(), TrafficError> {
        unused()
    }
    async fn release(&self, _: &AppName, _: u64) -> Result<(), TrafficError> {
        unused()
    }
    async fn readdress(&self, _: &AppName, _: &ContainerId, _: std::net::SocketAddr) -> Result<(), TrafficError> {
        unused()
    }
    async fn probe(&self, _: std::net::SocketAddr, _: &Probe, _: Duration) -> Result<ProbeOutcome, TrafficError> {
        unused()
    }
    async fn in_flight(&self, _: &ContainerId) -> Result<InFlight, TrafficError> {
        unused()
    }
    async fn cut(&self, _: &ContainerId, _: Duration) -> Result<(), TrafficError> {
        unused()
    }
    async fn stats(&self) -> Result<Vec<TrafficStats>, TrafficError> {
        if self.0.proxy_hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(self.0.traffic.lock().unwrap().clone())
    }
}

#[async_trait]
impl Registry for Ports {
    async fn resolve(&self, _: &Repository, _: &Tag, _: Option<&Cached>) -> Result<Resolved, RegistryError> {
        unimplemented_registry()
    }
    async fn tags(&self, _: &Repository, _: Option<&CachedTags>) -> Result<TagList, RegistryError> {
        let tags = ["1.3.9", "1.4.0", "1.4.2", "1.5.0-rc.1", "2.0.0", "latest", "sha256-x.sig"];
        Ok(TagList::Listed { tags: tags.map(|tag| tag.parse().unwrap()).to_vec(), cached: None })
    }
    async fn manifest(&self, _: &Repository, _: &Digest) -> Result<ManifestDetails, RegistryError> {
        unimplemented_registry()
    }
    async fn pull_auth(&self, _: &Repository) -> Result<Option<Credentials>, RegistryError> {
        Ok(None)
    }
    fn status(&self) -> Vec<RegistryStatus> {
        let quota = Quota {
            limit: Some(100),
            remaining: Some(42),
            window_seconds: Some(21_600),
            resets_seconds: None,
            looks_count: false,
            at: at(-12),
        };
        let away = (at(90), "HTTP 503 three times in a row".to_owned());
        vec![
            RegistryStatus { registry: "docker.io".into(), backing_off: None, quota: Some(quota) },
            RegistryStatus { registry: "ghcr.io".into(), backing_off: Some(away), quota: None },
        ]
    }
}

fn unimplemented_registry<T>() -> Result<T, RegistryError> {
    let message = "not part of this test".to_owned();
    Err(RegistryError { kind: RegistryErrorKind::Server, message, retry_after: None, source: None })
}

impl Store for Ports {
    fn seen(&self, _: &Repository, _: &Tag) -> Result<Option<Seen>, StoreError> {
        Ok(None)
    }
    fn put_seen(&self, _: &Repository, _: &Tag, _: &Seen) -> Result<(), StoreError> {
        Ok(())
    }
    fn quarantine(&self, _: &AppName) -> Result<Vec<Quarantine>, StoreError> {
        Ok(vec![])
    }
    fn put_quarantine(&self, _: &AppName, _: &Quarantine) -> Result<(), StoreError> {
        Ok(())
    }
    fn lift_quarantine(&self, app: &AppName, digest: Option<&Digest>) -> Result<usize, StoreError> {
        self.0.note(format!("lift {app} {}", digest.map_or("all", |digest| digest.short())));
        Ok(2)
    }
    fn pin(&self, _: &AppName) -> Result<Option<Pin>, StoreError> {
        Ok(None)
    }
    fn put_pin(&self, _: &AppName, _: Option<&Pin>) -> Result<(), StoreError> {
        Ok(())
    }
    fn attempts(&self, _: &AppName) -> Result<Option<Attempts>, StoreError> {
        Ok(None)
    }
    fn put_attempts(&self, _: &AppName, _: Option<&Attempts>) -> Result<(), StoreError> {
        Ok(())
    }
    fn put_deployment(&self, _: &AppName, _: &Deployment) -> Result<(), StoreError> {
        Ok(())
    }
    fn deployments(&self, app: &AppName, limit: usize) -> Result<Vec<Deployment>, StoreError> {
        if app.as_str() == "broken" {
            let source = "/var/lib/secret-place: disk on fire".into();
            return Err(StoreError { operation: "read the history", source });
        }
        let failed = deployment("s7", DeploymentResult::Failed { failure: failure() });
        let fine = Deployment { digest: digest('a'), ..deployment("s6", DeploymentResult::Succeeded) };
        Ok([failed, fine].into_iter().take(limit).collect())
    }
    fn deployment(&self, app: &AppName, id: &SwapId) -> Result<Option<Deployment>, StoreError> {
        Ok(self.deployments(app, 10)?.into_iter().find(|deployment| deployment.id == *id))
    }
    fn note(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.notes.lock().unwrap().get(key).cloned())
    }
    fn put_note(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        match *self.0.disk.lock().unwrap() {
            Disk::Works => {}
            Disk::Fails => return Err(StoreError { operation: "record a note", source: "no space left".into() }),
            Disk::Hangs => std::thread::park_timeout(Duration::from_secs(3)),
        }
        self.0.notes.lock().unwrap().insert(key.to_owned(), value.to_vec());
        Ok(())
    }
}

/// The store of a world.
pub(crate) fn store(world: &Arc<World>) -> Arc<dyn Store> {
    Arc::new(Ports(Arc::clone(world)))
}

/// An engine that answers as `world` says, with the apps `shop` (up to date) and `blog` (held, by a policy).
pub(crate) fn engine(world: &Arc<World>) -> Detached {
    let wishes = Wishes { semver: Some("^1.4"), ..Wishes::default() };
    let blog = App { follow: settle(&wishes).unwrap(), ..app("blog") };
    let apps = vec![(app("shop"), status("shop")), (blog, held("blog")), (app("broken"), status("broken"))];
    engine_of(world, apps)
}

/// An engine with these apps.
pub(crate) fn engine_of(world: &Arc<World>, apps: Vec<(App, AppStatus)>) -> Detached {
    let ports = || Arc::new(Ports(Arc::clone(world)));
    Detached::new(apps, world, (ports(), ports(), ports()))
}

/// A router on a real loopback port.
pub(crate) struct Served {
    pub(crate) addr: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Served {
    pub(crate) async fn new(router: Router, shutdown: CancellationToken) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Listener::Tcp(listener), router, shutdown.clone()));
        Self { addr, shutdown, tasks }
    }

    /// Sends a request; its answer's body may still be on the way.
    pub(crate) async fn open(&mut self, request: http::Request<Bytes>) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move { drop(connection.await) });
        sender.send_request(request.map(Full::new)).await.unwrap()
    }

    /// Sends a request with these headers and reads the answer.
    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = http::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", self.addr.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.open(request.body(Bytes::copy_from_slice(body)).unwrap()).await;
        let status = response.status().as_u16();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }
}
