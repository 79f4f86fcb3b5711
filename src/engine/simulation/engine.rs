//! The engine's and the registry's port on data. Each call that changes something is a place to die, before its effect
//! and after it.

mod registry;

use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rand::Rng;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::model::{
    AppName, Cached, CachedTags, Container, ContainerId, Credentials, Digest, ExecOutcome, ImageDetails, ImageRef,
    JobContainer, ManifestDetails, Platform, PullProgress, RegistryStatus, Repository, Resolved, ScanRule, ScanSubject,
    ScanVerdict, SignatureRule, SignatureVerdict, StoredImage, Tag, TagList, Version, label,
};
use crate::ports::{
    CreateContainer, Engine, EngineError, EngineErrorKind, EngineEvent, EngineInfo, Gatekeeper, Registry,
    RegistryError, RegistryErrorKind,
};

use super::world::{Crash, Made, Sim, World};

pub(super) const OWNER: &str = "tests";

/// How a call goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is not done.
    Refused,
    /// It is done, and its answer is lost.
    Unheard,
}

impl World {
    pub(super) fn dies_before(&mut self, name: &str) -> bool {
        if self.dead {
            return true;
        }
        self.steps += 1;
        self.trace.push(format!("{} {name}", crate::engine::clock::Utc::now().format("%H:%M:%S%.3f")));
        self.changed = Some(crate::engine::clock::Utc::now());
        self.dead = self.crash == Some(Crash::Before(self.steps));
        self.dead
    }

    pub(super) fn dies_after(&mut self) -> bool {
        self.dead = self.dead || self.crash == Some(Crash::After(self.steps));
        self.dead
    }

    /// Of a call to the engine, the proxy or the registry.
    fn flaw(&mut self, engine: bool) -> Option<Flaw> {
        if engine && self.away.is_some_and(|until| crate::engine::clock::Utc::now() < until) {
            return Some(Flaw::Refused);
        }
        let bad = self.flaws > 0.0 && self.random.random_bool(self.flaws);
        bad.then(|| if self.random.random_bool(0.5) { Flaw::Refused } else { Flaw::Unheard })
    }
}

pub(super) fn unreachable() -> EngineError {
    EngineError { kind: EngineErrorKind::Unreachable, message: "the engine is away".to_owned(), source: None }
}

fn error(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
    EngineError { kind, message: message.into(), source: None }
}

fn gone(id: &ContainerId) -> EngineError {
    error(EngineErrorKind::NotFound, format!("no such container {}", id.short()))
}

impl Sim {
    /// A call that changes something, and takes so many milliseconds.
    pub(super) async fn act<T, E>(
        &self,
        name: String,
        takes: u64,
        away: impl Fn() -> E,
        work: impl FnOnce(&mut World) -> Result<T, E>,
    ) -> Result<T, E> {
        let (died, flaw) = {
            let mut world = self.world();
            (world.dies_before(&name), world.flaw(name.starts_with("engine.")))
        };
        if died {
            return pending().await;
        }
        tokio::time::sleep(Duration::from_millis(takes)).await;
        if flaw == Some(Flaw::Refused) {
            return Err(away());
        }
        let (done, died) = {
            let mut world = self.world();
            if world.dead {
                (None, true)
            } else {
                world.tick();
                let done = work(&mut world);
                world.tick();
                (Some(done), world.dies_after())
            }
        };
        match done {
            Some(_) if flaw == Some(Flaw::Unheard) && !died => Err(away()),
            Some(done) if !died => done,
            _ => pending().await,
        }
    }

    /// A call that looks.
    pub(super) async fn look<T, E>(
        &self,
        engine: bool,
        away: impl Fn() -> E,
        work: impl FnOnce(&mut World) -> Result<T, E>,
    ) -> Result<T, E> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let seen = {
            let mut world = self.world();
            if world.dead {
                None
            } else {
                world.tick();
                if world.flaw(engine).is_some() { Some(Err(away())) } else { Some(work(&mut world)) }
            }
        };
        match seen {
            Some(seen) => seen,
            None => pending().await,
        }
    }
}

fn ours(made: &Made) -> bool {
    made.label(label::OWNER).map_or(made.label(label::ENABLE) == Some("true"), |owner| owner == OWNER)
}

