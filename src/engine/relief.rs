//! The relief: a container of its own that stops the container that tagboat runs in, where that can't run beside its next
//! one, and starts the next one; and starts the old one again when the next one is no good.
//!
//! What to do is said by `decide::relief` from what is there, so that it may be killed at any place. It does not judge,
//! derive or remove anything: the next one's agent finishes the swap as it would after a crash. What it has to tell the
//! others goes through [`Notes`], because the memory belongs to whoever serves.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::decide::relief::{Act, Blame, Circumstances, End, relieve};
use crate::engine::clock::Utc;
use crate::model::{Container, ContainerId, FailureReason, Time};
use crate::ports::{Engine, EngineError, EngineErrorKind};

use super::observer::chain;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// The longest wait between two tries of what does not succeed.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What the two supervisors and agents are told.
pub trait Notes: Send + Sync {
    /// The old one's agent wants this to go on.
    fn announced(&self) -> bool;
    /// The old one is about to be stopped.
    fn stopping(&self, at: Time);
    /// The next one is no good. True when that is news: the first reason counts.
    fn blamed(&self, reason: FailureReason, why: &str) -> bool;
}

/// Who is relieved by whom.
#[derive(Debug, Clone)]
pub struct Relief {
    /// The container that runs.
    pub old: ContainerId,
    /// The one that is to run in its place.
    pub next: ContainerId,
    /// The container that this runs in; it does not come back by itself once it is done.
    pub own: Option<ContainerId>,
    /// The next one has to have the name within this time from its start.
    pub within: Duration,
}

/// Does everything that is left to do, however long it takes. `None`: it was told to end before that.
pub async fn carry_out(
    relief: &Relief,
    engine: &dyn Engine,
    notes: &dyn Notes,
    shutdown: &CancellationToken,
) -> Option<End> {
    let work = Work { relief, engine, notes, since: Utc::now() };
    tokio::select! {
        end = work.to_the_end() => Some(end),
        () = shutdown.cancelled() => None,
    }
}

struct Work<'a> {
    relief: &'a Relief,
    engine: &'a dyn Engine,
    notes: &'a dyn Notes,
    since: Time,
}

impl Work<'_> {
    async fn to_the_end(&self) -> End {
        let (mut refused, mut failures, mut last) = (None, 0_u32, None);
        loop {
            let (act, done) = match self.look(refused.as_deref()).await {
                Ok(act) => {
                    let done = self.act(&act, &mut refused).await;
                    (Some(act), done)
                }
                Err(error) => (None, Err(error)),
            };
            match (done, act) {
                (Ok(()), Some(Act::End(end))) => return end,
                // What has to be done again at once did not last.
                (Ok(()), act) => {
                    let (acted, again) = (act != Some(Act::Wait), act == last);
                    failures = if acted && again { failures + 1 } else { 0 };
                    last = act;
                    // Nothing serves meanwhile.
                    if acted && !again {
                        continue;
                    }
                }
                (Err(error), _) => {
                    failures += 1;
                    tracing::error!("this is tried again: {}", chain(&error));
                }
            }
            tokio::time::sleep(LOOK.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_RETRY)).await;
        }
    }

    async fn look(&self, refused: Option<&str>) -> Result<Act, EngineError> {
        let (old, next) = (self.found(&self.relief.old).await?, self.found(&self.relief.next).await?);
        let about = Circumstances {
            now: Utc::now(),
            since: self.since,
            within: self.relief.within,
            announced: self.notes.announced(),
            refused,
        };
        Ok(relieve(old.as_ref(), next.as_ref(), &about))
    }

    async fn found(&self, id: &ContainerId) -> Result<Option<Container>, EngineError> {
        match self.engine.inspect(id).await {
            Ok((container, _)) => Ok(Some(container)),
            Err(error) if error.kind == EngineErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn act(&self, act: &Act, refused: &mut Option<String>) -> Result<(), EngineError> {
        let Relief { old, next, own, .. } = self.relief;
        match act {
            Act::Wait => {}
            Act::StopOld => {
                tracing::info!(container = old.short(), "stopping the container that runs, to make room");
                self.notes.stopping(Utc::now());
                self.stop(old).await?;
            }
            Act::StartNext => {
                tracing::info!(container = next.short(), "starting the next container");
                if let Err(error) = self.engine.start(next).await {
                    if !is_final(&error) {
                        return Err(error);
                    }
                    self.engine.accepts().await?;
                    *refused = Some(chain(&error));
                }
            }
            Act::StopNext(blame) => {
                self.blame(next, blame).await?;
                self.stop(next).await?;
            }
            Act::StartOld(blame) => {
                if let Some(blame) = blame {
                    self.blame(next, blame).await?;
                }
                tracing::warn!(container = old.short(), "starting the container before it again");
                self.start_again(old).await?;
            }
            Act::End(_) => {
                if let Some(own) = own {
                    self.engine.set_restart_policy(own, &serde_json::json!({"Name": "no"})).await?;
                }
            }
        }
        Ok(())
    }

    /// An engine that is ending ends its containers, which says nothing about them.
    async fn blame(&self, next: &ContainerId, (reason, why): &Blame) -> Result<(), EngineError> {
        self.engine.accepts().await?;
        if self.notes.blamed(*reason, why) {
            tracing::error!(container = next.short(), reason = reason.label(), "the next container is no good: {why}");
        }
        Ok(())
    }

    /// Without its restart policy, so that a restart of the engine leaves it be.
    async fn stop(&self, id: &ContainerId) -> Result<(), EngineError> {
        let (container, _) = self.engine.inspect(id).await?;
        if container.restart_policy != "no" {
            self.engine.set_restart_policy(id, &serde_json::json!({"Name": "no"})).await?;
        }
        self.engine.stop(id).await
    }

    /// With the restart policy that it had, which the next one's labels tell.
    async fn start_again(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.engine.start(id).await?;
        let told = self.found(&self.relief.next).await?.and_then(|next| next.owned.restart);
        match told.and_then(|text| serde_json::from_str(&text).ok()) {
            Some(policy) => self.engine.set_restart_policy(id, &policy).await,
            None => Ok(()),
        }
    }
}

/// The engine has looked at it and said no.
fn is_final(error: &EngineError) -> bool {
    matches!(error.kind, EngineErrorKind::Refused | EngineErrorKind::Server)
}
