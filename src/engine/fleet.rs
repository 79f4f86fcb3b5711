//! All apps together: starts their tasks, applies a new configuration, ends them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use tokio::sync::{Notify, Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::decide::container::spec_hash;
use crate::model::{App, AppName, AppStatus, Origin, Route};

use super::adoption::{Adoption, Found, seek};
use super::asked::Activation;
use super::bus::Bus;
use super::checks::Checks;
use super::condition::{refusal, starting};
use super::group::{Bell, Groups};
use super::handle::{Handle, QUEUE, Shared, Slot};
use super::pruning::Broom;
use super::reconciler::{Parts, Reconciler};
use super::{Ports, Settings, lookout};

/// Events that a slow subscriber may lag behind before it loses the oldest.
const BACKLOG: usize = 1024;

struct Task {
    stop: CancellationToken,
    join: JoinHandle<()>,
}

/// The running engine.
pub struct Fleet {
    ports: Ports,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    bus: Bus,
    slots: Arc<Semaphore>,
    checks: Arc<Checks>,
    groups: Arc<Groups>,
    shutdown: CancellationToken,
    tasks: BTreeMap<AppName, Task>,
    lookouts: Vec<JoinHandle<()>>,
    declared: Vec<App>,
    adopted: Vec<App>,
}

impl Fleet {
    /// Starts a task for each app. Nothing of it waits for anything outside.
    pub fn start(ports: Ports, settings: Settings, apps: Vec<App>, shutdown: CancellationToken) -> Self {
        let (events, _) = broadcast::channel(BACKLOG);
        let shared = Arc::new(Shared {
            slots: RwLock::new(BTreeMap::new()),
            events: events.clone(),
            store: ports.store.clone(),
            registry: ports.registry.clone(),
            traffic: ports.traffic.clone(),
            janitor: Arc::new(Broom { engine: ports.engine.clone(), store: ports.store.clone() }),
            refused: RwLock::default(),
            rerouted: Notify::new(),
            strangers: Notify::new(),
            seeking: AtomicBool::new(settings.adopts),
        });
        let mut fleet = Self {
            bus: Bus { events, metrics: ports.metrics.clone() },
            slots: Arc::new(Semaphore::new(settings.parallel_swaps)),
            checks: Arc::default(),
            groups: Arc::default(),
            settings: Arc::new(settings),
            shared,
            shutdown,
            tasks: BTreeMap::new(),
            lookouts: Vec::new(),
            ports,
            declared: apps.clone(),
            adopted: Vec::new(),
        };
        let crowd = apps.len();
        fleet.groups.set_unknown(fleet.settings.adopts);
        fleet.groups.muster(apps.iter());
        for app in apps {
            fleet.add(app, crowd);
        }
        let watch =
            |work: fn(Ports, Arc<Shared>, CancellationToken) -> futures_util::future::BoxFuture<'static, ()>| {
                tokio::spawn(work(fleet.ports.clone(), fleet.shared.clone(), fleet.shutdown.clone()))
            };
        let lookouts = vec![
            watch(|ports, shared, stop| Box::pin(lookout::containers(ports, shared, stop))),
            watch(|ports, shared, stop| Box::pin(lookout::routes(ports, shared, stop))),
        ];
        fleet.lookouts = lookouts;
        fleet
    }

    /// The front door.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Looks for containers to adopt from now on; what it finds is to be given to [`Fleet::adopt`].
    pub fn seek(&mut self, adoption: Adoption) -> watch::Receiver<Found> {
        let (sender, found) = watch::channel(Found::default());
        let (ports, shared, shutdown) = (self.ports.clone(), self.shared.clone(), self.shutdown.clone());
        self.lookouts.push(tokio::spawn(seek(ports, shared, adoption, sender, shutdown)));
        found
    }

    /// Makes these the declared apps: new ones start, changed ones start anew, the others go on undisturbed.
    /// Containers of an app that is no longer declared are left running, without a route; the log names them.
    pub async fn apply(&mut self, apps: Vec<App>) {
        self.declared = apps;
        self.settle().await;
    }

    /// Makes these the adopted apps, in the same way. One that has the name of a declared app is refused.
    pub async fn adopt(&mut self, found: Found) {
        let Found { apps, mut refused } = found;
        let declared: BTreeSet<AppName> = self.declared.iter().map(|app| app.name.clone()).collect();
        let (taken, apps): (Vec<App>, Vec<App>) = apps.into_iter().partition(|app| declared.contains(&app.name));
        for app in taken {
            let problem = format!("an app called {} is declared in the configuration", app.name);
            refused.insert(app.name.to_string(), vec![problem]);
        }
        let incumbents = self.incumbents().await;
        let apps = apart(&self.declared, &incumbents, apps, &mut refused);
        self.refuse(refused);
        self.adopted = apps;
        self.settle().await;
        self.groups.set_unknown(false);
        if self.shared.seeking.swap(false, Ordering::SeqCst) {
            self.shared.rerouted.notify_one();
        }
    }

    /// Apps that have their routes already; after a start those that the proxy knows.
    async fn incumbents(&self) -> BTreeSet<AppName> {
        if self.shared.seeking.load(Ordering::SeqCst) {
            return self.ports.traffic.table().await.map(|table| table.apps.into_keys().collect()).unwrap_or_default();
        }
        self.adopted.iter().map(|app| app.name.clone()).collect()
    }

    /// Shows what can't be adopted; each only once in the log.
    fn refuse(&self, refused: BTreeMap<String, Vec<String>>) {
        let statuses = refused.into_iter().map(|(container, problems)| refusal(&container, &problems.join("; ")));
        let statuses: Vec<AppStatus> = statuses.collect();
        let mut known = self.shared.refused.write().expect("no holder panics");
        for status in statuses.iter().filter(|status| !known.contains(status)) {
            let why = status.hold.as_ref().map(super::explain).unwrap_or_default();
            tracing::error!(app = status.app.as_str(), "container {} can't be adopted: {why}", status.image);
        }
        *known = statuses;
    }

    async fn settle(&mut self) {
        let all = self.declared.iter().chain(&self.adopted);
        self.groups.muster(all.clone());
        let wanted: BTreeMap<AppName, App> = all.map(|app| (app.name.clone(), app.clone())).collect();
        let known: Vec<Arc<App>> = {
            let slots = self.shared.slots.read().expect("no holder panics");
            slots.values().map(|slot| slot.app.clone()).collect()
        };
        for app in known {
            if wanted.get(&app.name) == Some(&*app) {
                continue;
            }
            self.remove(&app.name).await;
            if !wanted.contains_key(&app.name) {
                said_goodbye(&app);
            }
        }
        for (name, app) in wanted {
            if !self.tasks.contains_key(&name) {
                if let Origin::Adopted { container } = &app.origin {
                    let (strategy, why) = (app.strategy.label(), &app.strategy_reason);
                    tracing::info!(
                        app = name.as_str(),
                        container,
                        strategy,
                        "container adopted: {strategy}, because {why}"
                    );
                }
                self.add(app, 1);
            }
        }
        self.shared.rerouted.notify_one();
    }

    /// Waits for every task, after the shutdown token was cancelled.
    pub async fn join(mut self) {
        for (app, task) in std::mem::take(&mut self.tasks) {
            end(&app, task.join).await;
        }
        for lookout in self.lookouts {
            if lookout.await.is_err() {
                tracing::error!("a lookout had panicked");
            }
        }
    }

    fn add(&mut self, app: App, crowd: usize) {
        let app = Arc::new(app);
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (status, _) = watch::channel(starting(&app));
        let activation = Arc::new(Activation::default());
        let (nudge, signed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stop = self.shutdown.child_token();
        let group = self.groups.board(&app);
        if let Some(board) = &group {
            board.join(&app, Bell { nudge: nudge.clone(), activation: activation.clone() });
        }
        let reconciler = Reconciler::new(Parts {
            group,
            spec: spec_hash(&app),
            app: app.clone(),
            ports: self.ports.clone(),
            settings: self.settings.clone(),
            bus: self.bus.clone(),
            status: status.clone(),
            commands: inbox,
            activation: activation.clone(),
            nudge: nudge.clone(),
            signed: signed.clone(),
            slots: self.slots.clone(),
            checks: self.checks.clone(),
            crowd,
            shutdown: stop.clone(),
        });
        let name = app.name.clone();
        self.tasks.insert(name.clone(), Task { stop, join: tokio::spawn(reconciler.run()) });
        let slot = Slot { app, status, commands, activation, nudge, signed };
        self.shared.slots.write().expect("no holder panics").insert(name, slot);
    }

    async fn remove(&mut self, app: &AppName) {
        self.shared.slots.write().expect("no holder panics").remove(app);
        if let Some(task) = self.tasks.remove(app) {
            task.stop.cancel();
            end(app, task.join).await;
        }
    }
}

