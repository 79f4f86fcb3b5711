//! The data plane's state: what the hot path reads, and how a change of the table is put in force.

mod holding;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::Utc;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::model::{
    AppEntry, AppName, AppSwitch, ContainerId, InFlight, NOWHERE, Probe, RouteSet, SwitchAck, Table, Target,
    TrafficStats,
};

use super::control::Response;
use super::holds::HoldsFile;
use super::probe::probe;
use super::router::Router;
use super::runtime::{AppRuntime, is_among};
use super::table::TableFile;
use super::target::Upstream;
use holding::Holding;

/// A new target must accept a connection within this time.
const REACH: Duration = Duration::from_secs(1);

/// Who made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// This proxy decides whether it can be made, and keeps it.
    Decided,
    /// A newer proxy has decided and kept it; this one follows.
    Followed,
}

/// What only the control socket changes.
#[derive(Debug)]
struct State {
    table: Table,
    file: TableFile,
    apps: BTreeMap<AppName, Arc<AppRuntime>>,
    holds: BTreeMap<AppName, Holding>,
    holds_file: HoldsFile,
}

/// The data plane.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) router: ArcSwap<Router<AppRuntime>>,
    state: Mutex<State>,
    upstreams: RwLock<HashMap<ContainerId, Arc<Upstream>>>,
    pub(super) tunnels: TaskTracker,
    pub(super) retiring: AtomicBool,
    pub(super) connections: AtomicU64,
    pub(super) unrouted: AtomicU64,
    instance: String,
}

impl Plane {
    /// Loads the table and puts it in force.
    pub(super) fn load(state_dir: &Path) -> Self {
        let (file, table) = TableFile::load(state_dir);
        let holds_file = HoldsFile::load(state_dir);
        let (apps, holds) = (BTreeMap::new(), BTreeMap::new());
        let plane = Self {
            router: ArcSwap::from_pointee(Router::default()),
            state: Mutex::new(State { table, file, apps, holds, holds_file }),
            upstreams: RwLock::new(HashMap::new()),
            tunnels: TaskTracker::new(),
            retiring: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            instance: format!("{:016x}", rand::random::<u64>()),
        };
        let mut state = plane.state.try_lock().expect("nobody else has it yet");
        plane.enforce(&mut state);
        state.hold_again();
        drop(state);
        plane
    }

    pub(super) async fn table(&self) -> Table {
        self.state.lock().await.table.clone()
    }

    pub(super) async fn set_routes(&self, sets: Vec<RouteSet>, how: Change) -> Response {
        let mut state = self.state.lock().await;
        let mut table = state.table.clone();
        let fresh =
            || AppEntry { revision: 0, routes: Vec::new(), active: vec![], previous: vec![], since: Utc::now() };
        table.apps = sets
            .into_iter()
            .map(|set| {
                let entry = state.table.apps.get(&set.app).cloned().unwrap_or_else(fresh);
                (set.app, AppEntry { routes: set.routes, ..entry })
            })
            .collect();
        self.commit(&mut state, table, how).await.err().unwrap_or(Response::Done)
    }

    /// Compare-and-set of several apps: all or none.
    pub(super) async fn switch(&self, changes: Vec<AppSwitch>, how: Change) -> Response {
        if how == Change::Decided
            && let Err(refused) = reachable(changes.iter().flat_map(|change| &change.to)).await
        {
            return refused;
        }
        let mut state = self.state.lock().await;
        let mut table = state.table.clone();
        let mut revisions = BTreeMap::new();
        // What is switched in one generation has one time, by which it is recognised.
        let now = Utc::now();
        for change in changes {
            let entry = table.apps.entry(change.app.clone()).or_insert_with(|| AppEntry {
                revision: 0,
                routes: Vec::new(),
                active: Vec::new(),
                previous: Vec::new(),
                since: now,
            });
            if how == Change::Decided && entry.revision != change.expect {
                return Response::Conflict { app: change.app, expected: change.expect, found: entry.revision };
            }
            entry.revision = change.expect.saturating_add(1);
            entry.previous = std::mem::replace(&mut entry.active, change.to);
            entry.since = now;
            revisions.insert(change.app, entry.revision);
        }
        match self.commit(&mut state, table, how).await {
            Ok(()) => Response::Switched { ack: SwitchAck { generation: state.table.generation, revisions } },
            Err(refused) => refused,
        }
    }

    pub(super) async fn readdress(
        &self,
        app: &AppName,
        container: &ContainerId,
        addr: std::net::SocketAddr,
        how: Change,
    ) -> Response {
        let mut state = self.state.lock().await;
        let mut table = state.table.clone();
        let Some(entry) = table.apps.get_mut(app) else {
            return Response::Refused { message: format!("there is no app {app}") };
        };
        for target in entry.active.iter_mut().chain(&mut entry.previous).filter(|t| t.container == *container) {
            target.addr = addr;
        }
        self.commit(&mut state, table, how).await.err().unwrap_or(Response::Done)
    }

    /// Disk first, then memory. A retiring proxy leaves the disk to its successor.
    async fn commit(&self, state: &mut State, mut table: Table, how: Change) -> Result<(), Response> {
        table.generation = state.table.generation + 1;
        if how == Change::Decided
            && !self.retiring.load(Ordering::SeqCst)
            && let Err(error) = state.file.write(&table, &state.table).await
        {
            let message = format!("the route table can't be written to {}: {error}", state.file.place());
            tracing::error!("{message}");
            return Err(Response::Refused { message });
        }
        state.table = table;
        self.enforce(state);
        self.keep_holds(state).await;
        Ok(())
    }

