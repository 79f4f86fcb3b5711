//! The seam to the container engine.

use std::time::Duration;

use async_trait::async_trait;

use super::Source;
use crate::model::{
    AppName, Container, ContainerId, Credentials, ExecOutcome, ImageDetails, ImageRef, JobContainer, Platform,
    PullProgress, StoredImage,
};

/// How the container engine failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineErrorKind {
    /// No connection to the daemon, or it did not answer in time.
    Unreachable,
    /// There is no such container, image or network.
    NotFound,
    /// The name is taken.
    Conflict,
    /// It refused: a bad parameter, a command that can't be run, a port in use.
    Refused,
    /// The registry, asked by the daemon, did not deliver.
    Pull,
    /// The daemon failed.
    Server,
}

impl EngineErrorKind {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Pull => "pull",
            Self::Server => "server",
        }
    }
}

/// A request to the container engine failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// The kind.
    pub kind: EngineErrorKind,
    /// One sentence for a person: what was tried on what, and what the engine said.
    pub message: String,
    /// What lies beneath.
    #[source]
    pub source: Option<Source>,
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
    /// The API version that was negotiated.
    pub api_version: (u32, u32),
    /// What it runs.
    pub platform: Platform,
    /// Its defaults and everything else that it tells of itself (`GET /info`).
    pub about: serde_json::Value,
}

/// A container to be created: the JSON body of the API call, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateContainer {
    /// Its name.
    pub name: String,
    /// `POST /containers/create`, as is.
    pub body: serde_json::Value,
    /// Networks to be connected in this order before the start, where the create call takes only one, each with its
    /// endpoint's configuration (`EndpointSettings`; `{}` when nothing is asked for).
    pub networks: Vec<(String, serde_json::Value)>,
}

/// Something happened to a container that is ours, or that a person has labelled to be adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// Its app, by our label; `None` when a person made it.
    pub app: Option<AppName>,
    /// It.
    pub container: ContainerId,
    /// What it is called and, when it has just been renamed, was called; empty where that is not known.
    pub names: Vec<String>,
    /// The engine's word: `start`, `die`, `health_status: unhealthy`, `destroy`, …
    pub action: String,
}

/// Runs containers.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What the engine is.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// Fine when the engine takes a new connection and answers on it at once. One that is ending answers only on those
    /// that it has, while it ends its containers.
    async fn accepts(&self) -> Result<(), EngineError>;

    /// Every container of ours, in any state, inspected; of one app or of all.
    async fn containers(&self, app: Option<&AppName>) -> Result<Vec<Container>, EngineError>;

    /// The containers that are or were called `name` while they served: it, its candidates, its predecessors and those
    /// that failed (`decide::by_name`), as far as they are ours or a person has labelled them to be adopted.
    async fn family(&self, name: &str) -> Result<Vec<Container>, EngineError>;

    /// The inspect documents of the containers that may be adopted: those labelled so, or every one.
    async fn adoptable(&self, every: bool) -> Result<Vec<serde_json::Value>, EngineError>;

    /// One container, with its whole inspect document. Of one that a person made, the digest is that of its image.
    async fn inspect(&self, id: &ContainerId) -> Result<(Container, serde_json::Value), EngineError>;

    /// The inspect document of any container, by its id or name; `None` when there is none.
    async fn document(&self, reference: &str) -> Result<Option<serde_json::Value>, EngineError>;

    /// An image by any reference or id; `None` when the engine does not have it.
    async fn image(&self, reference: &str) -> Result<Option<ImageDetails>, EngineError>;

    /// Fetches an image by digest. Errors inside the 200 stream are errors here. Returns its details.
    async fn pull(
        &self,
        image: &ImageRef,
        auth: Option<&Credentials>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<ImageDetails, EngineError>;

    /// Gives an image a local tag.
    async fn tag(&self, image_id: &str, repository: &str, tag: &str) -> Result<(), EngineError>;

    /// Images whose tag matches `repository:*`, newest last by tag's generation number is the caller's business.
    async fn tagged(&self, repository: &str) -> Result<Vec<(String, ImageDetails)>, EngineError>;

    /// Every image that has a name.
    async fn images(&self) -> Result<Vec<StoredImage>, EngineError>;

    /// Removes a tag, and the image with it when that was its last name. No error when it is gone.
    async fn remove_image(&self, reference: &str) -> Result<(), EngineError>;

    /// Creates a container.
    async fn create(&self, container: &CreateContainer) -> Result<ContainerId, EngineError>;

    /// Starts it; fine when it runs.
    async fn start(&self, id: &ContainerId) -> Result<(), EngineError>;

    /// Stops it by its own signal and time-out; fine when it has stopped.
    async fn stop(&self, id: &ContainerId) -> Result<(), EngineError>;

    /// Removes it with force, its anonymous volumes kept; fine when it is gone.
    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError>;

    /// Renames it.
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<(), EngineError>;

    /// Sets its restart policy, by the policy's `HostConfig.RestartPolicy` document.
    async fn set_restart_policy(&self, id: &ContainerId, policy: &serde_json::Value) -> Result<(), EngineError>;

    /// The last lines of its output, both streams, without ANSI sequences.
    async fn logs(&self, id: &ContainerId, lines: usize) -> Result<Vec<String>, EngineError>;

    /// The containers of an app's jobs, in any state; no other call finds them.
    async fn jobs(&self, app: &AppName) -> Result<Vec<JobContainer>, EngineError>;

    /// The lines of its output from now on, both streams, without ANSI sequences, until it ends or the connection is lost.
    async fn output(&self, id: &ContainerId) -> Result<futures_util::stream::BoxStream<'static, String>, EngineError>;

    /// Runs a command in a running container and waits for its end. One that is not done within `limit` is left to itself,
    /// because the engine can't end it.
    async fn exec(&self, id: &ContainerId, command: &[String], limit: Duration) -> Result<ExecOutcome, EngineError>;

    /// Events of our containers from now on. Ends when the connection is lost; the caller lists again.
    async fn events(&self) -> Result<futures_util::stream::BoxStream<'static, EngineEvent>, EngineError>;
}
