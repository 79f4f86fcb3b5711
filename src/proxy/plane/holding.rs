//! Holds: an app's requests wait until it is switched or released, or nobody has prolonged that.

use std::sync::Arc;
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
    /// Any change of the app's targets ends it.
    pub(super) revision: u64,
    pub(super) until: Instant,
}

impl State {
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
    pub(in crate::proxy) async fn release(&self, app: &AppName, expect: u64, how: Change) -> Response {
        let mut state = self.state.lock().await;
        match state.table.apps.get(app) {
            Some(entry) if entry.revision != expect => return differs(app, expect, entry.revision, how),
            _ => {}
        }
        state.lift(|name, _| name == app);
        Response::Done
    }
}

/// A change that expects another revision. One that a newer proxy has made is only late here.
fn differs(app: &AppName, expected: u64, found: u64, how: Change) -> Response {
    match how {
        Change::Decided => Response::Conflict { app: app.clone(), expected, found },
        Change::Followed => Response::Done,
    }
}
