//! Containers that live in another's namespaces: they go where it goes.
//!
//! The engine keeps such a reference by id. When the other one is replaced, they are made again from their own
//! inspect documents, on their own images. Each is `name.join-7` while it is made and `name.was-7` while it is to be
//! removed, so that a crash in between is seen and finished; `name` is only given to a container that is complete.

use serde_json::{Value, json};

use crate::decide::by_name::{is_following, join_name, serving_name, was_name};
use crate::decide::derive::{DaemonDefaults, Options, Peer, Sources, dependents, derive, namespace_joins};
use crate::model::{ContainerId, FailureReason, label};
use crate::ports::CreateContainer;

use super::adopted::followed;
use super::{Halt, Stepped, Swap, chain};

impl Swap<'_> {
    /// Recreates, in their order, what has the namespaces of a container that was replaced.
    pub(super) async fn follow(&mut self, replaced: &ContainerId) -> Stepped {
        let mut done = Vec::new();
        let documents = self.executor.ports.engine.adoptable(true).await?;
        let all: Vec<&Value> = documents.iter().collect();
        let order = dependents(&replaced.0, &all).map_err(|error| failed(chain(&error)))?;
        for id in order {
            let document = all.iter().find(|document| document["Id"].as_str() == Some(&id));
            let Some(document) = document else { continue };
            let name = bare(document);
            if is_following(&name) {
                continue;
            }
            self.make_again(document, &name).await?;
            done.push(name);
        }
        self.finish_half_done(&documents).await?;
        Ok(done.join(", "))
    }

    async fn make_again(&self, document: &Value, name: &str) -> Result<(), Halt> {
        let engine = &self.executor.ports.engine;
        let id = id_of(document);
        let (old, info) = (document, engine.info().await?);
        let image = engine.image(old["Image"].as_str().unwrap_or_default()).await?;
        let image =
            image.ok_or_else(|| failed(format!("the image of {name}, which shares its namespaces, is gone")))?;
        let daemon = DaemonDefaults::from_info(&info.about);
        // Its image by its id, should its tag have moved on: it is recreated, not updated.
        let options = Options { daemon, peers: self.peers(old).await?, ..Options::default() };
        let sources = Sources {
            container: old,
            old_image: Some(&image.raw),
            new_image: &image.raw,
            api: info.api_version,
            options: &options,
        };
        let derived = derive(&sources).map_err(|error| failed(chain(&error)))?;
        let (join, was) = (join_name(name, self.plan.generation), was_name(name, self.plan.generation));
        // Left behind by a run that was killed; it was never started.
        self.remove_named(&join).await?;
        let (mut body, networks) = (derived.body, derived.networks);
        remember_followed(old, &mut body);
        let made = engine.create(&CreateContainer { name: join, body, networks }).await?;
        let runs = matches!(old["State"]["Status"].as_str(), Some("running" | "restarting" | "paused"));
        engine.stop(&id).await?;
        engine.rename(&id, &was).await?;
        engine.rename(&made, name).await?;
        if runs {
            engine.start(&made).await?;
        }
        Ok(engine.remove(&id).await?)
    }

    /// What a run that was killed has begun: the old one has given up its name, the new one may not have it yet.
    async fn finish_half_done(&self, documents: &[Value]) -> Result<(), Halt> {
        let engine = &self.executor.ports.engine;
        for was in documents {
            let was_called = bare(was);
            let name = serving_name(&was_called);
            if was_called != was_name(name, self.plan.generation) {
                continue;
            }
            let find = |name: &str| documents.iter().find(|document| bare(document) == name);
            let made = match (find(name), find(&join_name(name, self.plan.generation))) {
                (Some(made), _) => id_of(made),
                (None, Some(join)) => {
                    engine.rename(&id_of(join), name).await?;
                    id_of(join)
                }
                (None, None) => {
                    engine.rename(&id_of(was), name).await?;
                    engine.start(&id_of(was)).await?;
                    continue;
                }
            };
            engine.start(&made).await?;
            engine.remove(&id_of(was)).await?;
        }
        Ok(())
    }

    async fn remove_named(&self, name: &str) -> Result<(), Halt> {
        let engine = &self.executor.ports.engine;
        let Some(found) = engine.document(name).await? else { return Ok(()) };
        Ok(engine.remove(&id_of(&found)).await?)
    }

    /// Has what runs in the namespaces of a container that was stopped and started again enter them anew.
    pub(super) async fn rejoin(&self, container: &ContainerId) -> Result<(), Halt> {
        let engine = &self.executor.ports.engine;
        let documents = engine.adoptable(true).await?;
        let all: Vec<&Value> = documents.iter().collect();
        for id in dependents(&container.0, &all).map_err(|error| failed(chain(&error)))? {
            let running = all.iter().any(|one| one["Id"] == id.as_str() && one["State"]["Status"] == "running");
            let id = ContainerId(id);
            if running && !self.candidates.contains(&id) {
                engine.stop(&id).await?;
                engine.start(&id).await?;
            }
        }
        Ok(())
    }

    /// The containers that one refers to. What was replaced is referred to by the name that its successor has.
    pub(super) async fn peers(&self, inspected: &Value) -> Result<Vec<Peer>, Halt> {
        let mut peers = Vec::new();
        for join in namespace_joins(inspected) {
            let Some(document) = self.executor.ports.engine.document(&join.container).await? else { continue };
            let mut peer = Peer::from_inspect(&document);
            peer.reference = serving_name(&peer.name).to_owned();
            peers.push(peer);
        }
        Ok(peers)
    }
}

/// One that is watched itself must not forget what it follows when its tag has moved on.
fn remember_followed(old: &Value, body: &mut Value) {
    let watched = old["Config"]["Labels"].get(label::ENABLE).is_some();
    if watched && old["Config"]["Image"] != body["Image"] {
        body["Labels"][label::IMAGE] = json!(followed(old));
    }
}

fn bare(document: &Value) -> String {
    document["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned()
}

fn id_of(document: &Value) -> ContainerId {
    ContainerId(document["Id"].as_str().unwrap_or_default().to_owned())
}

fn failed(message: impl Into<String>) -> Halt {
    Halt::Failed(FailureReason::Engine, message.into())
}