#[async_trait]
impl Engine for Sim {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        self.look(true, unreachable, |_| {
            Ok(EngineInfo { version: "1".into(), api_version: (1, 41), platform, about: Value::Null })
        })
        .await
    }

    async fn accepts(&self) -> Result<(), EngineError> {
        self.look(true, unreachable, |_| Ok(())).await
    }

    async fn containers(&self, app: Option<&AppName>) -> Result<Vec<Container>, EngineError> {
        let app = app.cloned();
        self.look(true, unreachable, |world| {
            let wanted = |made: &&Made| {
                made.label(label::OWNER) == Some(OWNER)
                    && made.label(label::JOB).is_none()
                    && app.as_ref().is_none_or(|app| made.label(label::APP) == Some(app.as_str()))
            };
            Ok(world.containers.iter().filter(wanted).map(|made| world.container(made)).collect())
        })
        .await
    }

    async fn family(&self, name: &str) -> Result<Vec<Container>, EngineError> {
        self.look(true, unreachable, |world| {
            let wanted = |made: &&Made| crate::decide::by_name::serving_name(&made.name) == name && ours(made);
            let wanted = |made: &&Made| wanted(made) && made.label(label::JOB).is_none();
            Ok(world.containers.iter().filter(wanted).map(|made| world.container(made)).collect())
        })
        .await
    }

    async fn adoptable(&self, every: bool) -> Result<Vec<Value>, EngineError> {
        self.look(true, unreachable, |world| {
            let wanted =
                |made: &&Made| (every || made.label(label::ENABLE).is_some()) && made.label(label::JOB).is_none();
            Ok(world.containers.iter().filter(wanted).map(|made| world.document(made)).collect())
        })
        .await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<(Container, Value), EngineError> {
        self.look(true, unreachable, |world| {
            let made = world.find(id).ok_or_else(|| gone(id))?;
            made.inspected = true;
            let made = made.clone();
            Ok((world.container(&made), world.document(&made)))
        })
        .await
    }

    async fn document(&self, reference: &str) -> Result<Option<Value>, EngineError> {
        self.look(true, unreachable, |world| {
            let is = |made: &&Made| made.id.0 == reference || made.name == reference;
            Ok(world.containers.iter().find(is).map(|made| world.document(made)))
        })
        .await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageDetails>, EngineError> {
        self.look(true, unreachable, |world| Ok(world.present(reference).map(super::world::Image::details))).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        _: Option<&Credentials>,
        _: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<ImageDetails, EngineError> {
        self.act("engine.pull".into(), 300, unreachable, |world| {
            let Version::Digest(digest) = &image.version else { return Err(error(EngineErrorKind::Pull, "by tag")) };
            if world.registry_down {
                return Err(error(EngineErrorKind::Pull, "the registry is down"));
            }
            world.pull(digest);
            Ok(world.image(digest).details())
        })
        .await
    }

    async fn tag(&self, image_id: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        self.act(format!("engine.tag {repository}:{tag}"), 2, unreachable, |world| {
            match world.name_image(image_id, &format!("{repository}:{tag}")) {
                true => Ok(()),
                false => Err(error(EngineErrorKind::NotFound, format!("no such image {image_id}"))),
            }
        })
        .await
    }

    async fn tagged(&self, repository: &str) -> Result<Vec<(String, ImageDetails)>, EngineError> {
        let prefix = format!("{repository}:");
        self.look(true, unreachable, |world| {
            let of = |image: &super::world::Image| -> Vec<(String, ImageDetails)> {
                let tags = image.names.iter().filter_map(|name| name.strip_prefix(&prefix));
                tags.map(|tag| (tag.to_owned(), image.details())).collect()
            };
            Ok(world.images.iter().flat_map(of).collect())
        })
        .await
    }

    async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        self.look(true, unreachable, |world| {
            let of = |image: &super::world::Image| {
                let (digests, tags) = image.names.iter().cloned().partition(|name| name.contains('@'));
                StoredImage { id: image.details().id, tags, digests, size: 0 }
            };
            Ok(world.images.iter().map(of).collect())
        })
        .await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.act("engine.remove_image".into(), 5, unreachable, |world| {
            let used: Vec<Digest> = world.containers.iter().map(|made| made.image.clone()).collect();
            for image in &mut world.images {
                let last = image.names.len() == 1 && image.names.iter().any(|name| name == reference);
                if last && used.contains(&image.digest) {
                    return Err(error(EngineErrorKind::Conflict, "a container uses it"));
                }
                image.names.retain(|name| name != reference);
            }
            Ok(())
        })
        .await
    }

    async fn create(&self, container: &CreateContainer) -> Result<ContainerId, EngineError> {
        self.act(format!("engine.create {}", container.name), 20, unreachable, |world| {
            if let Some(there) = world.named(&container.name) {
                let swap = container.body["Labels"][label::SWAP].as_str();
                let same = swap.is_some() && there.label(label::SWAP) == swap;
                return if same {
                    Ok(there.id.clone())
                } else {
                    Err(error(EngineErrorKind::Conflict, format!("the name {} is taken", container.name)))
                };
            }
            let image = container.body["Image"].as_str().unwrap_or_default();
            let digest = world.present(image).map(|image| image.digest.clone());
            let digest = digest.ok_or_else(|| error(EngineErrorKind::NotFound, format!("no such image {image}")))?;
            Ok(world.make(&container.name, container.body.clone(), &digest))
        })
        .await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.act(format!("engine.start {}", self.name_of(id)), 30, unreachable, |world| {
            world.may_start(id);
            world.may_have_an_address(id);
            world.find(id).ok_or_else(|| gone(id))?;
            world.start(id).map_err(|why| error(EngineErrorKind::Refused, why))
        })
        .await
    }

    async fn stop(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.act(format!("engine.stop {}", self.name_of(id)), 200, unreachable, |world| {
            world.may_stop(id);
            world.halt(id);
            Ok(())
        })
        .await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.act(format!("engine.remove {}", self.name_of(id)), 20, unreachable, |world| {
            world.may_stop(id);
            world.may_remove(id);
            world.tell(id, "destroy");
            world.containers.retain(|made| made.id != *id);
            Ok(())
        })
        .await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<(), EngineError> {
        self.act(format!("engine.rename {} {name}", self.name_of(id)), 5, unreachable, |world| {
            world.find(id).ok_or_else(|| gone(id))?;
            if let Some(there) = world.named(name) {
                let kind = if there.id == *id { EngineErrorKind::Refused } else { EngineErrorKind::Conflict };
                return Err(error(kind, format!("the name {name} is taken")));
            }
            if let Some(made) = world.find(id) {
                name.clone_into(&mut made.name);
            }
            Ok(())
        })
        .await
    }

    async fn set_restart_policy(&self, id: &ContainerId, policy: &Value) -> Result<(), EngineError> {
        self.act(
            format!("engine.set_restart_policy {} {}", self.name_of(id), policy["Name"]),
            5,
            unreachable,
            |world| {
                let made = world.find(id).ok_or_else(|| gone(id))?;
                made.policy = policy.clone();
                if made.policy["MaximumRetryCount"].is_null() {
                    made.policy["MaximumRetryCount"] = serde_json::json!(0);
                }
                Ok(())
            },
        )
        .await
    }

    async fn logs(&self, _: &ContainerId, _: usize) -> Result<Vec<String>, EngineError> {
        self.look(true, unreachable, |_| Ok(Vec::new())).await
    }

    async fn jobs(&self, app: &AppName) -> Result<Vec<JobContainer>, EngineError> {
        let app = app.clone();
        self.look(true, unreachable, |world| {
            let wanted =
                |made: &&Made| made.label(label::JOB).is_some() && made.label(label::APP) == Some(app.as_str());
            let documents = world.containers.iter().filter(wanted).map(|made| world.document(made));
            Ok(documents.map(|made| crate::docker::understood_job(&made).expect("ours can be understood")).collect())
        })
        .await
    }

    async fn output(&self, _: &ContainerId) -> Result<BoxStream<'static, String>, EngineError> {
        Ok(futures_util::stream::pending().boxed())
    }

    async fn exec(&self, id: &ContainerId, _: &[String], _: Duration) -> Result<ExecOutcome, EngineError> {
        self.act(format!("engine.exec {}", self.name_of(id)), 50, unreachable, |world| {
            let made = world.find(id).ok_or_else(|| gone(id))?;
            if made.runs() {
                Ok(ExecOutcome { exit_code: Some(0), output: Vec::new() })
            } else {
                Err(error(EngineErrorKind::Conflict, "it does not run"))
            }
        })
        .await
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        let events = self
            .look(true, unreachable, |world| {
                let (sender, receiver) = mpsc::unbounded_channel();
                world.listeners.push(sender);
                Ok(receiver)
            })
            .await?;
        let next =
            |mut events: mpsc::UnboundedReceiver<EngineEvent>| async move { events.recv().await.map(|e| (e, events)) };
        Ok(futures_util::stream::unfold(events, next).boxed())
    }
}

impl Sim {
    fn name_of(&self, id: &ContainerId) -> String {
        self.world().find(id).map_or_else(|| "(gone)".to_owned(), |made| made.name.clone())
    }
}
