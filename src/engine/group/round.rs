//! A deployment of a group under way: who has come how far, and what became of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell, OwnedRwLockWriteGuard, OwnedSemaphorePermit, watch};

use crate::engine::chance;
use crate::engine::clock::Utc;
use crate::model::{AppName, AppSwitch, Digest, GroupDeployment, GroupMember, GroupName, GroupResult, SwapId};

use super::board::Board;
use super::seat::Seat;

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
pub(super) struct Place {
    pub(super) digest: Digest,
    pub(super) phase: Phase,
    pub(super) limits: Limits,
    pub(super) change: Option<AppSwitch>,
    pub(super) deployment: Option<SwapId>,
}

/// What has become of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
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
pub(super) struct State {
    pub(super) places: BTreeMap<AppName, Place>,
    pub(super) traffic: Traffic,
    pub(super) table: Option<u64>,
    /// The first has begun.
    pub(super) begun: bool,
    /// Who ended it before its time, and why.
    pub(super) broken: Option<(AppName, String)>,
}

/// Keeps all other swaps by name away.
pub(in crate::engine) type Alone = OwnedRwLockWriteGuard<()>;

/// One deployment of a group.
#[derive(Debug)]
pub(in crate::engine) struct Round {
    pub(super) group: GroupName,
    pub(super) id: SwapId,
    started: crate::model::Time,
    pub(super) state: watch::Sender<State>,
    pub(super) permit: OnceCell<Option<OwnedSemaphorePermit>>,
    pub(super) tie: Mutex<Weak<Alone>>,
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
            id: SwapId(format!("{group}-{:08x}", chance::number())),
            started: Utc::now(),
            state: watch::Sender::new(state),
            permit: OnceCell::new(),
            tie: Mutex::default(),
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

    /// `app` was called and does not come. Before the switch that ends it for the others; where they were switched already,
    /// they go on without it.
    pub(super) fn excuse(&self, app: &AppName, why: &str) {
        let moved = self.state.send_if_modified(|state| {
            let moved = state.traffic == Traffic::New;
            let place = state.places.get_mut(app).filter(|place| moved && place.phase == Phase::Called);
            place.map(|place| place.phase = Phase::Left).is_some()
        });
        if !moved {
            self.fail(app, why);
        }
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
    pub(super) fn why(&self) -> Option<String> {
        self.broken.as_ref().map(|(by, why)| format!("held back by its group: {by} {why}"))
    }

    /// Those that are still in it and have not come so far.
    pub(super) fn missing(&self, phase: Phase) -> Vec<&AppName> {
        self.places.iter().filter(|(_, place)| place.phase < phase).map(|(name, _)| name).collect()
    }

    pub(super) fn limit(&self, phase: Phase) -> Duration {
        let longest = |limit: fn(&Limits) -> Duration| self.places.values().map(|place| limit(&place.limits)).max();
        let limit = match phase {
            Phase::Prepared => longest(|limits| limits.prepare),
            Phase::Gated => longest(|limits| limits.prepare + limits.gate),
            _ => longest(|limits| limits.bake),
        };
        limit.unwrap_or_default() + MARGIN
    }
}
