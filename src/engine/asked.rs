//! What can be asked of an app, and what the answers are.

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use crate::model::{AppName, Approval, Decision, Digest, Hold, Repository, SeenSource, SwapId, Tag, Version};
use crate::ports::{EngineError, StoreError};

/// A registry announced something. It only makes us look: nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Where.
    pub repository: Repository,
    /// Which tag; without one every app of the repository looks.
    pub tag: Option<Tag>,
    /// What the sender says the tag points to now; only used to notice that the registry does not say so yet.
    pub digest: Option<Digest>,
    /// It may have been sent before the tag can be read: it is given a moment.
    pub early: bool,
}

/// A registry announced something that lies beside an image and may be its signature. It only makes those look again who
/// wait for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHint {
    /// Where.
    pub repository: Repository,
    /// The tag that stands in for the digest that it is about; without one it may be about any.
    pub tag: Option<Tag>,
}

/// A person or a CI job wants an app deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployRequest {
    /// A tag or digest of the app's repository, which is then pinned; `None`: what the app follows.
    pub version: Option<Version>,
    /// Deploy although nothing has changed.
    pub force: bool,
    /// Who and why, for the history.
    pub reason: String,
    /// This app and no other of its group.
    pub only: bool,
}

/// What to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTo {
    /// What served before.
    Previous,
    /// What served as this generation.
    Generation(u64),
    /// This digest.
    Digest(Digest),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// It serves already.
    UpToDate {
        /// What.
        digest: Digest,
    },
    /// It is being deployed.
    Started {
        /// As this swap.
        deployment: SwapId,
        /// What.
        digest: Digest,
    },
    /// It can't or may not be deployed now.
    Held {
        /// Why.
        hold: Hold,
    },
    /// The app is busy with a swap; the request is next.
    Queued,
}

/// An approval that was taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// It.
    #[serde(flatten)]
    pub approval: Approval,
    /// The app's policy asks for one; otherwise nothing waited for it.
    pub asked_for: bool,
}

/// A request that can't be fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no such app.
    #[error("there is no app {app:?}; the apps are: {known}")]
    UnknownApp {
        /// As asked.
        app: String,
        /// Those that there are.
        known: String,
    },
    /// There is no such group.
    #[error("there is no group {group:?}; the groups are: {known}")]
    UnknownGroup {
        /// As asked.
        group: String,
        /// Those that there are.
        known: String,
    },
    /// There is nothing to go back to.
    #[error("app {app} has no earlier version to go back to: {detail}")]
    NothingToRollBackTo {
        /// The app.
        app: AppName,
        /// What was looked for.
        detail: String,
    },
    /// The version asked for could not be found.
    #[error("{message}")]
    Unresolved {
        /// Why.
        message: String,
    },
    /// Too many requests wait for this app.
    #[error("too many requests wait for app {app}; try again when its swap has ended")]
    Busy {
        /// The app.
        app: AppName,
    },
    /// The agent is ending.
    #[error("the agent is shutting down")]
    Stopping,
    /// The state directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The container engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What reaches a reconciler besides activations.
pub(super) enum Command {
    Deploy(DeployRequest, oneshot::Sender<Result<Answer, RequestError>>),
    Rollback(RollbackTo, oneshot::Sender<Result<Answer, RequestError>>),
    Plan(oneshot::Sender<Result<Decision, RequestError>>),
    Unpin(oneshot::Sender<Result<bool, RequestError>>),
}

/// Why an app looks, and when it should look again in case the registry lags behind its own announcement.
#[derive(Debug, Default)]
pub(super) struct Activation {
    pending: std::sync::Mutex<Option<(SeenSource, Option<Hint>)>>,
    notify: Notify,
}

impl Activation {
    /// Asks for a look. A webhook's hint is kept until it is taken; later ones replace earlier ones.
    pub(super) fn activate(&self, source: SeenSource, hint: Option<Hint>) {
        *self.pending.lock().expect("no holder panics") = Some((source, hint));
        self.notify.notify_one();
    }

    /// Asks for a look, unless one is asked for already: that may be about to look for more.
    pub(super) fn remind(&self, source: SeenSource) {
        self.pending.lock().expect("no holder panics").get_or_insert((source, None));
        self.notify.notify_one();
    }

    /// Waits for the next activation.
    pub(super) async fn next(&self) -> (SeenSource, Option<Hint>) {
        loop {
            if let Some(pending) = self.pending.lock().expect("no holder panics").take() {
                return pending;
            }
            self.notify.notified().await;
        }
    }
}
