//! The engine's front door, for the API, the webhooks and the CLI.

mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::engine::clock::Utc;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::decide::policy::is_artifact;
use crate::model::{
    App, AppName, AppStatus, Approval, Decision, Deployment, Digest, Event, EventKind, Follow, GroupDeployment,
    GroupName, Hold, Pruned, RegistryStatus, SeenSource, SwapId, Tag, TagReport, TrafficStats,
};
use crate::ports::{Registry, Store, Traffic, TrafficError};

use super::asked::{
    Activation, Answer, Approved, Command, DeployRequest, Hint, RequestError, RollbackTo, SignatureHint,
};
use super::bus::announce;
use super::gatekeeping;
use super::pruning::Janitor;

/// A caller waits so long for an app that is busy with a swap before it is told that the request is queued.
const PATIENCE: Duration = Duration::from_secs(3);

/// Requests that may wait for one app.
pub(super) const QUEUE: usize = 16;

/// What the handle knows of one app.
pub(super) struct Slot {
    pub(super) app: Arc<App>,
    pub(super) status: watch::Sender<AppStatus>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) activation: Arc<Activation>,
    pub(super) nudge: Arc<Notify>,
    /// Something was announced that may be the signature which it waits for.
    pub(super) signed: Arc<Notify>,
}

/// Shared by every clone of the handle.
pub(super) struct Shared {
    pub(super) slots: RwLock<BTreeMap<AppName, Slot>>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) traffic: Arc<dyn Traffic>,
    pub(super) janitor: Arc<dyn Janitor>,
    /// Containers that a person has labelled and that can't be adopted.
    pub(super) refused: RwLock<Vec<AppStatus>>,
    /// The routes have changed.
    pub(super) rerouted: Notify,
    /// Something happened to a container that is not ours yet.
    pub(super) strangers: Notify,
    /// It is not known yet which containers are adopted.
    pub(super) seeking: AtomicBool,
}

