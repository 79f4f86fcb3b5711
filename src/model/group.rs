//! What a group of apps has done together.

use serde::{Deserialize, Serialize};

use super::{AppName, Digest, GroupName, SwapId, Time};

/// A deployment as a part of its group's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPart {
    /// The group.
    pub name: GroupName,
    /// The id of the group's deployment.
    pub id: SwapId,
    /// The apps that moved together, this one among them.
    pub members: Vec<AppName>,
}

/// An entry of a group's history: several apps that moved together, or did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDeployment {
    /// Its id.
    pub id: SwapId,
    /// The group.
    pub name: GroupName,
    /// When it began.
    pub started: Time,
    /// When it ended.
    #[serde(default)]
    pub finished: Option<Time>,
    /// How it ended.
    pub result: GroupResult,
    /// What there is to say about that, for a person.
    #[serde(default)]
    pub message: String,
    /// The generation of the proxy's table in which it was switched.
    #[serde(default)]
    pub table: Option<u64>,
    /// Each app's own deployment.
    pub members: Vec<GroupMember>,
}

/// What one app does in a group's deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// The app.
    pub app: AppName,
    /// What it deploys.
    pub digest: Digest,
    /// Its own deployment, once that has begun.
    #[serde(default)]
    pub deployment: Option<SwapId>,
}

/// How a group's deployment ended, or that it has not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupResult {
    /// Under way.
    Running,
    /// All of them serve their new versions.
    Succeeded,
    /// None of them moved.
    Failed,
    /// All of them had moved and were taken back.
    RolledBack,
    /// A later start of the agent took over.
    Superseded,
}

impl GroupResult {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}
