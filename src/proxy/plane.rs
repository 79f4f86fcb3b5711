//! The data plane's state: what the hot path reads, and how a change of the table is put in force.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::Utc;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::model::{
    AppEntry, AppHold, AppName, AppSwitch, ContainerId, InFlight, Probe, RouteSet, SwitchAck, Table, Target,
    TrafficStats,
};

use super::control::Response;
use super::hold::{Hold, Lot};
use super::probe::probe;
use super::router::Router;
use super::stats::AppStats;
use super::table::TableFile;
use super::target::{Claim, Upstream};

/// How often a request looks for a target before it gives up; more than once only while a switch is in progress.
const LOOKS: usize = 64;

/// A new target must accept a connection within this time.
const REACH: Duration = Duration::from_secs(1);

/// An app as the hot path sees it.
#[derive(Debug, Default)]
pub(super) struct AppRuntime {
    active: ArcSwap<Vec<Arc<Upstream>>>,
    turn: AtomicUsize,
    pub(super) stats: AppStats,
    pub(super) lot: Lot,
}

/// Why a request has no target.
#[derive(Debug)]
pub(super) enum Unclaimed {
    /// There is none.
    NoTarget,
    /// The app is held: it waits.
    Held(Arc<Hold>),
}

impl AppRuntime {
    /// Holds the target with the least under way, in turn among equals; not one of `avoid` if there is another.
    pub(super) fn claim(&self, avoid: &[Arc<Upstream>]) -> Result<Claim, Unclaimed> {
        for _ in 0..LOOKS {
            if let Some(hold) = &*self.lot.hold() {
                return Err(Unclaimed::Held(hold.clone()));
            }
            let active = self.active.load();
            let upstream = match active.as_slice() {
                [] => return Err(Unclaimed::NoTarget),
                [only] => Some(only),
                several => self.choose(several, avoid),
            };
            // A refusal means that a switch has just replaced what was loaded, or that a hold has begun: look again.
            if let Some(claim) = upstream.and_then(Claim::on) {
                return Ok(claim);
            }
            std::hint::spin_loop();
        }
        Err(Unclaimed::NoTarget)
    }

    fn choose<'a>(&self, several: &'a [Arc<Upstream>], avoid: &[Arc<Upstream>]) -> Option<&'a Arc<Upstream>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % several.len();
        let rank = |upstream: &&Arc<Upstream>| {
            let InFlight { requests, streams } = upstream.in_flight();
            (is_among(avoid, upstream), upstream.is_ailing(), requests + streams)
        };
        several.iter().cycle().skip(turn).take(several.len()).min_by_key(rank)
    }

    /// Whether there is a target that is not one of these.
    pub(super) fn has_other_than(&self, these: &[Arc<Upstream>]) -> bool {
        self.active.load().iter().any(|upstream| !is_among(these, upstream))
    }
}

fn is_among(these: &[Arc<Upstream>], upstream: &Arc<Upstream>) -> bool {
    these.iter().any(|one| Arc::ptr_eq(one, upstream))
}

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
}

/// A hold, and what ends it by itself.
#[derive(Debug)]
struct Holding {
    hold: Arc<Hold>,
    /// Any change of the app's targets ends it.
    revision: u64,
    until: Instant,
}

