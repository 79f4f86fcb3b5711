//! A deployment of a group under way: who has come how far, and what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore, watch};
use tokio::time::Instant;

use crate::engine::clock::Utc;
use crate::model::{AppName, AppSwitch, Digest, GroupDeployment, GroupMember, GroupName, GroupResult, SwapId};

use super::board::Board;

/// What is allowed on top of a member's own deadlines: its own failure is to be told, and not that it did not come.
const MARGIN: Duration = Duration::from_secs(30);

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Phase {
    /// It was called, and has not begun.
    Called,
    /// It has begun.
    Seated,
    /// Its image is there, and its job before the deployment is done.
    Prepared,
    /// Its candidate has passed the gate.
    Gated,
    /// What was switched has passed the bake.
    Baked,
    /// It is done, or has given up.
    Left,
}

/// How long a member may take to its next meeting, in all.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine) struct Limits {
    /// For its image and its job before the deployment.
    pub(in crate::engine) prepare: Duration,
    /// From there through its gate.
    pub(in crate::engine) gate: Duration,
    /// For the bake.
    pub(in crate::engine) bake: Duration,
}

#[derive(Debug, Clone)]
struct Place {
    digest: Digest,
    phase: Phase,
    limits: Limits,
    change: Option<AppSwitch>,
    deployment: Option<SwapId>,
}

/// What has become of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    /// Nobody has moved.
    Old,
    /// Somebody is at it.
    Moving,
    /// All have moved.
    New,
    /// Somebody is taking all of them back.
    Returning,
    /// All are back.
    Back,
    /// They could not be taken back together: each sees to itself.
    Apart,
}

#[derive(Debug)]
struct State {
    places: BTreeMap<AppName, Place>,
    traffic: Traffic,
    table: Option<u64>,
    /// The first has begun.
    begun: bool,
    /// Who ended it before its time, and why.
    broken: Option<(AppName, String)>,
}

/// One deployment of a group.
#[derive(Debug)]
pub(in crate::engine) struct Round {
    group: GroupName,
    id: SwapId,
    started: crate::model::Time,
    state: watch::Sender<State>,
    permit: OnceCell<Option<OwnedSemaphorePermit>>,
    tie: OnceCell<OwnedRwLockWriteGuard<()>>,
}

/// What a meeting came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Meeting {
    /// All are there.
    Met,
    /// All are there, and this one makes the switch for them.
    Lead(Vec<AppSwitch>),
    /// It is over: one of them has failed, or did not come.
    Broken(String),
}

impl Round {
    /// A round of these; `switched` when they were switched by an earlier run, and only the bake is left.
    pub(super) fn new(group: &GroupName, members: impl Iterator<Item = GroupMember>, switched: bool) -> Self {
        let place = |member: GroupMember| {
            let (digest, deployment) = (member.digest, member.deployment);
            (member.app, Place { digest, phase: Phase::Called, limits: Limits::default(), change: None, deployment })
        };
        let traffic = if switched { Traffic::New } else { Traffic::Old };
        let state = State { places: members.map(place).collect(), traffic, table: None, begun: false, broken: None };
        Self {
            group: group.clone(),
            id: SwapId(format!("{group}-{:08x}", rand::random::<u32>())),
            started: Utc::now(),
            state: watch::Sender::new(state),
            permit: OnceCell::new(),
            tie: OnceCell::new(),
        }
    }

    /// The seat of a member that was called with this digest and has not come yet.
    pub(super) fn seat(self: &Arc<Self>, board: &Arc<Board>, app: &AppName, digest: &Digest) -> Option<Seat> {
        let free = |place: &Place| place.phase == Phase::Called && place.digest == *digest;
        let taken = self.state.send_if_modified(|state| {
            let open = state.broken.is_none();
            let place = state.places.get_mut(app).filter(|place| open && free(place));
            place.map(|place| place.phase = Phase::Seated).is_some()
        });
        taken.then(|| Seat { board: board.clone(), round: self.clone(), app: app.clone() })
    }

    /// It was called and has not come yet.
    pub(super) fn is_awaited(&self, app: &AppName) -> bool {
        self.state.borrow().places.get(app).is_some_and(|place| place.phase == Phase::Called)
    }

    /// Who is in it besides `app`.
    pub(super) fn present(&self, app: &AppName) -> Vec<AppName> {
        self.state.borrow().places.keys().filter(|name| *name != app).cloned().collect()
    }

    /// Nobody is in it any more.
    pub(super) fn is_over(&self) -> bool {
        self.state.borrow().places.values().all(|place| place.phase == Phase::Left)
    }

