//! Two versions that must never run at once, behind the proxy: requests wait while one makes room for the other.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::container::{failed_name, restart_policy};
use crate::engine::clock::Utc;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::{AppHold, ContainerId, ContainerState, FailureReason, HoldLimits, NOWHERE, Target};
use crate::ports::{EngineErrorKind, TrafficError};

use super::service::SWITCH_PATIENCE;
use super::{Executor, Halt, LOOK, Stepped, Swap, chain, millis};

/// A hold is prolonged so often. A proxy that could not keep it on its disk, and was restarted, is told anew before its
/// requests have given up looking for their target, which they do for a second.
const PROLONG: Duration = Duration::from_millis(500);

/// A hold in force, and whether it has been released: prolonged after that, it would begin anew.
#[derive(Debug, Clone)]
pub(super) struct Held {
    hold: AppHold,
    released: Arc<Mutex<bool>>,
}

impl Executor<'_> {
    /// Does something, and meanwhile keeps a hold in force.
    pub(super) async fn while_held<T>(&self, held: Option<Held>, work: impl Future<Output = T>) -> T {
        let Some(held) = held else { return work.await };
        tokio::select! {
            done = work => done,
            never = self.prolong(&held) => match never {},
        }
    }

    async fn prolong(&self, held: &Held) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(PROLONG).await;
            let released = held.released.lock().await;
            if *released {
                drop(released);
                return std::future::pending().await;
            }
            match self.ports.traffic.hold(&held.hold).await {
                Ok(()) => {}
                // It has been switched, by us or by somebody else.
                Err(TrafficError::Conflict { .. }) => return std::future::pending().await,
                Err(error) => tracing::debug!(app = self.app.name.as_str(), "not prolonged: {}", chain(&error)),
            }
        }
    }
}

