//! The tag that an app's policy picks: lists the tags, has `decide` choose, remembers what won.

use crate::engine::clock::Utc;
use serde::{Deserialize, Serialize};

use crate::decide::policy::Policy;
use crate::model::{
    App, CachedTags, Digest, EventKind, Follow, Repository, SeenSource, Tag, TagList, TagPolicy, TagReport,
};
use crate::ports::{Registry, Store};

use super::asked::RequestError;
use super::bus::Bus;
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
    served: Option<Tag>,
    cached: Option<CachedTags>,
}

fn note_key(app: &App) -> String {
    format!("choice/{}", app.name)
}

/// What is remembered of an earlier run. Under another policy, or of another repository, it says nothing.
fn remembered(app: &App, store: &dyn Store) -> Option<Chosen> {
    let Follow::Policy(policy) = &app.follow else { return None };
    let note = store.note(&note_key(app)).unwrap_or_else(|error| {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        None
    });
    let chosen = serde_json::from_slice::<Chosen>(&note?).ok()?;
    (chosen.policy == *policy && chosen.repository == app.image).then_some(chosen)
}

/// Begins where the earlier run ended.
pub(super) fn recall(app: &App, store: &dyn Store) -> TagView {
    match remembered(app, store) {
        Some(Chosen { tag, served, cached, .. }) => TagView { tag: Some(tag), served, cached, ..TagView::default() },
        None => TagView::default(),
    }
}

fn remember(view: &TagView, app: &App, store: &dyn Store) {
    let (Follow::Policy(policy), Some(tag)) = (&app.follow, &view.tag) else { return };
    let (repository, policy, tag) = (app.image.clone(), policy.clone(), tag.clone());
    let chosen = Chosen { repository, policy, tag, served: view.served.clone(), cached: view.cached.clone() };
    let bytes = serde_json::to_vec(&chosen).expect("a choice can be written as JSON");
    if let Err(error) = store.put_note(&note_key(app), &bytes) {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
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
    match policy.pick(&tags, view.served.as_ref()) {
        Some(tag) => Ok(Picked { tag: tag.clone(), cached }),
        None => {
            let choice = policy.choose(&tags, view.served.as_ref());
            Err(Unpicked::Unmatched(policy.unmatched(&choice, &app.image, view.served.as_ref())))
        }
    }
}

/// What was picked is followed from now on.
pub(super) fn keep(view: &mut TagView, app: &App, store: &dyn Store, bus: &Bus, picked: Picked) {
    if !matches!(app.follow, Follow::Policy(_)) {
        return;
    }
    let Picked { tag, cached } = picked;
    let another = view.tag.as_ref() != Some(&tag);
    if another {
        let kind = EventKind::TagChosen { from: view.tag.take(), to: tag.clone() };
        bus.publish(Utc::now(), &app.name, kind);
    }
    let news = another || view.cached != cached;
    (view.tag, view.cached) = (Some(tag), cached);
    if news {
        remember(view, app, store);
    }
}

/// What is followed serves, if this is what serves: from now on nothing below it is followed. A version that never came
/// to serve binds nobody: when its tag is removed, the one that serves is the best again.
pub(super) fn served(view: &mut TagView, app: &App, store: &dyn Store, serving: Option<&Digest>) {
    let serves = serving.is_some() && serving == view.digest.as_ref() && view.unmatched.is_none();
    if serves && view.served != view.tag && matches!(app.follow, Follow::Policy(_)) {
        view.served.clone_from(&view.tag);
        remember(view, app, store);
    }
}

/// All tags of an app's repository, and what the policy makes of them.
pub(super) async fn report(registry: &dyn Registry, store: &dyn Store, app: &App) -> Result<TagReport, RequestError> {
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
    let served = remembered(app, store).and_then(|chosen| chosen.served);
    match registry.tags(&app.image, None).await {
        Ok(TagList::Listed { tags, .. }) => Ok(policy.report(&app.name, &app.image, &tags, served.as_ref())),
        Ok(TagList::Unchanged) => Err(unresolved("the registry gave no list of tags".to_owned())),
        Err(error) => Err(unresolved(chain(&error))),
    }
}

#[cfg(test)]
mod tests;
