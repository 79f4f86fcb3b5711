//! Where we run in a container that can't run beside its next one: the relief container that stops us and starts the next
//! one is made and started here, and removed when it is done.

use serde_json::Value;

use crate::decide::by_name::serving_name;
use crate::decide::reconcile::Parked;
use crate::decide::relief::{Errand, body, is_relief, is_sent_for, relief_name};
use crate::engine::clock::Utc;
use crate::engine::{Own, Ports, parking};
use crate::model::{App, ContainerId, FailureReason, Origin, Time};
use crate::ports::{CreateContainer, EngineErrorKind};

use super::adopted::parked_policy;
use super::{Halt, LOOK, Stepped, Swap, chain};

/// A relief that has ended by itself so often will not do what it is sent for.
const TRIES: u64 = 3;

/// A relief that is recalled ends within this time, or hangs.
const RECALLED: std::time::Duration = std::time::Duration::from_secs(20);

/// The next one's agent finishes by its own judgement within its deadline; this is for its start and the steps after that.
const ALLOWANCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Lines of its output that are kept.
const LINES: usize = 20;

impl Swap<'_> {
    /// In the place of the old one's stop: has the relief do it, which ends us. Returns only when that came to nothing.
    pub(super) async fn be_relieved(&mut self, own: &Own) -> Stepped {
        let engine = &self.executor.ports.engine;
        let (old, inspected) = engine.inspect(&own.id).await?;
        self.pre_stop(&old).await?;
        let next = self.candidate()?.clone();
        let restart = engine.inspect(&next).await?.0.owned.restart;
        let restart = restart.unwrap_or_else(|| inspected["HostConfig"]["RestartPolicy"].to_string());
        let (app, store) = (self.executor.app, &*self.executor.ports.store);
        parking::remember(app, store, Some(&Parked { container: own.id.clone(), restart: restart.clone() }));
        let failed = match self.announce_successor() {
            Ok(()) => self.relieved(own, &next).await,
            Err(halt) => halt,
        };
        if matches!(failed, Halt::Failed(..)) {
            self.recall(own).await?;
            if let Some(policy) = parked_policy(Some(&restart)) {
                engine.set_restart_policy(&own.id, &policy).await?;
            }
            parking::remember(app, store, None);
        }
        Err(failed)
    }

    /// Runs the relief until it has us stopped, or will not do so.
    async fn relieved(&self, own: &Own, next: &ContainerId) -> Halt {
        let limit = self.executor.app.timing.healthy_deadline;
        let deadline = Utc::now() + limit;
        let relief = match self.relief_runs(own, &own.id, next).await {
            Ok(relief) => relief,
            Err(halt) => return halt,
        };
        tracing::warn!(
            app = self.executor.app.name.as_str(),
            relief = relief.short(),
            next = next.short(),
            "the relief container stops this one and starts the next one; nothing serves meanwhile"
        );
        loop {
            match self.why_not_relieved(&relief, deadline).await {
                Ok(None) => {}
                Ok(Some(halt)) | Err(halt) => return halt,
            }
            if let Err(halt) = self.pause(LOOK).await {
                return halt;
            }
        }
    }

    async fn why_not_relieved(&self, relief: &ContainerId, deadline: Time) -> Result<Option<Halt>, Halt> {
        let failed = |reason, message: String| Ok(Some(Halt::Failed(reason, message)));
        let Some(document) = self.executor.ports.engine.document(&relief.0).await? else {
            return failed(FailureReason::Engine, "somebody removed the relief container".to_owned());
        };
        let (status, code) = (document["State"]["Status"].as_str().unwrap_or_default(), &document["State"]["ExitCode"]);
        let tries = document["RestartCount"].as_u64().unwrap_or_default();
        if matches!(status, "exited" | "dead") || tries >= TRIES {
            let said = last_words(self.executor.ports, relief).await;
            let message =
                format!("its relief container ended with code {code} and left this one running; it said: {said}");
            return failed(FailureReason::CannotStart, message);
        }
        if Utc::now() >= deadline {
            let said = last_words(self.executor.ports, relief).await;
            let message = format!("the relief container did not stop this one; it said: {said}");
            return failed(FailureReason::Engine, message);
        }
        Ok(None)
    }

    /// The relief for these two, running. What an earlier one left is removed.
    pub(super) async fn relief_runs(
        &self,
        own: &Own,
        old: &ContainerId,
        next: &ContainerId,
    ) -> Result<ContainerId, Halt> {
        let engine = &self.executor.ports.engine;
        let Some(name) = name_of(self.executor.app) else {
            return Err(Halt::Failed(FailureReason::Engine, "a declared app has no relief".to_owned()));
        };
        let owner = &self.executor.settings.owner;
        if let Some(found) = engine.document(&name).await? {
            let id = ContainerId(found["Id"].as_str().unwrap_or_default().to_owned());
            if !is_relief(&found, owner) {
                let message = format!("a container called {name}, which is not ours, is in the way: rename it");
                return Err(Halt::Failed(FailureReason::Engine, message));
            }
            if is_sent_for(&found, old, next) && !has_ended(&found) {
                return Ok(engine.start(&id).await.map(|()| id)?);
            }
            engine.remove(&id).await?;
        }
        self.make_relief(own, old, next, name).await
    }

    async fn make_relief(
        &self,
        own: &Own,
        old: &ContainerId,
        next: &ContainerId,
        name: String,
    ) -> Result<ContainerId, Halt> {
        let (engine, owner) = (&self.executor.ports.engine, &self.executor.settings.owner);
        let (_, inspected) = engine.inspect(next).await?;
        let within = (self.executor.app.timing.healthy_deadline + ALLOWANCE).as_secs().to_string();
        let arguments = ["relieve", "--config", &own.config, "--within", &within].map(str::to_owned);
        let errand =
            Errand { app: &self.executor.app.name, owner, old, next, program: &own.program, arguments: &arguments };
        let (body, networks) = body(&inspected, &errand);
        let relief = engine.create(&CreateContainer { name, body, networks }).await?;
        match engine.start(&relief).await {
            Ok(()) => Ok(relief),
            Err(error) => {
                let _ = engine.remove(&relief).await;
                match error.kind {
                    EngineErrorKind::Refused => {
                        let message = format!("its relief container can't be started: {}", chain(&error));
                        Err(Halt::Failed(FailureReason::CannotStart, message))
                    }
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// The relief is not to stop us any more. One that acts is not killed in the middle of it: it sees by itself that it is
    /// not wanted, or we are stopped after all and it goes on.
    async fn recall(&self, own: &Own) -> Result<(), Halt> {
        if let Err(error) = (own.announce)(None) {
            let app = self.executor.app.name.as_str();
            tracing::warn!(app, %error, "that the next container is not to take over is not written down");
        }
        let Some(name) = name_of(self.executor.app) else { return Ok(()) };
        let engine = &self.executor.ports.engine;
        let deadline = Utc::now() + RECALLED;
        loop {
            let Some(found) = engine.document(&name).await? else { return Ok(()) };
            if !is_relief(&found, &self.executor.settings.owner) {
                return Ok(());
            }
            if found["State"]["Status"] != "running" || Utc::now() >= deadline {
                return Ok(engine.remove(&ContainerId(found["Id"].as_str().unwrap_or_default().to_owned())).await?);
            }
            self.pause(LOOK).await?;
        }
    }

    /// Before we give our place up: whoever starts the old one again is there.
    pub(super) async fn somebody_relieves_us(&self, own: &Own) -> Result<(), Halt> {
        let engine = &self.executor.ports.engine;
        let (ours, _) = engine.inspect(&own.id).await?;
        let Some(old) = ours.owned.replaces else { return Ok(()) };
        if engine.document(&old.0).await?.is_none() {
            tracing::error!("the container before this one is gone, so this one stays, good or not");
            return Err(Halt::Interrupted);
        }
        self.relief_runs(own, &old, &own.id).await.map(|_| ())
    }
}

/// What the relief of an app is called; none of a declared one.
fn name_of(app: &App) -> Option<String> {
    match &app.origin {
        Origin::Adopted { container } => Some(relief_name(serving_name(container))),
        Origin::Declared => None,
    }
}

fn has_ended(document: &Value) -> bool {
    matches!(document["State"]["Status"].as_str(), Some("exited" | "dead" | "removing"))
}

async fn last_words(ports: &Ports, relief: &ContainerId) -> String {
    ports.engine.logs(relief, LINES).await.unwrap_or_default().join("\n").trim().to_owned()
}

/// Removes the relief of an app once it has ended, and tells what it has told. True when there is one that has not.
pub(in crate::engine) async fn dismiss_relief(app: &App, ports: &Ports, owner: &str) -> bool {
    let Some(name) = name_of(app) else { return false };
    let found = match ports.engine.document(&name).await {
        Ok(Some(found)) if is_relief(&found, owner) => found,
        Ok(_) => return false,
        Err(_) => return true,
    };
    let id = ContainerId(found["Id"].as_str().unwrap_or_default().to_owned());
    if matches!(found["State"]["Status"].as_str(), Some("running" | "restarting")) {
        return true;
    }
    let (app, said) = (app.name.as_str(), last_words(ports, &id).await);
    match ports.engine.remove(&id).await {
        Ok(()) => tracing::info!(app, relief = name, said, "the relief container is done and removed"),
        Err(error) => tracing::warn!(app, relief = name, "the relief container is still there: {}", chain(&error)),
    }
    false
}
