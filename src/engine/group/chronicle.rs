//! A group's history: one entry a deployment. It is memory, not truth: a store that fails costs the entry.

use crate::engine::clock::Utc;
use crate::model::{GroupDeployment, GroupName, GroupResult};
use crate::ports::Store;

/// Entries that are kept.
const KEPT: usize = 50;

fn key(group: &GroupName) -> String {
    format!("group/{group}")
}

/// A group's deployments, the newest first.
pub(in crate::engine) fn history(store: &dyn Store, group: &GroupName) -> Vec<GroupDeployment> {
    let note = store.note(&key(group)).unwrap_or_else(|error| {
        tracing::warn!(group = group.as_str(), error = &error as &dyn std::error::Error, "{error}");
        None
    });
    note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default()
}

/// Writes or rewrites an entry. What an earlier run has left open is closed: whatever became of it is under way anew.
pub(in crate::engine) fn record(store: &dyn Store, entry: &GroupDeployment) {
    let mut all = history(store, &entry.name);
    for old in all.iter_mut().filter(|old| old.id != entry.id && old.result == GroupResult::Running) {
        (old.result, old.finished) = (GroupResult::Superseded, Some(Utc::now()));
    }
    match all.iter_mut().find(|known| known.id == entry.id) {
        Some(known) => known.clone_from(entry),
        None => all.insert(0, entry.clone()),
    }
    all.truncate(KEPT);
    let bytes = serde_json::to_vec(&all).expect("a history can be written as JSON");
    if let Err(error) = store.put_note(&key(&entry.name), &bytes) {
        tracing::warn!(group = entry.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
    }
}