    /// `app` does not come along. Once all are through, that concerns nobody. Whoever has not come by then need not.
    pub(super) fn fail(&self, app: &AppName, why: &str) {
        self.state.send_if_modified(|state| {
            if state.broken.is_some() || state.places.values().all(|place| place.phase >= Phase::Baked) {
                return false;
            }
            state.broken = Some((app.clone(), why.to_owned()));
            let absent = state.places.values_mut().filter(|place| place.phase == Phase::Called);
            absent.for_each(|place| place.phase = Phase::Left);
            true
        });
    }

    /// As the history has it.
    pub(super) fn record(&self) -> GroupDeployment {
        let state = self.state.borrow();
        let member = |(app, place): (&AppName, &Place)| GroupMember {
            app: app.clone(),
            digest: place.digest.clone(),
            deployment: place.deployment.clone(),
        };
        let over = state.places.values().all(|place| place.phase == Phase::Left);
        let all: Vec<&str> = state.places.keys().map(AppName::as_str).collect();
        let (result, message) = match (&state.broken, state.traffic) {
            (None, _) if !over => (GroupResult::Running, String::new()),
            (None, _) => (GroupResult::Succeeded, all.join(", ")),
            (Some((by, why)), Traffic::Back | Traffic::Apart | Traffic::Returning | Traffic::New) => {
                (GroupResult::RolledBack, format!("{by}: {why}"))
            }
            (Some((by, why)), _) => (GroupResult::Failed, format!("{by}: {why}")),
        };
        GroupDeployment {
            id: self.id.clone(),
            name: self.group.clone(),
            started: self.started,
            finished: over.then(Utc::now),
            result,
            message,
            table: state.table,
            members: state.places.iter().map(member).collect(),
        }
    }
}

impl State {
    fn why(&self) -> Option<String> {
        self.broken.as_ref().map(|(by, why)| format!("held back by its group: {by} {why}"))
    }

    /// Those that are still in it and have not come so far.
    fn missing(&self, phase: Phase) -> Vec<&AppName> {
        self.places.iter().filter(|(_, place)| place.phase < phase).map(|(name, _)| name).collect()
    }

    fn limit(&self, phase: Phase) -> Duration {
        let longest = |limit: fn(&Limits) -> Duration| self.places.values().map(|place| limit(&place.limits)).max();
        let limit = match phase {
            Phase::Prepared => longest(|limits| limits.prepare),
            Phase::Gated => longest(|limits| limits.prepare + limits.gate),
            _ => longest(|limits| limits.bake),
        };
        limit.unwrap_or_default() + MARGIN
    }
}

/// A member's place in a round. Whoever leaves before the switch ends it for the others; after that, they go on.
pub(in crate::engine) struct Seat {
    board: Arc<Board>,
    round: Arc<Round>,
    app: AppName,
}

impl Seat {
    /// The group.
    pub(in crate::engine) fn group(&self) -> &GroupName {
        &self.round.group
    }

    /// The id of the group's deployment.
    pub(in crate::engine) fn id(&self) -> &SwapId {
        &self.round.id
    }

    /// It is about this version.
    pub(in crate::engine) fn is_for(&self, digest: &Digest) -> bool {
        self.round.state.borrow().places.get(&self.app).is_some_and(|place| place.digest == *digest)
    }

    /// Everybody in it.
    pub(in crate::engine) fn members(&self) -> Vec<AppName> {
        self.round.state.borrow().places.keys().cloned().collect()
    }

    /// The group's deployment as its history has it.
    pub(in crate::engine) fn record(&self) -> GroupDeployment {
        self.round.record()
    }

    /// The member begins, as this deployment, and has come so far already. True for the first.
    pub(in crate::engine) fn begin(&self, deployment: &SwapId, phase: Phase, limits: Limits) -> bool {
        let mut first = false;
        self.round.state.send_modify(|state| {
            first = !std::mem::replace(&mut state.begun, true);
            if let Some(place) = state.places.get_mut(&self.app) {
                (place.phase, place.limits) = (place.phase.max(phase), limits);
                place.deployment = Some(deployment.clone());
            }
        });
        first
    }

    /// A group counts as one swap: the first of it waits for a turn, for all of them.
    pub(in crate::engine) async fn turn(&self, slots: &Arc<Semaphore>) {
        self.round.permit.get_or_init(|| async { slots.clone().acquire_owned().await.ok() }).await;
    }