    /// Puts the table in force: new targets take requests before the pointer moves, old ones refuse after it.
    fn enforce(&self, state: &mut State) {
        let State { table, apps, holds, .. } = state;
        let stays = |name: &AppName, holding: &Holding| {
            table.apps.get(name).is_some_and(|entry| entry.revision == holding.wanted.expect)
        };
        let mut old: Vec<Arc<Upstream>> = Vec::new();
        let mut current = old.clone();
        for (name, runtime) in apps.iter() {
            if !table.apps.contains_key(name) {
                old.extend(runtime.active.swap(Arc::default()).iter().cloned());
                holds.remove(name);
                runtime.lot.end();
            }
        }
        apps.retain(|name, _| table.apps.contains_key(name));
        for (name, entry) in &table.apps {
            let runtime = apps.entry(name.clone()).or_default();
            let active: Vec<Arc<Upstream>> = entry.active.iter().map(|target| self.upstream(target)).collect();
            let held = holds.get(name).is_some_and(|holding| stays(name, holding));
            active.iter().for_each(|upstream| upstream.set_draining(held));
            current.extend(active.iter().cloned());
            old.extend(runtime.active.swap(Arc::new(active)).iter().cloned());
            if !held && holds.remove(name).is_some() {
                runtime.lot.end();
            }
        }
        let routes =
            table.apps.iter().filter_map(|(name, entry)| Some((entry.routes.clone(), apps.get(name)?.clone())));
        self.router.store(Arc::new(Router::new(routes)));
        let gone = old.iter().filter(|upstream| !is_among(&current, upstream));
        gone.for_each(|upstream| upstream.set_draining(true));
        self.forget(table);
    }

    /// The target's one upstream, made when it is first named.
    fn upstream(&self, target: &Target) -> Arc<Upstream> {
        let mut upstreams = self.upstreams.write().expect("no holder panics");
        let upstream = upstreams.entry(target.container.clone()).or_insert_with(|| Arc::new(Upstream::new(target)));
        if upstream.addr() != target.addr {
            upstream.readdress(target.addr);
        }
        upstream.clone()
    }

    /// Drops what no app names any more and nothing is under way on.
    fn forget(&self, table: &Table) {
        let named = |id: &ContainerId| {
            table.apps.values().any(|e| e.active.iter().chain(&e.previous).any(|t| t.container == *id))
        };
        let mut upstreams = self.upstreams.write().expect("no holder panics");
        upstreams.retain(|id, upstream| named(id) || upstream.in_flight() != InFlight::default());
    }

    pub(super) fn find(&self, container: &ContainerId) -> Option<Arc<Upstream>> {
        self.upstreams.read().expect("no holder panics").get(container).cloned()
    }

    /// Ends everything that is still under way, and turns away what still waits.
    pub(super) async fn cut_all(&self) {
        self.state.lock().await.holds.values().for_each(|holding| holding.hold.turn_away());
        let upstreams = self.upstreams.read().expect("no holder panics");
        upstreams.values().for_each(|upstream| upstream.cut(Duration::ZERO));
    }

    /// Closes idle connections to targets, drops targets that nothing names or uses any more, and ends holds that nobody
    /// has prolonged.
    pub(super) async fn sweep(&self) {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        state.lift(|_, holding| holding.until <= now);
        self.keep_holds(&mut state).await;
        self.forget(&state.table);
        let upstreams = self.upstreams.read().expect("no holder panics");
        upstreams.values().for_each(|upstream| upstream.pool.sweep());
    }

    /// Everything under way, of every target.
    pub(super) fn in_flight(&self) -> InFlight {
        let upstreams = self.upstreams.read().expect("no holder panics");
        upstreams.values().map(|upstream| upstream.in_flight()).fold(InFlight::default(), add)
    }

    pub(super) async fn stats(&self) -> TrafficStats {
        let state = self.state.lock().await;
        let upstreams = self.upstreams.read().expect("no holder panics");
        let of_app = |name: &AppName| {
            let entry = state.table.apps.get(name);
            let targets = entry.into_iter().flat_map(|e| e.active.iter().chain(&e.previous));
            targets
                .filter_map(|target| upstreams.get(&target.container))
                .map(|upstream| upstream.in_flight())
                .fold(InFlight::default(), add)
        };
        TrafficStats {
            instance: self.instance.clone(),
            pid: std::process::id(),
            retiring: self.retiring.load(Ordering::SeqCst),
            connections: self.connections.load(Ordering::Relaxed),
            unrouted: self.unrouted.load(Ordering::Relaxed),
            apps: state
                .apps
                .iter()
                .map(|(name, app)| (name.clone(), app.stats.read(of_app(name), app.lot.read())))
                .collect(),
            targets: upstreams.iter().map(|(id, up)| (id.clone(), up.stats.read(up.in_flight()))).collect(),
        }
    }
}

/// A target that does not even accept a connection gets no traffic.
async fn reachable(targets: impl Iterator<Item = &Target>) -> Result<(), Response> {
    // A worker listens nowhere.
    let probes = targets
        .filter(|target| target.addr.port() != NOWHERE)
        .map(|target| async move { (target, probe(target.addr, &Probe::Tcp, REACH).await) });
    for (target, outcome) in futures_util::future::join_all(probes).await {
        if !outcome.ok {
            let message = format!("container {} can't be reached: {}", target.container.short(), outcome.detail);
            return Err(Response::Refused { message });
        }
    }
    Ok(())
}

fn add(a: InFlight, b: InFlight) -> InFlight {
    InFlight { requests: a.requests + b.requests, streams: a.streams + b.streams }
}
