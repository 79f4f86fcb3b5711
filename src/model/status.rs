//! What a person asking "what runs where since when" is told.

use serde::{Deserialize, Serialize};

use super::{
    AppName, Approval, Digest, Generation, GroupName, Hold, Pin, Quarantine, Quota, Route, Stage, SwapId, Tag, Time,
};

/// The result of the last look at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// The tag points where it did.
    Unchanged,
    /// The tag has moved.
    Changed,
    /// There was no answer to tell by.
    Unknown,
}

impl CheckResult {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        }
    }
}

/// What serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Its digest.
    pub digest: Digest,
    /// Its generation.
    pub generation: Generation,
    /// Its container's name; of several the first that does not run as it should, or else the first.
    pub container: String,
    /// Since when it serves; of several, since when exactly these do.
    pub since: Time,
    /// The engine's word for the state of that container: "running", "unhealthy", "exited", …
    pub state: String,
    /// All of its containers, where the app wants several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
}

/// The containers that serve side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// So many there should be.
    pub wanted: u32,
    /// So many get requests and run.
    pub serving: u32,
    /// Those that get requests.
    pub containers: Vec<Replica>,
}

/// One of several containers that serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its name.
    pub container: String,
    /// The engine's word for its state.
    pub state: String,
}

/// The one word for an app's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    /// Not looked at yet.
    Starting,
    /// What is wanted serves.
    UpToDate,
    /// A swap is under way.
    Deploying,
    /// Something newer is not deployed; `hold` says why.
    Held,
    /// It could not be found out whether there is something newer.
    Unknown,
    /// Nothing serves.
    Down,
}

impl AppState {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::UpToDate => "up_to_date",
            Self::Deploying => "deploying",
            Self::Held => "held",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }
}

/// An app at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub app: AppName,
    /// How it is swapped.
    #[serde(default)]
    pub strategy: String,
    /// Why so.
    #[serde(default)]
    pub strategy_reason: String,
    /// The group that it moves with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Its condition.
    pub state: AppState,
    /// What is watched: `registry/repository:tag`; without a tag when none was found yet that the app could follow.
    pub image: String,
    /// What it follows, in words: `tag latest`, `semver ^1.4`.
    #[serde(default)]
    pub follows: String,
    /// The tag that is followed now: of a policy, the one that won.
    #[serde(default)]
    pub tag: Option<Tag>,
    /// Where its requests come in.
    pub routes: Vec<Route>,
    /// What serves.
    pub deployed: Option<Deployed>,
    /// What the tag points to, as far as known.
    pub newest: Option<Digest>,
    /// When that was first seen.
    pub newest_seen: Option<Time>,
    /// Why the newest is not deployed.
    pub hold: Option<Hold>,
    /// The swap and stage under way.
    pub deploying: Option<(SwapId, Stage)>,
    /// The last look at the registry.
    pub last_check: Option<(Time, CheckResult)>,
    /// The last look that got an answer.
    pub last_successful_check: Option<Time>,
    /// When it will be looked at again by itself.
    pub next_check: Option<Time>,
    /// What it is pinned to.
    pub pin: Option<Pin>,
    /// Its digests that failed.
    pub quarantined: Vec<Quarantine>,
    /// The last version that a person approved of, where that is asked for.
    #[serde(default)]
    pub approval: Option<Approval>,
}

impl AppStatus {
    /// The version that waits to be deployed, if one does: what a gate holds back, or else the newest.
    pub fn waiting(&self) -> Option<&Digest> {
        match &self.hold {
            Some(Hold::Gated { digest, .. }) => Some(digest),
            _ => self.newest.as_ref(),
        }
    }
}

/// A registry at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryStatus {
    /// The registry.
    pub registry: String,
    /// Not asked again before, and why.
    pub backing_off: Option<(Time, String)>,
    /// What is left of its rate limit.
    pub quota: Option<Quota>,
}
