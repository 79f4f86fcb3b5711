//! A container as observed, and the labels by which tagboat knows its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AppName, ContainerId, Digest, Generation, Platform, SwapId, Time};

/// The labels that tagboat writes; they can't change after create, so they only say what was known then.
pub mod label {
    /// The app's name. Its presence makes a container ours.
    pub const APP: &str = "tagboat.app";
    /// The generation, a decimal number.
    pub const GENERATION: &str = "tagboat.generation";
    /// The swap that created it.
    pub const SWAP: &str = "tagboat.swap";
    /// The id of the container it is meant to replace.
    pub const REPLACES: &str = "tagboat.replaces";
    /// The digest that the tag resolved to.
    pub const DIGEST: &str = "tagboat.digest";
    /// Hash of the configuration it was created from, image excluded.
    pub const SPEC: &str = "tagboat.spec";
    /// The installation (state directory) that it belongs to, so that two tagboats can share a daemon.
    pub const OWNER: &str = "tagboat.owner";
    /// A person's: the container is to be watched and swapped, though no file declares it.
    pub const ENABLE: &str = "tagboat.enable";
    /// A person's: only the tagboat with this scope looks at it.
    pub const SCOPE: &str = "tagboat.scope";
    /// On what was adopted: the image that is followed, as the person wrote it; what runs may be pinned otherwise.
    pub const IMAGE: &str = "tagboat.image";
    /// On a candidate: the restart policy (`HostConfig.RestartPolicy`, as JSON) that it gets when it has taken over,
    /// and that the old version gets back when it has not.
    pub const RESTART: &str = "tagboat.restart";
    /// On the container of a job: which. It is no version of its app.
    pub const JOB: &str = "tagboat.job";
    /// On the container of a job: the seconds that it may take.
    pub const JOB_TIMEOUT: &str = "tagboat.job_timeout";
    /// `true` on a version that is taken out of service again when it fails soon: nobody has insisted on it, and it is not
    /// itself what was gone back to.
    pub const WATCHED: &str = "tagboat.watched";
    /// Which of its version's containers it is, where the app wants more than one of them: a decimal number from 1 on.
    pub const REPLICA: &str = "tagboat.replica";
    /// On the container that stops tagboat's own and starts the next one in its place: the id of that next one. It is no
    /// version of its app.
    pub const RELIEF: &str = "tagboat.relief";
}

/// What our labels say about a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// The app it is a version of.
    pub app: AppName,
    /// Which version.
    pub generation: Generation,
    /// The swap that created it.
    pub swap: SwapId,
    /// The container it was to replace.
    pub replaces: Option<ContainerId>,
    /// The digest it runs.
    pub digest: Digest,
    /// Hash of its configuration.
    pub spec: String,
    /// The restart policy it is meant to have, where that was taken over from the version before.
    pub restart: Option<String>,
    /// It is replaced by the version before it when it fails soon after it went into service.
    pub watched: bool,
    /// Which of its version's containers it is; `None` where it was made to be the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<u32>,
}

impl Owned {
    /// Its number among the containers of its version; the only one is the first.
    pub fn number(&self) -> u32 {
        self.replica.unwrap_or(1)
    }
}

/// The engine's own idea of a container's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended, and about to be started by its policy.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
    /// Beyond repair.
    Dead,
}

impl ContainerState {
    /// The engine's word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }
}

/// The result of the container's own health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not decided yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// Too many checks in a row failed.
    Unhealthy,
}

/// A container as the engine shows it, reduced to what decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without the leading slash.
    pub name: String,
    /// What our labels say.
    pub owned: Owned,
    /// Its state.
    pub state: ContainerState,
    /// Its own health check's result; `None` when it has no health check.
    pub health: Option<Health>,
    /// The output of the last health check run, cut to 4 KiB; empty when there is none.
    pub health_output: String,
    /// Restarts by policy since it was started by someone.
    pub restart_count: u64,
    /// The exit code of the last end, meaningful when it is not running.
    pub exit_code: i64,
    /// The kernel killed it for its memory limit.
    pub oom_killed: bool,
    /// When it was created.
    pub created: Time,
    /// When it was last started.
    pub started: Option<Time>,
    /// When it last ended.
    pub finished: Option<Time>,
    /// The name of its restart policy.
    pub restart_policy: String,
    /// The image id that it runs.
    pub image_id: String,
    /// Network name → address in it; empty while it is not running.
    pub addresses: BTreeMap<String, IpAddr>,
}

impl Container {
    /// True while its process exists and is not frozen.
    pub fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }
}

/// An image on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// The engine's id of it.
    pub id: String,
    /// What it runs on.
    pub platform: Platform,
    /// `repository@digest` entries.
    pub repo_digests: Vec<String>,
    /// Tags, ours included.
    pub repo_tags: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// The image declares a health check (other than `NONE`).
    pub has_healthcheck: bool,
    /// The image's whole inspect document, for derivations that need more.
    pub raw: serde_json::Value,
}
