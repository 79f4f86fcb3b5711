//! A member's place in a round, and what it does there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, Semaphore};
use tokio::time::Instant;

use crate::model::{AppName, AppSwitch, Digest, GroupDeployment, GroupName, SwapId};

use super::board::Board;
use super::round::{Alone, Limits, Phase, Round, State, Traffic};

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

/// A member's place in a round. Whoever leaves before the switch ends it for the others; after that, they go on.
pub(in crate::engine) struct Seat {
    pub(super) board: Arc<Board>,
    pub(super) round: Arc<Round>,
    pub(super) app: AppName,
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
    /// for all of them and until the last of them is done.
    pub(in crate::engine) async fn tie(&self, ties: &Arc<RwLock<()>>) -> Arc<Alone> {
        let mut known = self.round.tie.lock().await;
        if let Some(tie) = known.upgrade() {
            return tie;
        }
        let tie = Arc::new(ties.clone().write_owned().await);
        *known = Arc::downgrade(&tie);
        tie
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
            Err(_) if self.excused(phase) => return Meeting::Met,
            Err(_) => {
                let state = self.round.state.borrow();
                let missing: Vec<&str> = state.missing(phase).into_iter().map(AppName::as_str).collect();
                format!("waited for {} for too long", missing.join(", "))
            }
        };
        self.fail(&late);
        Meeting::Broken(self.broken_by().unwrap_or(late))
    }

    /// Where all were switched by an earlier run, those that have not come to go on with it are not waited for any longer.
    /// True when nobody else is missing.
    fn excused(&self, phase: Phase) -> bool {
        let mut nobody = false;
        self.round.state.send_modify(|state| {
            let absent = state.places.values_mut().filter(|place| place.phase == Phase::Called);
            absent.filter(|_| phase == Phase::Baked).for_each(|place| place.phase = Phase::Left);
            nobody = state.broken.is_none() && state.missing(phase).is_empty();
        });
        nobody
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

    /// The member that has failed, if any has.
    pub(in crate::engine) fn culprit(&self) -> Option<AppName> {
        self.round.state.borrow().broken.as_ref().map(|(by, _)| by.clone())
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
