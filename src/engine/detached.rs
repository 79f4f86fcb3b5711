//! A handle without reconcilers, for tests of what sits in front of it: the test says what the apps answer.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::asked::{Activation, Answer, Command, DeployRequest, RequestError, RollbackTo};
use super::handle::{Handle, Shared, Slot};
use super::pruning::Janitor;
use crate::model::{App, AppStatus, Decision, Event, Pruned, SeenSource};
use crate::ports::{Registry, Store, Traffic};

/// What the apps answer.
pub(crate) trait Answers: Send + Sync + 'static {
    fn deploy(&self, request: DeployRequest) -> Result<Answer, RequestError>;
    fn rollback(&self, to: RollbackTo) -> Result<Answer, RequestError>;
    fn plan(&self) -> Result<Decision, RequestError>;
    fn unpin(&self) -> Result<bool, RequestError>;
    fn prune(&self, dry_run: bool) -> Pruned;
}

/// The handle, and what the engine would hold behind it.
pub(crate) struct Detached {
    pub(crate) handle: Handle,
    tasks: JoinSet<()>,
}

impl Detached {
    /// `apps` with their statuses.
    pub(crate) fn new(
        apps: Vec<(App, AppStatus)>,
        answers: &Arc<impl Answers>,
        (store, registry, traffic): (Arc<dyn Store>, Arc<dyn Registry>, Arc<dyn Traffic>),
    ) -> Self {
        let mut tasks = JoinSet::new();
        let mut slots = BTreeMap::new();
        for (app, status) in apps {
            let (commands, receiver) = mpsc::channel(super::handle::QUEUE);
            tasks.spawn(answer(receiver, Arc::clone(answers)));
            let slot = Slot {
                app: Arc::new(app),
                status: watch::Sender::new(status.clone()),
                commands,
                activation: Arc::new(Activation::default()),
                nudge: Arc::default(),
                signed: Arc::default(),
            };
            slots.insert(status.app, slot);
        }
        let events = broadcast::Sender::new(64);
        let shared = Shared {
            slots: RwLock::new(slots),
            refused: RwLock::default(),
            events,
            store,
            registry,
            traffic,
            janitor: Arc::new(Told(Arc::clone(answers))),
            rerouted: Notify::new(),
            strangers: Notify::new(),
            seeking: AtomicBool::new(false),
        };
        Self { handle: Handle { shared: Arc::new(shared) }, tasks }
    }

    /// Something happens.
    pub(crate) fn emit(&self, event: Event) {
        drop(self.handle.shared.events.send(Arc::new(event)));
    }

    /// Readers of the events.
    pub(crate) fn readers(&self) -> usize {
        self.handle.shared.events.receiver_count()
    }

    /// An app's status changes.
    pub(crate) fn set(&self, status: AppStatus) {
        let slots = self.handle.shared.slots.read().unwrap();
        slots[&status.app.clone()].status.send_replace(status);
    }

    /// Waits until the app has been asked to look.
    pub(crate) async fn activated(&self, app: &str) -> SeenSource {
        let activation = {
            let slots = self.handle.shared.slots.read().unwrap();
            Arc::clone(&slots[&app.parse().unwrap()].activation)
        };
        activation.next().await.0
    }

    /// Waits until the app has been asked to look for a signature.
    pub(crate) async fn signed(&self, app: &str) {
        let signed = Arc::clone(&self.handle.shared.slots.read().unwrap()[&app.parse().unwrap()].signed);
        signed.notified().await;
    }

    /// The apps answer no more.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Finds what the test says.
struct Told<A>(Arc<A>);

#[async_trait::async_trait]
impl<A: Answers> Janitor for Told<A> {
    async fn prune(&self, _: Vec<(Arc<App>, AppStatus)>, dry_run: bool) -> Result<Pruned, RequestError> {
        Ok(self.0.prune(dry_run))
    }
}

async fn answer(mut commands: mpsc::Receiver<Command>, answers: Arc<impl Answers>) {
    while let Some(command) = commands.recv().await {
        // A caller that has gone away needs no answer.
        match command {
            Command::Deploy(request, reply) => drop(reply.send(answers.deploy(request))),
            Command::Rollback(to, reply) => drop(reply.send(answers.rollback(to))),
            Command::Plan(reply) => drop(reply.send(answers.plan())),
            Command::Unpin(reply) => drop(reply.send(answers.unpin())),
        }
    }
}
