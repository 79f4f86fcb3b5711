//! The tag that an app's policy picks: lists the tags, has `decide` choose, remembers what won.

use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::decide::policy::Policy;
use crate::model::{App, CachedTags, EventKind, Follow, Repository, SeenSource, Tag, TagList, TagPolicy, TagReport};
use crate::ports::{Registry, Store};

use super::bus::Bus;
use super::handle::RequestError;
use super::observer::{TagView, chain};

/// A tag to follow, once its digest is known.
#[derive(Debug, Clone)]
pub(super) struct Picked {
    pub(super) tag: Tag,
    pub(super) cached: Option<CachedTags>,
}

/// No tag was picked.
#[derive(Debug, Clone)]
pub(super) enum Unpicked {
    /// The registry gave no list.
    Unknown(String),
    /// The list has none that the policy follows.
    Unmatched(String),
}

/// What is remembered over a restart. It may be lost: then the best tag is followed whatever was followed before.
#[derive(Debug, Serialize, Deserialize)]
struct Chosen {
    repository: Repository,
    policy: TagPolicy,
    tag: Tag,
    cached: Option<CachedTags>,
}

fn note_key(app: &App) -> String {
    format!("choice/{}", app.name)
}

/// What won in an earlier run. Under another policy, or of another repository, it says nothing.
pub(super) fn remembered(app: &App, policy: &TagPolicy, store: &dyn Store) -> (Option<Tag>, Option<CachedTags>) {
    let note = store.note(&note_key(app)).unwrap_or_else(|error| {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        None
    });
    let chosen = note.and_then(|bytes| serde_json::from_slice::<Chosen>(&bytes).ok());
    match chosen.filter(|chosen| chosen.policy == *policy && chosen.repository == app.image) {
        Some(chosen) => (Some(chosen.tag), chosen.cached),
        None => (None, None),
    }
}

/// Lists the tags and picks one.
pub(super) async fn pick(
    view: &mut TagView,
    app: &App,
    policy: &TagPolicy,
    registry: &dyn Registry,
    source: SeenSource,
) -> Result<Picked, Unpicked> {
    // Whether an announced tag has arrived is seen only in a list.
    let awaited = view.awaited.clone().filter(|_| source == SeenSource::Webhook);
    let last = view.cached.as_ref().filter(|_| awaited.is_none());
    let (tags, cached) = match (registry.tags(&app.image, last).await, &view.tag) {
        (Err(error), _) => return Err(Unpicked::Unknown(chain(&error))),
        (Ok(TagList::Unchanged), Some(tag)) => return Ok(Picked { tag: tag.clone(), cached: view.cached.clone() }),
        (Ok(TagList::Unchanged), None) => {
            return Err(Unpicked::Unknown(
                "the registry says that a list has not changed that it was not asked about".into(),
            ));
        }
        (Ok(TagList::Listed { tags, cached }), _) => (tags, cached),
    };
    view.arrived = awaited.is_none_or(|tag| tags.contains(&tag));
    let policy = Policy::new(policy).map_err(Unpicked::Unknown)?;
    match policy.pick(&tags, view.tag.as_ref()) {
        Some(tag) => Ok(Picked { tag: tag.clone(), cached }),
        None => {
            let choice = policy.choose(&tags, view.tag.as_ref());
            Err(Unpicked::Unmatched(policy.unmatched(&choice, &app.image, view.tag.as_ref())))
        }
    }
}

/// What was picked is followed from now on.
pub(super) fn keep(view: &mut TagView, app: &App, store: &dyn Store, bus: &Bus, picked: Picked) {
    let Follow::Policy(policy) = &app.follow else { return };
    let Picked { tag, cached } = picked;
    let another = view.tag.as_ref() != Some(&tag);
    if another {
        let kind = EventKind::TagChosen { from: view.tag.take(), to: tag.clone() };
        bus.publish(Utc::now(), &app.name, kind);
    }
    if another || view.cached != cached {
        let chosen =
            Chosen { repository: app.image.clone(), policy: policy.clone(), tag: tag.clone(), cached: cached.clone() };
        let bytes = serde_json::to_vec(&chosen).expect("a choice can be written as JSON");
        if let Err(error) = store.put_note(&note_key(app), &bytes) {
            tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        }
    }
    (view.tag, view.cached) = (Some(tag), cached);
}

/// All tags of an app's repository, and what the policy makes of them.
pub(super) async fn report(
    registry: &dyn Registry,
    app: &App,
    current: Option<&Tag>,
) -> Result<TagReport, RequestError> {
    let unresolved = |message: String| RequestError::Unresolved { message };
    let policy = match &app.follow {
        Follow::Tag(tag) => Policy::only(tag),
        Follow::Policy(policy) => Policy::new(policy).map_err(unresolved)?,
        Follow::Pinned(digest) => {
            return Ok(TagReport {
                app: app.name.clone(),
                repository: app.image.to_string(),
                follows: app.follow.to_string(),
                winner: None,
                message: Some(format!("{} is what `image` names; no tag is followed", digest.short())),
                listed: 0,
                artifacts: 0,
                candidates: Vec::new(),
            });
        }
    };
    match registry.tags(&app.image, None).await {
        Ok(TagList::Listed { tags, .. }) => Ok(policy.report(&app.name, &app.image, &tags, current)),
        Ok(TagList::Unchanged) => Err(unresolved("the registry gave no list of tags".to_owned())),
        Err(error) => Err(unresolved(chain(&error))),
    }
}

#[cfg(test)]
mod tests;
