//! Removes what is of no more use, when a person asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use crate::decide::prune::{Shelf, Watched, leftovers};
use crate::model::{
    App, AppName, AppState, AppStatus, DeploymentResult, Digest, Leftover, LeftoverKind, Pruned, Remains,
};
use crate::ports::{Engine, EngineError, Store, StoreError};

use super::asked::RequestError;
use super::executor::SHELF;
use super::observer::chain;

/// Entries of an app's history that are looked through; it holds fewer.
const HISTORY: usize = 10_000;

/// What can remove what is of no more use. Behind it is the engine, except in tests of the API.
#[async_trait]
pub(crate) trait Janitor: Send + Sync + 'static {
    /// Finds what nobody needs besides the watched apps, and removes it unless that is only to be said.
    async fn prune(&self, watched: Vec<(Arc<App>, AppStatus)>, dry_run: bool) -> Result<Pruned, RequestError>;
}

/// The real one.
pub(super) struct Broom {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) store: Arc<dyn Store>,
}

#[async_trait]
impl Janitor for Broom {
    async fn prune(&self, watched: Vec<(Arc<App>, AppStatus)>, dry_run: bool) -> Result<Pruned, RequestError> {
        let (containers, images) = (self.engine.containers(None).await?, self.engine.images().await?);
        let mut apps = BTreeMap::new();
        for (app, status) in &watched {
            apps.insert(app.name.clone(), self.watched(app, status)?);
        }
        let names = images.iter().flat_map(|image| &image.tags);
        let shelved = names.filter_map(|name| name.strip_prefix(SHELF)?.rsplit_once(':')?.0.parse().ok());
        let of_containers = containers.iter().map(|container| container.owned.app.clone());
        let known: BTreeSet<AppName> = apps.keys().cloned().chain(shelved).chain(of_containers).collect();
        let (mut brought, mut deployed) = (BTreeSet::new(), BTreeSet::new());
        for app in known {
            let digests = self.brought(&app)?;
            if !digests.is_empty() {
                brought.extend(digests);
                deployed.insert(app);
            }
        }
        let found = leftovers(&Shelf {
            apps: &apps,
            containers: &containers,
            images: &images,
            brought: &brought,
            deployed: &deployed,
            shelf: SHELF,
        });
        if dry_run {
            return Ok(Pruned { dry_run, removed: found, remains: Vec::new() });
        }
        Ok(self.remove(found).await)
    }
}

impl Broom {
    /// What an app still needs, by its status and by what is remembered.
    fn watched(&self, app: &App, status: &AppStatus) -> Result<Watched, StoreError> {
        let history = self.store.deployments(&app.name, HISTORY)?;
        let open = history.iter().any(|deployment| deployment.result == DeploymentResult::Running);
        let quarantined: BTreeSet<Digest> =
            self.store.quarantine(&app.name)?.into_iter().map(|entry| entry.digest).collect();
        let serves = status.deployed.as_ref().map(|deployed| deployed.digest.clone());
        let pin = self.store.pin(&app.name)?.map(|pin| pin.digest);
        let approved = status.approval.as_ref().map(|approval| &approval.digest);
        let next = [status.newest.as_ref(), status.waiting(), approved].into_iter().flatten();
        // What is tried again only when a person says so is pulled again then.
        let next = next.filter(|digest| !quarantined.contains(*digest)).cloned();
        Ok(Watched {
            keep: app.keep,
            needed: next.chain(serves).chain(pin).collect(),
            quarantined,
            busy: open || status.deploying.is_some() || status.state == AppState::Starting,
        })
    }

    /// Every digest that the history of an app names.
    fn brought(&self, app: &AppName) -> Result<Vec<Digest>, StoreError> {
        let history = self.store.deployments(app, HISTORY)?;
        Ok(history
            .into_iter()
            .flat_map(|deployment| [Some(deployment.digest), deployment.previous])
            .flatten()
            .collect())
    }

    async fn remove(&self, found: Vec<Leftover>) -> Pruned {
        let mut pruned = Pruned::default();
        for leftover in found {
            let removed = match leftover.kind {
                LeftoverKind::Container => self.remove_container(&leftover.reference).await,
                LeftoverKind::Image => self.engine.remove_image(&leftover.reference).await.map_err(Problem::Engine),
            };
            match removed {
                Ok(()) => {
                    tracing::info!(
                        kind = leftover.kind.label(),
                        name = leftover.reference,
                        why = leftover.why,
                        "pruned"
                    );
                    pruned.removed.push(leftover);
                }
                Err(problem) => pruned.remains.push(Remains { leftover, problem: problem.to_string() }),
            }
        }
        pruned
    }

    /// A person may have started it since we looked.
    async fn remove_container(&self, name: &str) -> Result<(), Problem> {
        let Some(document) = self.engine.document(name).await? else { return Ok(()) };
        if document.pointer("/State/Running").and_then(serde_json::Value::as_bool) != Some(false) {
            return Err(Problem::Runs);
        }
        let id = document["Id"].as_str().unwrap_or_default().to_owned();
        Ok(self.engine.remove(&crate::model::ContainerId(id)).await?)
    }
}

/// Why something was not removed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it has been started meanwhile")]
    Runs,
    #[error("{}", chain(.0))]
    Engine(#[from] EngineError),
}
