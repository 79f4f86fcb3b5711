//! What is remembered between runs. All of it may be lost without endangering a swap.

use serde::{Deserialize, Serialize};

use super::{AppName, Cached, Digest, Failure, Generation, GroupPart, Stage, SwapId, Time};

/// What is known of a watched tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The registry's last answer.
    pub cached: Cached,
    /// When this digest was first seen under the tag.
    pub first_seen: Time,
    /// When the registry last answered with it.
    pub last_checked: Time,
    /// How we came to know it.
    pub source: SeenSource,
}

/// What made us look when a digest was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenSource {
    /// The schedule.
    Poll,
    /// A webhook.
    Webhook,
    /// A person or a CI job.
    Request,
    /// The start of the agent.
    Start,
    /// Another app of its group, for which there is something newer.
    Group,
}

impl SeenSource {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Webhook => "webhook",
            Self::Request => "request",
            Self::Start => "start",
            Self::Group => "group",
        }
    }
}

/// A digest that failed and is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The digest.
    pub digest: Digest,
    /// When it failed.
    pub at: Time,
    /// How, with the evidence.
    pub failure: Failure,
    /// Hash of the app's configuration that it failed with; with another configuration it may be tried again.
    #[serde(default)]
    pub spec: Option<String>,
    /// The swap that failed.
    pub swap: Option<SwapId>,
}

/// A person wants this digest and not what the tag points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What should run.
    pub digest: Digest,
    /// What the tag pointed to when the pin was set: the pin lapses when the tag moves on from it.
    pub tag_was: Option<Digest>,
    /// Why, as given: "rollback", "deploy --digest", with the author if known.
    pub reason: String,
    /// Since when.
    pub at: Time,
    /// The app of its group that had to go back, which is why this one did: the pin lapses when that one moves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<AppName>,
}

/// Failed attempts at a digest that were not the image's fault; tried again after a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The digest.
    pub digest: Digest,
    /// How often.
    pub count: u32,
    /// Not again before.
    pub not_before: Time,
    /// The last failure.
    pub failure: Failure,
}

/// How a deployment ended, or that it has not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum DeploymentResult {
    /// Under way.
    Running,
    /// The new version serves and the old one is gone.
    Succeeded,
    /// It failed before the switch; the old version was not touched.
    Failed {
        /// How.
        failure: Failure,
    },
    /// It failed after the switch, and the traffic was switched back.
    RolledBack {
        /// How.
        failure: Failure,
    },
    /// A later start of the agent took over.
    Superseded,
}

impl DeploymentResult {
    /// How it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure } | Self::RolledBack { failure } => Some(failure),
            Self::Running | Self::Succeeded | Self::Superseded => None,
        }
    }

    /// Stable name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::RolledBack { .. } => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}

/// One step of a deployment, as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which.
    pub stage: Stage,
    /// When it began.
    pub started: Time,
    /// How long it took; `None` while it runs.
    pub millis: Option<u64>,
    /// What there is to say about it, for a person.
    #[serde(default)]
    pub note: String,
    /// The last lines of its output, if it was a job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id, and that of the swap.
    pub id: SwapId,
    /// The generation it made.
    pub generation: Generation,
    /// What was deployed.
    pub digest: Digest,
    /// What ran before.
    pub previous: Option<Digest>,
    /// What made us look.
    pub source: SeenSource,
    /// Why it was done: "tag moved", "first deployment", "rollback", "configuration changed", …
    pub reason: String,
    /// The strategy's name.
    pub strategy: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub finished: Option<Time>,
    /// How it ended.
    #[serde(flatten)]
    pub result: DeploymentResult,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// The deployment of its group that it was a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupPart>,
}
