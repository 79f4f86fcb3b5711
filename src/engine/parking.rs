//! Which container was stopped to make room: remembered beside the label that says the same, in case that somebody
//! removes the container with the label while the old one is away.

use crate::decide::reconcile::Parked;
use crate::model::{App, Origin};
use crate::ports::Store;

use super::observer::chain;

fn key(app: &App) -> String {
    format!("parked/{}", app.name)
}

/// What was parked and is not yet back.
pub(super) fn remembered(app: &App, store: &dyn Store) -> Option<Parked> {
    if app.origin == Origin::Declared {
        return None;
    }
    let note = store.note(&key(app)).ok().flatten()?;
    serde_json::from_slice(&note).ok()
}

/// Written before the container is touched, and `None` once it is back or replaced.
pub(super) fn remember(app: &App, store: &dyn Store, parked: Option<&Parked>) {
    if parked.is_none() && remembered(app, store).is_none() {
        return;
    }
    let note = serde_json::to_vec(&parked).expect("a note can be written as JSON");
    if let Err(error) = store.put_note(&key(app), &note) {
        tracing::warn!(app = app.name.as_str(), "what is parked is not remembered: {}", chain(&error));
    }
}
