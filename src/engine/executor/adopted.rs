//! What is different where the container was made by a person: the next one is derived from it, and names say what
//! serves.

use crate::engine::clock::Utc;
use serde_json::{Value, json};

use crate::decide::by_name::{next_name, previous_name};
use crate::decide::container::sign;
use crate::decide::derive::{DaemonDefaults, Notice, Options, Sources, derive};
use crate::decide::reconcile::Parked;
use crate::model::{
    Container, ContainerId, EventKind, FailureReason, ImageDetails, ImageRef, Origin, Owned, Strategy, Tag, Version,
    label,
};
use crate::ports::{CreateContainer, EngineError, EngineErrorKind, EngineInfo, TrafficError};

use super::candidate::local_repository;
use super::{Halt, Stepped, Swap, chain};
use crate::engine::parking;

/// The label in which a person names fields that stay although they equal the image's default.
const KEEP_CONFIG: &str = "tagboat.keep_config";

impl Swap<'_> {
    /// The container that takes the place of the one that serves, about to be created.
    pub(super) async fn announced_successor(&self, name: &str, info: &EngineInfo) -> Result<CreateContainer, Halt> {
        let (successor, notices) = self.successor(name, info).await?;
        for notice in notices.into_iter().filter(bites) {
            self.executor.publish(EventKind::Noticed { swap: self.plan.swap.clone(), message: notice.to_string() });
        }
        self.name_image(&self.pulled().await?.id, self.plan.tag.as_ref()).await?;
        Ok(successor)
    }

    /// The container that takes the place of the one that serves, and what a person should know of it.
    pub(super) async fn successor(
        &self,
        name: &str,
        info: &EngineInfo,
    ) -> Result<(CreateContainer, Vec<Notice>), Halt> {
        let engine = &self.executor.ports.engine;
        let serving = self.plan.serving.first();
        let serving = serving.ok_or_else(|| failed("there is no container to derive the next one from"))?;
        let (old, inspected) = engine.inspect(serving).await?;
        let (old_image, new_image) = (engine.image(&old.image_id).await?, self.pulled().await?);
        let keep = inspected["Config"]["Labels"][KEEP_CONFIG].as_str().unwrap_or_default();
        let keep = keep.parse().map_err(|error: String| failed(format!("label {KEEP_CONFIG}: {error}")))?;
        let followed = followed(&inspected).to_owned();
        let image = match self.made().await? {
            // Once made, it has the name that it was made with.
            Some((_, made)) => made["Config"]["Image"].as_str().unwrap_or_default().to_owned(),
            None => self.written(&followed),
        };
        let daemon = DaemonDefaults::from_info(&info.about);
        let options = Options { keep, image: Some(image), daemon, peers: self.peers(&inspected).await? };
        let sources = Sources {
            container: &inspected,
            old_image: old_image.as_ref().map(|image| &image.raw),
            new_image: &new_image.raw,
            api: info.api_version,
            options: &options,
        };
        let derived = derive(&sources).map_err(|error| failed(chain(&error)))?;
        let mut body = derived.body;
        let policy = inspected["HostConfig"]["RestartPolicy"].clone();
        body["HostConfig"]["RestartPolicy"] = json!({"Name": "no", "MaximumRetryCount": 0});
        let owned = Owned {
            app: self.executor.app.name.clone(),
            generation: self.plan.generation,
            swap: self.plan.swap.clone(),
            replaces: Some(serving.clone()),
            digest: self.plan.digest.clone(),
            spec: self.executor.spec.to_owned(),
            // Of one that is parked already, the policy is what the candidate was told before.
            restart: self.told().await?.or_else(|| Some(policy.to_string())),
            watched: self.plan.watched,
            replica: None,
        };
        if let Some(body) = body.as_object_mut() {
            sign(body, &owned, &self.executor.settings.owner);
        }
        body["Labels"][label::IMAGE] = json!(followed);
        let name = next_name(name, self.plan.generation);
        Ok((CreateContainer { name, body, networks: derived.networks }, derived.notices))
    }

    /// The restart policy in the labels of a candidate that is there already.
    async fn told(&self) -> Result<Option<String>, Halt> {
        Ok(self.made().await?.and_then(|(candidate, _)| candidate.owned.restart))
    }

    /// The candidate, if it is there already.
    async fn made(&self) -> Result<Option<(Container, Value)>, Halt> {
        match self.candidates.first() {
            Some(id) => Ok(Some(self.executor.ports.engine.inspect(id).await?)),
            None => Ok(None),
        }
    }

    async fn pulled(&self) -> Result<ImageDetails, Halt> {
        let image = ImageRef::by_digest(&self.executor.app.image, &self.plan.digest).to_string();
        let missing = || Halt::Failed(FailureReason::Pull, format!("the engine does not have {image} any more"));
        self.executor.ports.engine.image(&image).await?.ok_or_else(missing)
    }

    /// The image as the next container names it: as the person did, as long as that is the tag that is wanted.
    fn written(&self, followed: &str) -> String {
        let app = self.executor.app;
        let Some(tag) = &self.plan.tag else {
            return ImageRef::by_digest(&app.image, &self.plan.digest).to_string();
        };
        let wanted = ImageRef::by_tag(&app.image, tag);
        if followed.parse::<ImageRef>().is_ok_and(|image| image == wanted) {
            followed.to_owned()
        } else {
            wanted.to_string()
        }
    }

    /// Gives the tag to this image on this host, as a pull by that tag would.
    async fn name_image(&self, image_id: &str, tag: Option<&Tag>) -> Result<(), Halt> {
        let Some(tag) = tag else { return Ok(()) };
        let repository = self.executor.app.image.to_string();
        Ok(self.executor.ports.engine.tag(image_id, &repository, tag.as_str()).await?)
    }

    /// Has the tag that a container names point to its image again.
    async fn name_image_of(&self, container: &ContainerId) -> Result<(), Halt> {
        let (container, inspected) = self.executor.ports.engine.inspect(container).await?;
        let named = inspected["Config"]["Image"].as_str().and_then(|image| image.parse::<ImageRef>().ok());
        match named {
            Some(ImageRef { repository, version: Version::Tag(tag) }) if repository == self.executor.app.image => {
                self.name_image(&container.image_id, Some(&tag)).await
            }
            _ => Ok(()),
        }
    }

    /// Between the tagging and the create call somebody else may have moved the tag on this host.
    pub(super) async fn is_the_pulled_image(&self, candidate: &Container) -> Result<(), Halt> {
        let pulled = self.pulled().await?;
        if candidate.image_id == pulled.id {
            return Ok(());
        }
        let message = format!("it was made from image {} instead of {}", candidate.image_id, pulled.id);
        Err(Halt::Failed(FailureReason::Differs, message))
    }

    /// Stops what serves, to make room; it is kept, and does not come back by itself meanwhile.
    pub(super) async fn park(&mut self, container: &ContainerId) -> Stepped {
        self.keep_image(container).await;
        let (old, inspected) = self.executor.ports.engine.inspect(container).await?;
        // One that an earlier run has parked already has been away since then, and has lost its policy.
        let already = if old.is_running() { None } else { old.finished };
        let hooked = self.pre_stop(&old).await?;
        self.parked = Some(already.unwrap_or_else(Utc::now));
        let (app, store) = (self.executor.app, &*self.executor.ports.store);
        if already.is_none() || old.restart_policy != "no" {
            let told = self.told().await?;
            let restart = told.unwrap_or_else(|| inspected["HostConfig"]["RestartPolicy"].to_string());
            self.policy = Some(restart.clone());
            parking::remember(app, store, Some(&Parked { container: container.clone(), restart }));
        }
        self.stop_one(container).await?;
        Ok(hooked)
    }

    /// A local tag keeps the old image for a rollback; without it a rollback has to pull.
    async fn keep_image(&self, container: &ContainerId) {
        let (app, ports) = (self.executor.app, &self.executor.ports);
        let tagged = async {
            let (old, _) = ports.engine.inspect(container).await?;
            let tag = format!("gen-{}", old.owned.generation);
            ports.engine.tag(&old.image_id, &local_repository(app), &tag).await?;
            // With images in containerd an image that was pulled by its tag loses its digest's name with the tag.
            let name = ImageRef::by_digest(&app.image, &old.owned.digest);
            if ports.engine.image(&name.to_string()).await?.is_none()
                && let Ok(auth) = ports.registry.pull_auth(&app.image).await
            {
                ports.engine.pull(&name, auth.as_ref(), &|_| ()).await?;
            }
            Ok::<_, EngineError>(())
        };
        if let Err(error) = tagged.await {
            tracing::warn!(app = app.name.as_str(), "the image could not be named to be kept: {}", chain(&error));
        }
    }

    /// The commit point: the candidate takes the name.
    pub(super) async fn take(&mut self, old: Option<&ContainerId>) -> Stepped {
        let Origin::Adopted { container: name } = &self.executor.app.origin else {
            return Err(failed("a declared app has no name to take over"));
        };
        let engine = &self.executor.ports.engine;
        if let Some(old) = old {
            match engine.rename(old, &previous_name(name, self.plan.generation)).await {
                // One that was started with `--rm` went when it was stopped.
                Err(error) if error.kind == EngineErrorKind::NotFound => {}
                other => other?,
            }
        }
        engine.rename(self.candidate()?, name).await?;
        Ok(format!("it is called {name} now"))
    }

    /// Starts a parked container again, as it was.
    pub(super) async fn restore(&mut self, container: &ContainerId, restart: Option<&str>) -> Stepped {
        let engine = &self.executor.ports.engine;
        engine.start(container).await?;
        if let Some(policy) = parked_policy(restart) {
            engine.set_restart_policy(container, &policy).await?;
        }
        self.rejoin(container).await?;
        self.name_image_of(container).await?;
        parking::remember(self.executor.app, &*self.executor.ports.store, None);
        Ok(String::new())
    }

    /// After a failure: the candidate goes, what it was to replace comes back. The candidate loses its name last: as
    /// long as it has it, the next start knows that this is not finished. Returns whether the old one is back after
    /// it was away.
    pub(super) async fn put_back(&mut self) -> bool {
        let returned = self.back_in_place().await;
        if let Err(Halt::Failed(_, message) | Halt::Away(message)) = &returned {
            let app = self.executor.app.name.as_str();
            tracing::error!(app, "the old version could not be put back yet, and is tried again: {message}");
        }
        returned.is_ok() && self.parked.is_some()
    }

    async fn back_in_place(&mut self) -> Result<(), Halt> {
        let restart = match self.told().await {
            Err(Halt::Failed(FailureReason::CandidateGone, _)) => None,
            told => told?,
        };
        let restart = restart.or_else(|| self.policy.clone());
        let Some(candidate) = self.candidates.first().cloned() else { return Ok(()) };
        // Those that can run side by side take over from each other without a gap.
        let overlaps = self.plan.strategy == Strategy::Overlap;
        if !overlaps {
            self.stop_one(&candidate).await?;
        }
        if let Some(old) = self.plan.serving.first().cloned() {
            self.old_in_place(&old, restart.as_deref()).await?;
            self.aim_back(&old).await?;
        }
        if overlaps {
            if !self.executor.app.routes.is_empty() {
                self.drain_one(&candidate).await?;
            }
            self.stop_one(&candidate).await?;
        }
        let name = crate::decide::container::failed_name(self.executor.app, self.plan.generation);
        match self.executor.ports.engine.rename(&candidate, &name).await {
            Err(error) if error.kind == EngineErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        }
    }

    /// Has the proxy send the requests to what serves again, where it may have been started anew.
    async fn aim_back(&self, old: &ContainerId) -> Result<(), Halt> {
        let (app, traffic) = (self.executor.app, &self.executor.ports.traffic);
        if app.routes.is_empty() {
            return Ok(());
        }
        let unmoved = |error: TrafficError| Halt::Failed(FailureReason::Traffic, chain(&error));
        let to = self.target(&self.inspect(old).await?).map_err(|why| Halt::Failed(FailureReason::Engine, why))?;
        let mut table = traffic.table().await.map_err(unmoved)?;
        let entry = table.apps.remove(&app.name);
        match entry.as_ref().map(|entry| entry.active.as_slice()) {
            Some([only]) if *only == to => Ok(()),
            Some([only]) if only.container == to.container => {
                traffic.readdress(&app.name, old, to.addr).await.map_err(unmoved)
            }
            _ => self.move_traffic(entry.map_or(0, |entry| entry.revision), &[to]).await,
        }
    }

    /// It may have been parked by us or by an earlier run: what counts is that it does not run.
    async fn old_in_place(&mut self, old: &ContainerId, restart: Option<&str>) -> Result<(), Halt> {
        let runs = self.executor.ports.engine.inspect(old).await?.0.is_running();
        if runs && self.parked.is_none() {
            return self.name_image_of(old).await;
        }
        self.parked.get_or_insert_with(Utc::now);
        self.restore(old, restart).await.map(|_| ())
    }
}

/// Variables and labels change with every version; a person need not be told.
fn bites(notice: &Notice) -> bool {
    !matches!(notice, Notice::Follows { field, .. } if field.starts_with("Env.") || field.starts_with("Labels."))
}

/// The image that a container was made to follow.
pub(super) fn followed(inspected: &Value) -> &str {
    let config = &inspected["Config"];
    config["Labels"][label::IMAGE].as_str().or_else(|| config["Image"].as_str()).unwrap_or_default()
}

/// A restart policy as a label has it.
pub(super) fn parked_policy(label: Option<&str>) -> Option<Value> {
    label.and_then(|text| serde_json::from_str(text).ok()).filter(Value::is_object)
}

fn failed(message: impl Into<String>) -> Halt {
    Halt::Failed(FailureReason::Engine, message.into())
}