/// Leaves out those that want requests which are another app's already: a declared one's, or of one that was there before.
fn apart(
    declared: &[App],
    incumbents: &BTreeSet<AppName>,
    mut found: Vec<App>,
    refused: &mut BTreeMap<String, Vec<String>>,
) -> Vec<App> {
    found.sort_by_key(|app| !incumbents.contains(&app.name));
    let of = |app: &App| app.routes.iter().map(|route| (route.clone(), app.name.clone())).collect::<Vec<_>>();
    let mut taken: HashMap<Route, AppName> = declared.iter().flat_map(of).collect();
    let mut apart = Vec::new();
    for app in found {
        let first = app.routes.iter().find_map(|route| Some((route, taken.get(route)?)));
        if let Some((Route { listen, host, path }, other)) = first {
            let host = host.as_deref().unwrap_or("every host");
            let problem = format!("label tagboat.listen: {listen} {host} {path} is app {other}'s already");
            refused.insert(app.name.to_string(), vec![problem]);
            continue;
        }
        taken.extend(of(&app));
        apart.push(app);
    }
    apart
}

fn said_goodbye(app: &App) {
    let name = app.name.as_str();
    match &app.origin {
        Origin::Declared => tracing::warn!(
            app = name,
            "the app is no longer declared: its route is gone, its container runs on until it is removed"
        ),
        Origin::Adopted { container } => {
            tracing::info!(app = name, container, "the container is gone or no longer to be watched");
        }
    }
}