impl State {
    /// Ends these holds; the targets are those of before.
    fn lift(&mut self, over: impl Fn(&AppName, &Holding) -> bool) {
        let Self { apps, holds, .. } = self;
        holds.retain(|name, holding| {
            if !over(name, holding) {
                return true;
            }
            if let Some(runtime) = apps.get(name) {
                // In this order: who finds no hold is not refused.
                runtime.active.load().iter().for_each(|upstream| upstream.set_draining(false));
                runtime.lot.end();
            }
            tracing::info!(app = name.as_str(), "no longer held");
            false
        });
    }
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
        let plane = Self {
            router: ArcSwap::from_pointee(Router::default()),
            state: Mutex::new(State { table: Table::default(), file, apps: BTreeMap::new(), holds: BTreeMap::new() }),
            upstreams: RwLock::new(HashMap::new()),
            tunnels: TaskTracker::new(),
            retiring: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            instance: format!("{:016x}", rand::random::<u64>()),
        };
        let mut state = plane.state.try_lock().expect("nobody else has it yet");
        state.table = table;
        plane.enforce(&mut state);
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
        for change in changes {
            let entry = table.apps.entry(change.app.clone()).or_insert_with(|| AppEntry {
                revision: 0,
                routes: Vec::new(),
                active: Vec::new(),
                previous: Vec::new(),
                since: Utc::now(),
            });
            if how == Change::Decided && entry.revision != change.expect {
                return Response::Conflict { app: change.app, expected: change.expect, found: entry.revision };
            }
            entry.revision = change.expect.saturating_add(1);
            entry.previous = std::mem::replace(&mut entry.active, change.to);
            entry.since = Utc::now();
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

    /// Has an app's requests wait, or prolongs that. Once it is done, what is under way on the app's targets is all that
    /// can still be sent to them. An older proxy that follows asks for the revision too: its news may be overtaken.
    pub(super) async fn hold(&self, wanted: &AppHold, how: Change) -> Response {
        let mut state = self.state.lock().await;
        let until = Instant::now() + Duration::from_millis(wanted.lease_ms);
        let (entry, runtime) = match (state.table.apps.get(&wanted.app), state.apps.get(&wanted.app)) {
            (Some(entry), Some(runtime)) => (entry, runtime.clone()),
            _ => return Response::Refused { message: format!("there is no app {}", wanted.app) },
        };
        let revision = entry.revision;
        if revision != wanted.expect {
            return differs(&wanted.app, wanted.expect, revision, how);
        }
        let shared = |target: &Target| {
            let others = state.table.apps.iter().filter(|(name, _)| **name != wanted.app);
            others.flat_map(|(_, entry)| &entry.active).any(|other| other.container == target.container)
        };
        if let Some(target) = entry.active.iter().find(|target| shared(target)) {
            let message = format!("container {} serves another app as well", target.container.short());
            return Response::Refused { message };
        }
        if let Some(holding) = state.holds.get_mut(&wanted.app) {
            holding.until = until;
            return Response::Done;
        }
        let hold = Hold::new(wanted.limits);
        state.holds.insert(wanted.app.clone(), Holding { hold: hold.clone(), revision, until });
        // In this order: who is refused by a target finds the hold.
        runtime.lot.begin(hold);
        runtime.active.load().iter().for_each(|upstream| upstream.set_draining(true));
        tracing::info!(app = wanted.app.as_str(), "held: new requests wait");
        Response::Done
    }

    /// Ends a hold: its requests go to what the table names.
    pub(super) async fn release(&self, app: &AppName, expect: u64, how: Change) -> Response {
        let mut state = self.state.lock().await;
        match state.table.apps.get(app) {
            Some(entry) if entry.revision != expect => return differs(app, expect, entry.revision, how),
            _ => {}
        }
        state.lift(|name, _| name == app);
        Response::Done
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
        Ok(())
    }

    /// Puts the table in force: new targets take requests before the pointer moves, old ones refuse after it.
    fn enforce(&self, state: &mut State) {
        let State { table, apps, holds, .. } = state;
        let stays = |name: &AppName, holding: &Holding| {
            table.apps.get(name).is_some_and(|entry| entry.revision == holding.revision)
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

/// A change that expects another revision. One that a newer proxy has made is only late here.
fn differs(app: &AppName, expected: u64, found: u64, how: Change) -> Response {
    match how {
        Change::Decided => Response::Conflict { app: app.clone(), expected, found },
        Change::Followed => Response::Done,
    }
}

/// A target that does not even accept a connection gets no traffic.
async fn reachable(targets: impl Iterator<Item = &Target>) -> Result<(), Response> {
    let probes = targets.map(|target| async move { (target, probe(target.addr, &Probe::Tcp, REACH).await) });
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
