//! Holds: an app's requests wait until it is switched or released, or nobody has prolonged that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{AppHold, AppName, Target};

use super::{Change, Plane, State};
use crate::proxy::control::Response;
use crate::proxy::hold::Hold;

/// A hold, and what ends it by itself.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) hold: Arc<Hold>,
    /// As it was begun. Any change of the app's targets ends it.
    pub(super) wanted: AppHold,
    pub(super) until: Instant,
}

impl State {
    /// Holds what was held when the proxy ended, unless it has been switched since. Each begins its lease anew: if the
    /// agent has ended as well, nobody waits for longer than that.
    pub(super) fn hold_again(&mut self) {
        for wanted in self.holds_file.kept().to_vec() {
            let entry = self.table.apps.get(&wanted.app);
            if entry.is_some_and(|entry| entry.revision == wanted.expect) {
                self.begin(wanted);
            }
        }
    }

    /// Puts a hold of an app that the table knows in force.
    fn begin(&mut self, wanted: AppHold) {
        let Some(runtime) = self.apps.get(&wanted.app) else { return };
        tracing::info!(app = wanted.app.as_str(), "held: new requests wait");
        let hold = Hold::new(wanted.limits);
        // In this order: who is refused by a target finds the hold.
        runtime.lot.begin(hold.clone());
        runtime.active.load().iter().for_each(|upstream| upstream.set_draining(true));
        let until = Instant::now() + Duration::from_millis(wanted.lease_ms);
        self.holds.insert(wanted.app.clone(), Holding { hold, wanted, until });
    }

    /// Ends these holds; the targets are those of before.
    pub(super) fn lift(&mut self, over: impl Fn(&AppName, &Holding) -> bool) {
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

impl Plane {
    /// Has an app's requests wait, or prolongs that. Once it is done, what is under way on the app's targets is all that
    /// can still be sent to them. An older proxy that follows asks for the revision too: its news may be overtaken.
    pub(in crate::proxy) async fn hold(&self, wanted: &AppHold, how: Change) -> Response {
        let mut state = self.state.lock().await;
        let Some(entry) = state.table.apps.get(&wanted.app) else {
            return Response::Refused { message: format!("there is no app {}", wanted.app) };
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
            holding.until = Instant::now() + Duration::from_millis(wanted.lease_ms);
            return Response::Done;
        }
        state.begin(wanted.clone());
        self.keep_holds(&mut state).await;
        Response::Done
    }

    /// Ends a hold: its requests go to what the table names.
    pub(in crate::proxy) async fn release(&self, app: &AppName, expect: u64, how: Change) -> Response {
        let mut state = self.state.lock().await;
        match state.table.apps.get(app) {
            Some(entry) if entry.revision != expect => return differs(app, expect, entry.revision, how),
            _ => {}
        }
        state.lift(|name, _| name == app);
        self.keep_holds(&mut state).await;
        Response::Done
    }

    /// A retiring proxy leaves the disk to its successor.
    pub(super) async fn keep_holds(&self, state: &mut State) {
        if !self.retiring.load(Ordering::SeqCst) {
            let holds = state.holds.values().map(|holding| holding.wanted.clone()).collect();
            state.holds_file.keep(holds).await;
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