impl Swap<'_> {
    /// Has new requests wait.
    pub(super) async fn hold(&mut self, expect: u64) -> Stepped {
        let timing = &self.executor.app.timing;
        let limits = HoldLimits {
            wait_ms: millis(timing.hold_wait),
            requests: u64::from(timing.hold_requests),
            bytes: timing.hold_bytes,
        };
        // Half of what a request waits: if we are gone for good, and what served was not stopped yet, it answers them all.
        let lease_ms = millis((timing.hold_wait / 2).max(PROLONG * 4));
        let hold = AppHold { app: self.executor.app.name.clone(), expect, lease_ms, limits };
        let deadline = Instant::now() + SWITCH_PATIENCE;
        loop {
            match self.executor.ports.traffic.hold(&hold).await {
                Ok(()) => break,
                Err(TrafficError::Unreachable { .. }) if Instant::now() < deadline => self.pause(LOOK).await?,
                Err(error) => return Err(traffic(&error)),
            }
        }
        self.held = Some(Held { hold, released: Arc::default() });
        Ok(String::new())
    }

    /// Stops what serves, to make room; it is kept, and does not come back by itself meanwhile.
    pub(super) async fn make_room(&mut self, container: &ContainerId) -> Stepped {
        let (old, _) = self.executor.ports.engine.inspect(container).await?;
        let hooked = self.pre_stop(&old).await?;
        // One that an earlier run has stopped already has been away since then.
        let already = old.finished.filter(|_| old.state == ContainerState::Exited);
        self.parked = Some(already.unwrap_or_else(Utc::now));
        self.stop_one(container).await?;
        self.no_longer_at(container).await?;
        Ok(hooked)
    }

    /// Its address is free now, and the engine may give it to the candidate: a proxy that was restarted, and has lost the
    /// hold, must find nobody there.
    async fn no_longer_at(&self, id: &ContainerId) -> Result<(), Halt> {
        let (app, ports) = (&self.executor.app.name, self.executor.ports);
        let deadline = Instant::now() + SWITCH_PATIENCE;
        loop {
            let told = async {
                let table = ports.traffic.table().await?;
                let targets = table.apps.get(app).map(|entry| entry.active.as_slice()).unwrap_or_default();
                match targets.iter().find(|target| target.container == *id && target.addr.port() != NOWHERE) {
                    Some(target) => ports.traffic.readdress(app, id, (target.addr.ip(), NOWHERE).into()).await,
                    None => Ok(()),
                }
            };
            match told.await {
                Ok(()) => return Ok(()),
                Err(TrafficError::Unreachable { .. }) if Instant::now() < deadline => self.pause(LOOK).await?,
                Err(error) => return Err(traffic(&error)),
            }
        }
    }

    /// What made room serves again: it runs with its policy, has proved that it answers, and gets what waits.
    pub(super) async fn serve_again(&mut self, id: &ContainerId) -> Stepped {
        let engine = &self.executor.ports.engine;
        engine.start(id).await?;
        let policy = restart_policy(self.executor.app);
        if engine.inspect(id).await?.0.restart_policy != policy["Name"].as_str().unwrap_or_default() {
            engine.set_restart_policy(id, &policy).await?;
        }
        let target = self.answers(id).await?;
        self.released_to(&target).await?;
        self.held = None;
        self.parked = None;
        Ok(String::new())
    }

    /// Waits until a container has answered as many probes in a row as the gate asks for.
    async fn answers(&self, id: &ContainerId) -> Result<Target, Halt> {
        let timing = &self.executor.app.timing;
        let deadline = Instant::now() + timing.healthy_deadline;
        let mut successes = 0;
        loop {
            let (container, _) = self.executor.ports.engine.inspect(id).await?;
            let probed = match self.target(&container) {
                Ok(target) => self.probe(&target).await.map(|outcome| (target, outcome)),
                Err(why) => Err(why),
            };
            let why = match probed {
                Ok((target, outcome)) if outcome.ok => {
                    successes += 1;
                    if successes >= timing.probe_successes {
                        return Ok(target);
                    }
                    String::new()
                }
                Ok((_, outcome)) => outcome.detail,
                Err(why) => why,
            };
            if !why.is_empty() {
                successes = 0;
            }
            if Instant::now() >= deadline {
                let message = format!("the old version runs and does not answer: {why}");
                return Err(Halt::Failed(FailureReason::Traffic, message));
            }
            self.pause(timing.probe_interval).await?;
        }
    }

    /// Has the requests that wait go to what the table names, at its address of now. A table that names nobody is left to
    /// the switch that follows.
    async fn released_to(&self, target: &Target) -> Result<(), Halt> {
        let (app, ports) = (&self.executor.app.name, self.executor.ports);
        let table = ports.traffic.table().await.map_err(|error| traffic(&error))?;
        let Some(entry) = table.apps.get(app) else { return Ok(()) };
        let Some(named) = entry.active.iter().find(|named| named.container == target.container) else { return Ok(()) };
        if named.addr != target.addr {
            let moved = ports.traffic.readdress(app, &target.container, target.addr).await;
            moved.map_err(|error| traffic(&error))?;
        }
        let mut released = match &self.held {
            Some(held) => Some(held.released.lock().await),
            None => None,
        };
        ports.traffic.release(app, entry.revision).await.map_err(|error| traffic(&error))?;
        released.iter_mut().for_each(|released| **released = true);
        Ok(())
    }

    /// After a failure: the candidate ends, what it was to replace serves again, and only then it is called failed. Returns
    /// whether the old one is back after it was away.
    pub(super) async fn give_way(&mut self) -> bool {
        let away = self.parked.is_some();
        let returned = self.given_way().await;
        if let Err(Halt::Failed(_, message) | Halt::Away(message)) = &returned {
            let app = self.executor.app.name.as_str();
            tracing::error!(app, "the old version could not be put back yet, and is tried again: {message}");
        }
        away && matches!(returned, Ok(true))
    }

    /// False when the candidate serves, or nobody can say whether it does: the next look decides by what is there then.
    async fn given_way(&mut self) -> Result<bool, Halt> {
        let candidate = self.candidates.first().cloned();
        if let Some(id) = candidate.clone() {
            if !self.gets_no_request(std::slice::from_ref(&id)).await {
                return Ok(false);
            }
            self.stop_one(&id).await?;
        }
        if let Some(old) = self.plan.serving.first().cloned() {
            self.serve_again(&old).await?;
        }
        if let Some(id) = candidate {
            let name = failed_name(self.executor.app, self.plan.generation);
            match self.executor.ports.engine.rename(&id, &name).await {
                Err(error) if error.kind == EngineErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(true)
    }
}

fn traffic(error: &TrafficError) -> Halt {
    Halt::Failed(FailureReason::Traffic, chain(error))
}