async fn end(app: &AppName, join: JoinHandle<()>) {
    if join.await.is_err() {
        tracing::error!(app = app.as_str(), "the app's task had panicked; its containers were left as they were");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures;

    #[test]
    fn a_route_is_the_declared_apps_or_the_first_ones() {
        let at = |name: &str, path: &str| {
            let mut app = fixtures::app(name);
            app.routes[0].path = path.to_owned();
            app
        };
        let mut refused = BTreeMap::new();
        let found = vec![at("a", "/"), at("b", "/b"), at("c", "/b"), at("d", "/d")];
        let names = |apps: Vec<App>| apps.iter().map(|app| app.name.to_string()).collect::<Vec<_>>();
        let kept = apart(&[at("shop", "/")], &BTreeSet::new(), found.clone(), &mut refused);
        assert_eq!(names(kept), ["b", "d"]);
        let there = BTreeSet::from(["c".parse().unwrap()]);
        assert_eq!(names(apart(&[], &there, found, &mut BTreeMap::new())), ["c", "a", "d"]);
        let told: Vec<String> = refused.into_iter().map(|(name, problems)| format!("{name}: {problems:?}")).collect();
        assert!(told[0].starts_with("a: ") && told[0].contains("app shop's already"), "{told:?}");
        assert!(told[1].starts_with("c: ") && told[1].contains("every host /b is app b's already"), "{told:?}");
    }
}