/// The engine's front door; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// Every app, by name; with those that could not be adopted.
    pub fn statuses(&self) -> Vec<AppStatus> {
        let slots = self.shared.slots.read().expect("no holder panics");
        let mut all: Vec<AppStatus> = slots.values().map(|slot| slot.status.borrow().clone()).collect();
        all.extend(self.shared.refused.read().expect("no holder panics").iter().cloned());
        all.sort_by(|a, b| a.app.cmp(&b.app));
        all
    }

    /// One app.
    pub fn status(&self, app: &str) -> Result<AppStatus, RequestError> {
        self.with_slot(app, |slot| slot.status.borrow().clone())
    }

    /// Every registry that was asked.
    pub fn registries(&self) -> Vec<RegistryStatus> {
        self.shared.registry.status()
    }

    /// Everything that happens from now on. A slow reader loses the oldest events and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.events.subscribe()
    }

    /// Makes an app look at its registry now.
    pub fn check(&self, app: &str) -> Result<(), RequestError> {
        self.with_slot(app, |slot| slot.activation.activate(SeenSource::Request, None))
    }

    /// Makes every app that a hint concerns look. Returns how many there are.
    pub fn hint(&self, hint: &Hint) -> usize {
        let slots = self.shared.slots.read().expect("no holder panics");
        let concerned = slots.values().filter(|slot| concerns(slot, hint));
        concerned.map(|slot| slot.activation.activate(SeenSource::Webhook, Some(hint.clone()))).count()
    }

    /// Makes every app look that waits for a signature which this may be. Returns how many there are.
    pub fn signed(&self, hint: &SignatureHint) -> usize {
        let slots = self.shared.slots.read().expect("no holder panics");
        let waiting = slots.values().filter(|slot| waits_for(slot, hint));
        waiting.map(|slot| slot.signed.notify_one()).count()
    }

    /// The apps that a hint concerns.
    pub fn concerned(&self, hint: &Hint) -> Vec<AppName> {
        let slots = self.shared.slots.read().expect("no holder panics");
        slots.values().filter(|slot| concerns(slot, hint)).map(|slot| slot.app.name.clone()).collect()
    }

    /// Deploys what the app follows, or another version of its repository, which is then pinned. Lifts the
    /// quarantine of what is asked for. The processes of one image, in a group, are asked the same.
    pub async fn deploy(&self, app: &str, request: DeployRequest) -> Result<Answer, RequestError> {
        let (reply, answer) = oneshot::channel();
        if !request.only {
            self.deploy_with(app, &request);
        }
        self.send(app, Command::Deploy(request, reply))?;
        patiently(answer).await
    }

    /// Goes back to an earlier version and pins it; unless `only` this one is to, with those of its group that moved together
    /// with it.
    pub async fn rollback(&self, app: &str, to: RollbackTo, only: bool) -> Result<Answer, RequestError> {
        let (reply, answer) = oneshot::channel();
        if !only {
            self.roll_back_with(app, &to);
        }
        self.send(app, Command::Rollback(to, reply))?;
        patiently(answer).await
    }

    /// What would be done now, without doing it.
    pub async fn plan(&self, app: &str) -> Result<Decision, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.send(app, Command::Plan(reply))?;
        answer.await.map_err(|_| RequestError::Stopping)?
    }

    /// All tags of the app's repository, read now, and which of them its policy follows.
    pub async fn tags(&self, app: &str) -> Result<TagReport, RequestError> {
        let app = self.with_slot(app, |slot| slot.app.clone())?;
        super::choice::report(&*self.shared.registry, &*self.shared.store, &app).await
    }

    /// Lets the app follow its tag again, and its whole group with it. Returns whether it was pinned.
    pub async fn unpin(&self, app: &str) -> Result<bool, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.unpin_with(app);
        self.send(app, Command::Unpin(reply))?;
        answer.await.map_err(|_| RequestError::Stopping)?
    }

    /// Lets a failed digest, or all of them, be tried again. Returns how many there were.
    pub fn unquarantine(&self, app: &str, digest: Option<&Digest>) -> Result<usize, RequestError> {
        let name = self.with_slot(app, |slot| slot.app.name.clone())?;
        let lifted = self.shared.store.lift_quarantine(&name, digest)?;
        self.check(app)?;
        Ok(lifted)
    }

    /// A person approves of a version, or of the one that waits: it may be deployed as far as they are concerned.
    pub fn approve(&self, app: &str, digest: Option<&Digest>, by: &str) -> Result<Approved, RequestError> {
        let (app, waiting, nudge) = self.with_slot(app, |slot| {
            let waiting = slot.status.borrow().waiting().cloned();
            (slot.app.clone(), waiting, slot.nudge.clone())
        })?;
        let unknown = || RequestError::Unresolved { message: "it is not known yet what its tag points to".to_owned() };
        let digest = digest.cloned().or(waiting).ok_or_else(unknown)?;
        let approval = Approval { digest: digest.clone(), by: by.to_owned(), at: Utc::now() };
        gatekeeping::approve(&app, &*self.shared.store, &approval)?;
        let kind = EventKind::Approved { digest, by: by.to_owned() };
        announce(&self.shared.events, Event { at: approval.at, app: app.name.clone(), kind });
        nudge.notify_one();
        Ok(Approved { approval, asked_for: app.gates.approve })
    }

    /// The newest entries of an app's history.
    pub fn deployments(&self, app: &str, limit: usize) -> Result<Vec<Deployment>, RequestError> {
        let name = self.with_slot(app, |slot| slot.app.name.clone())?;
        Ok(self.shared.store.deployments(&name, limit)?)
    }

    /// One entry of an app's history.
    pub fn deployment(&self, app: &str, id: &SwapId) -> Result<Option<Deployment>, RequestError> {
        let name = self.with_slot(app, |slot| slot.app.name.clone())?;
        Ok(self.shared.store.deployment(&name, id)?)
    }

    /// The newest entries of a group's history.
    pub fn group_deployments(&self, group: &str, limit: usize) -> Result<Vec<GroupDeployment>, RequestError> {
        let slots = self.shared.slots.read().expect("no holder panics");
        let groups: BTreeSet<&GroupName> = slots.values().filter_map(|slot| slot.app.group.as_ref()).collect();
        let Some(name) = groups.iter().find(|name| name.as_str() == group) else {
            let known = groups.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(RequestError::UnknownGroup { group: group.to_owned(), known });
        };
        let mut all = super::group::history(&*self.shared.store, name);
        all.truncate(limit);
        Ok(all)
    }

    /// The counters of every proxy process.
    pub async fn traffic_stats(&self) -> Result<Vec<TrafficStats>, TrafficError> {
        self.shared.traffic.stats().await
    }

    /// Removes what nobody needs any more of what was brought to the host, or says what that would be.
    pub async fn prune(&self, dry_run: bool) -> Result<Pruned, RequestError> {
        let watched = {
            let slots = self.shared.slots.read().expect("no holder panics");
            slots.values().map(|slot| (slot.app.clone(), slot.status.borrow().clone())).collect()
        };
        self.shared.janitor.prune(watched, dry_run).await
    }

    fn with_slot<T>(&self, app: &str, f: impl FnOnce(&Slot) -> T) -> Result<T, RequestError> {
        let slots = self.shared.slots.read().expect("no holder panics");
        let slot = app.parse::<AppName>().ok().and_then(|name| slots.get(&name));
        slot.map(f).ok_or_else(|| RequestError::UnknownApp {
            app: app.to_owned(),
            known: slots.keys().map(AppName::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    fn send(&self, app: &str, command: Command) -> Result<(), RequestError> {
        let (name, sender) = self.with_slot(app, |slot| (slot.app.name.clone(), slot.commands.clone()))?;
        sender.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RequestError::Busy { app: name },
            mpsc::error::TrySendError::Closed(_) => RequestError::Stopping,
        })
    }
}

/// Some senders lower-case the tags that they announce (Gitea); one look too many costs nothing.
fn concerns(slot: &Slot, hint: &Hint) -> bool {
    let hinted = hint.tag.as_ref();
    slot.app.image == hint.repository
        && match &slot.app.follow {
            Follow::Tag(tag) => hinted.is_none_or(|hinted| hinted.as_str().eq_ignore_ascii_case(tag.as_str())),
            // Any new tag may be the best.
            Follow::Policy(_) => hinted.is_none_or(|hinted| !is_artifact(hinted)),
            Follow::Pinned(_) => false,
        }
}

/// Held for want of a signature of what was named.
fn waits_for(slot: &Slot, hint: &SignatureHint) -> bool {
    let status = slot.status.borrow();
    let Some(Hold::Gated { digest, gate, .. }) = &status.hold else { return false };
    let is_about = |tag: &Tag| {
        ["", ".sig"].iter().any(|suffix| digest.stand_in(suffix).as_str().eq_ignore_ascii_case(tag.as_str()))
    };
    gate.wants_signature() && slot.app.image == hint.repository && hint.tag.as_ref().is_none_or(is_about)
}

async fn patiently(answer: oneshot::Receiver<Result<Answer, RequestError>>) -> Result<Answer, RequestError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answered) => answered.map_err(|_| RequestError::Stopping)?,
        Err(_) => Ok(Answer::Queued),
    }
}
