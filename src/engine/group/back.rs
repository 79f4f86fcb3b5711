//! What goes back because another of its group had to: it is pinned to what it served before, until that other one moves
//! on, or a person says otherwise.
//!
//! That the other one had to go back is marked in the store, so that it holds over a restart of the agent.

use crate::engine::clock::Utc;
use crate::model::{AppName, Deployment, DeploymentResult, Digest, Generation, Pin};
use crate::ports::{Store, StoreError};

/// History entries that are searched for what serves.
const HISTORY: usize = 50;

fn key(app: &AppName) -> String {
    format!("back/{app}")
}

/// Whether others are to stay where they went back to with `app`.
pub(in crate::engine) fn is_back(store: &dyn Store, app: &AppName) -> Result<bool, StoreError> {
    Ok(store.note(&key(app))?.is_some_and(|mark| !mark.is_empty()))
}

/// `app` has something newer to deploy: those that went back with it, if there are any, follow their tags again.
pub(in crate::engine) fn moves_on(store: &dyn Store, app: &AppName) -> Result<bool, StoreError> {
    let marked = is_back(store, app)?;
    if marked {
        store.put_note(&key(app), &[])?;
    }
    Ok(marked)
}

/// `app` goes back from one version to another as long as `with` does not move on.
pub(in crate::engine) fn go_back(
    store: &dyn Store,
    app: &AppName,
    with: &AppName,
    (from, to): (&Digest, &Digest),
    why: &str,
) -> Result<(), StoreError> {
    store.put_note(&key(with), b"back")?;
    let (tag_was, reason) = (Some(from.clone()), why.to_owned());
    store.put_pin(app, Some(&Pin { digest: to.clone(), tag_was, reason, at: Utc::now(), with: Some(with.clone()) }))
}

/// The version of `app` that came with this generation goes back: so do the others that came with it, unless they serve
/// something else meanwhile, or a person has pinned them. Returns them.
pub(in crate::engine) fn take_along(
    store: &dyn Store,
    app: &AppName,
    generation: Generation,
) -> Result<Vec<AppName>, StoreError> {
    let all = store.deployments(app, HISTORY)?;
    // It may have been written down already that this version was taken back.
    let Some(part) = all.into_iter().find(|entry| entry.generation == generation).and_then(|entry| entry.group) else {
        return Ok(Vec::new());
    };
    let mut along = Vec::new();
    for other in part.members.iter().filter(|other| *other != app) {
        let serves = store.deployments(other, HISTORY)?.into_iter().find(has_succeeded);
        let came_along = |entry: &Deployment| entry.group.as_ref().is_some_and(|its| its.id == part.id);
        let Some(serves) = serves.filter(came_along) else { continue };
        let Some(before) = &serves.previous else { continue };
        if store.pin(other)?.is_none() {
            let why = format!("{app} of its group failed soon after the switch and was taken back");
            go_back(store, other, app, (&serves.digest, before), &why)?;
            along.push(other.clone());
        }
    }
    Ok(along)
}

fn has_succeeded(entry: &Deployment) -> bool {
    entry.result == DeploymentResult::Succeeded
}
