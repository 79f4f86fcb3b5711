//! The engine goes away in the middle of a swap: it is restarted, or dies.
//!
//! Then nothing can be undone, and nothing that happened to the containers is the image's fault: a daemon that is ending
//! ends them, and one that was killed finds them dead. So the plan is given up as it is, as if the agent had been killed:
//! once the engine is back, the next look finds what is left and carries on or makes it anew.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::observer::chain;

use super::{Executor, LOOK};

/// The engine is waited for so long, with requests that wait kept waiting; then the app is tried again like after any
/// failure to look.
const PATIENCE: Duration = Duration::from_secs(30);

impl Executor<'_> {
    /// Whether a step may have failed because the engine is ending.
    pub(super) async fn is_engine_leaving(&self) -> bool {
        self.ports.engine.accepts().await.is_err()
    }

    /// Waits for the engine's return, unless the agent ends.
    pub(super) async fn engine_is_back(&self, why: &str) {
        let (app, begun) = (self.app.name.as_str(), Instant::now());
        tracing::warn!(app, "the container engine went away in the middle of this; it goes on when it is back: {why}");
        while let Err(error) = self.ports.engine.accepts().await {
            if begun.elapsed() >= PATIENCE {
                tracing::error!(app, "the container engine does not come back: {}", chain(&error));
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
        tracing::info!(app, seconds = begun.elapsed().as_secs(), "the container engine is back");
    }
}
