//! Is what the tag points to another image for this host, or only another index around the same one?
//!
//! A build of an unchanged image gives another index digest, because its attestations carry times. What runs is the index's
//! manifest for this host. Both digests are kept: the index is what is deployed and what signatures are on, the
//! manifest tells whether there is anything to deploy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::platform::pick;
use crate::model::{App, Digest, Platform, Quarantine, RedeployOn, Repository};
use crate::ports::{RegistryError, Store};

use super::Ports;
use super::observer::chain;

/// Digests of an app whose manifest is remembered: what serves, what served, what failed.
const KEPT: usize = 32;

/// What a tag's digest means for this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// What it says.
    Itself,
    /// The same image as this one, which is here already.
    SameAs(Digest),
    /// Nothing that runs here.
    NotReady(String),
    /// It could not be found out; worth another try after so long, if that is known.
    Unknown(String, Option<Duration>),
}

/// What is remembered over a restart. It may be lost: then it is asked for again.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    repository: Repository,
    host: Platform,
    /// Index → manifest for the host, the oldest first; `None`: it has none.
    manifests: Vec<(Digest, Option<Digest>)>,
}

impl Known {
    fn of(&self, digest: &Digest) -> Option<Option<Digest>> {
        self.manifests.iter().find(|(index, _)| index == digest).map(|(_, manifest)| manifest.clone())
    }
}

fn note_key(app: &App) -> String {
    format!("platforms/{}", app.name)
}

/// What the digest that the tag points to means, when this serves, these are the app's other containers, and these have failed.
pub(super) async fn meaning(
    app: &App,
    ports: &Ports,
    tag: &Digest,
    serving: Option<&Digest>,
    others: &[&Digest],
    quarantine: &[Quarantine],
) -> Meaning {
    let judged = others.contains(&tag) || quarantine.iter().any(|failed| failed.digest == *tag);
    if serving == Some(tag) || judged {
        return Meaning::Itself;
    }
    // A pull says as well what is wrong with a platform; an engine that does not answer is seen without us.
    let Ok(info) = ports.engine.info().await else { return Meaning::Itself };
    let mut known = recall(app, &*ports.store, &info.platform);
    let manifest = match manifest(app, ports, &mut known, tag).await {
        Ok(Ok(manifest)) => manifest,
        Ok(Err(words)) => return Meaning::NotReady(words),
        Err(error) => return Meaning::Unknown(chain(&error), error.retry_after),
    };
    if app.redeploy_on == RedeployOn::Index {
        return Meaning::Itself;
    }
    if let Some(serving) = serving
        // What can't be asked for any more is as good as another image.
        && manifest_of(app, ports, &mut known, serving).await.as_ref() == Some(&manifest)
    {
        return Meaning::SameAs(serving.clone());
    }
    let rest = others.iter().copied().chain(quarantine.iter().map(|failed| &failed.digest));
    let same = rest.into_iter().find(|digest| known.of(digest).flatten().as_ref() == Some(&manifest));
    same.map_or(Meaning::Itself, |digest| Meaning::SameAs(digest.clone()))
}

/// The two are the same image for this host, as far as can be told.
pub(super) async fn same_image(app: &App, ports: &Ports, one: &Digest, other: &Digest) -> bool {
    if one == other {
        return true;
    }
    let Ok(info) = ports.engine.info().await else { return false };
    let mut known = recall(app, &*ports.store, &info.platform);
    let one = manifest_of(app, ports, &mut known, one).await;
    one.is_some() && one == manifest_of(app, ports, &mut known, other).await
}

async fn manifest_of(app: &App, ports: &Ports, known: &mut Known, digest: &Digest) -> Option<Digest> {
    manifest(app, ports, known, digest).await.ok()?.ok()
}

/// The manifest for this host; the inner error says that there is none.
async fn manifest(
    app: &App,
    ports: &Ports,
    known: &mut Known,
    digest: &Digest,
) -> Result<Result<Digest, String>, RegistryError> {
    if let Some(Some(manifest)) = known.of(digest) {
        return Ok(Ok(manifest));
    }
    let details = ports.registry.manifest(&app.image, digest).await?;
    let manifest = pick(&details.platforms, &known.host).cloned();
    if known.of(digest).is_none() {
        known.manifests.push((digest.clone(), manifest.clone()));
        let surplus = known.manifests.len().saturating_sub(KEPT);
        known.manifests.drain(..surplus);
        remember(app, &*ports.store, known);
    }
    Ok(manifest.ok_or_else(|| {
        let there: Vec<String> = details.platforms.iter().filter_map(|(p, _)| Some(p.as_ref()?.to_string())).collect();
        let there = if there.is_empty() { "nothing that runs".to_owned() } else { there.join(", ") };
        let (digest, host) = (digest.short(), &known.host);
        format!("{digest} has {there} and nothing for {host}; it is looked at again, in case that comes later")
    }))
}

fn recall(app: &App, store: &dyn Store, host: &Platform) -> Known {
    let note = store.note(&note_key(app)).unwrap_or_else(|error| {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        None
    });
    let known = note.and_then(|bytes| serde_json::from_slice::<Known>(&bytes).ok());
    known.filter(|known| known.repository == app.image && known.host == *host).unwrap_or_else(|| Known {
        repository: app.image.clone(),
        host: host.clone(),
        manifests: Vec::new(),
    })
}

fn remember(app: &App, store: &dyn Store, known: &Known) {
    let bytes = serde_json::to_vec(known).expect("digests can be written as JSON");
    if let Err(error) = store.put_note(&note_key(app), &bytes) {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
    }
}

#[cfg(test)]
mod tests;