    /// Containers that share namespaces must not be swapped beside each other: those of a group keep all others away, once
    /// for all of them.
    pub(in crate::engine) async fn tie(&self, ties: &Arc<RwLock<()>>) {
        self.round.tie.get_or_init(|| ties.clone().write_owned()).await;
    }

    /// Waits until all have come so far. Of those that meet at the gate, with their changes of the table, the last to
    /// come is told to make the switch.
    pub(in crate::engine) async fn meet(&self, phase: Phase, change: Option<AppSwitch>) -> Meeting {
        let (mut lead, mut watch) = (None, self.round.state.subscribe());
        self.round.state.send_modify(|state| {
            if let Some(place) = state.places.get_mut(&self.app) {
                place.phase = place.phase.max(phase);
                place.change = change.or_else(|| place.change.take());
            }
            if phase == Phase::Gated && state.broken.is_none() && state.missing(phase).is_empty() {
                state.traffic = Traffic::Moving;
                lead = Some(state.places.values().filter_map(|place| place.change.clone()).collect());
            }
        });
        if let Some(changes) = lead {
            return Meeting::Lead(changes);
        }
        let deadline = Instant::now() + self.round.state.borrow().limit(phase);
        let met = |state: &State| {
            let moved = phase != Phase::Gated || state.traffic == Traffic::New;
            moved && state.missing(phase).is_empty()
        };
        let waited = tokio::time::timeout_at(deadline, watch.wait_for(|state| state.broken.is_some() || met(state)));
        let late = match waited.await {
            Ok(Ok(state)) => return state.why().map_or(Meeting::Met, Meeting::Broken),
            Ok(Err(_)) => "it has been given up".to_owned(),
            Err(_) => {
                let state = self.round.state.borrow();
                let missing: Vec<&str> = state.missing(phase).into_iter().map(AppName::as_str).collect();
                format!("waited for {} for too long", missing.join(", "))
            }
        };
        self.fail(&late);
        Meeting::Broken(self.broken_by().unwrap_or(late))
    }

    /// The switch was made for all.
    pub(in crate::engine) fn switched(&self, table: Option<u64>) {
        self.round.state.send_modify(|state| (state.traffic, state.table) = (Traffic::New, table));
    }

    /// The member has failed: none of them moves, or all of them go back.
    pub(in crate::engine) fn fail(&self, why: &str) {
        self.round.fail(&self.app, why);
    }

    /// Who has failed, if anybody has.
    pub(in crate::engine) fn broken_by(&self) -> Option<String> {
        self.round.state.borrow().why()
    }

    /// Waits until somebody fails, as long as that concerns this one.
    pub(in crate::engine) async fn broken(&self) -> String {
        let mut watch = self.round.state.subscribe();
        // The round lives as long as this seat, so that it can't be gone.
        watch.wait_for(|state| state.broken.is_some()).await.ok().and_then(|state| state.why()).unwrap_or_default()
    }

    /// True when all have moved and are to go back, and this one is the first to see to it.
    pub(in crate::engine) fn takes_back(&self) -> bool {
        self.round.state.send_if_modified(|state| {
            let first = state.broken.is_some() && state.traffic == Traffic::New;
            if first {
                state.traffic = Traffic::Returning;
            }
            first
        })
    }

    /// The others are told whether all are back.
    pub(in crate::engine) fn taken_back(&self, all: bool) {
        self.round.state.send_modify(|state| state.traffic = if all { Traffic::Back } else { Traffic::Apart });
    }

    /// Waits until whoever takes all of them back has done so. Returns whether they are back.
    pub(in crate::engine) async fn is_back(&self, limit: Duration) -> bool {
        let mut watch = self.round.state.subscribe();
        let settled = watch.wait_for(|state| matches!(state.traffic, Traffic::Back | Traffic::Apart));
        match tokio::time::timeout(limit, settled).await {
            Ok(Ok(state)) => state.traffic == Traffic::Back,
            _ => false,
        }
    }

    /// The member is done, or has given up. Whoever is the last to leave gets the whole story.
    pub(in crate::engine) fn leave(&self) -> Option<GroupDeployment> {
        if self.round.state.borrow().traffic != Traffic::New {
            self.fail("has left its deployment");
        }
        let mut last = false;
        self.round.state.send_modify(|state| {
            let before = state.places.values().all(|place| place.phase == Phase::Left);
            if let Some(place) = state.places.get_mut(&self.app) {
                place.phase = Phase::Left;
            }
            last = !before && state.places.values().all(|place| place.phase == Phase::Left);
        });
        self.board.clear(&self.round);
        last.then(|| self.round.record())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}
