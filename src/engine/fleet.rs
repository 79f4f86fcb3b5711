//! All apps together: starts their tasks, applies a new configuration, ends them.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use tokio::sync::{Notify, Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::decide::container::spec_hash;
use crate::model::{App, AppName};

use super::bus::Bus;
use super::condition::starting;
use super::handle::{Activation, Handle, QUEUE, Shared, Slot};
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
    shutdown: CancellationToken,
    tasks: BTreeMap<AppName, Task>,
    lookouts: Vec<JoinHandle<()>>,
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
            rerouted: Notify::new(),
        });
        let mut fleet = Self {
            bus: Bus { events, metrics: ports.metrics.clone() },
            slots: Arc::new(Semaphore::new(settings.parallel_swaps)),
            settings: Arc::new(settings),
            shared,
            shutdown,
            tasks: BTreeMap::new(),
            lookouts: Vec::new(),
            ports,
        };
        let crowd = apps.len();
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

    /// Makes these the apps: new ones start, changed ones start anew, the others go on undisturbed. Containers
    /// of an app that is no longer declared are left running, without a route; the log names them.
    pub async fn apply(&mut self, apps: Vec<App>) {
        let wanted: BTreeMap<AppName, App> = apps.into_iter().map(|app| (app.name.clone(), app)).collect();
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
                tracing::warn!(
                    app = app.name.as_str(),
                    "the app is no longer declared: its route is gone, its container runs on until it is removed"
                );
            }
        }
        for (name, app) in wanted {
            if !self.tasks.contains_key(&name) {
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
        let nudge = Arc::new(Notify::new());
        let stop = self.shutdown.child_token();
        let reconciler = Reconciler::new(Parts {
            spec: spec_hash(&app),
            app: app.clone(),
            ports: self.ports.clone(),
            settings: self.settings.clone(),
            bus: self.bus.clone(),
            status: status.clone(),
            commands: inbox,
            activation: activation.clone(),
            nudge: nudge.clone(),
            slots: self.slots.clone(),
            crowd,
            shutdown: stop.clone(),
        });
        let name = app.name.clone();
        self.tasks.insert(name.clone(), Task { stop, join: tokio::spawn(reconciler.run()) });
        let slot = Slot { app, status, commands, activation, nudge };
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

async fn end(app: &AppName, join: JoinHandle<()>) {
    if join.await.is_err() {
        tracing::error!(app = app.as_str(), "the app's task had panicked; its containers were left as they were");
    }
}
