//! What was decided and why, as data: the log line, the status and the API answer are made from it.

use serde::{Deserialize, Serialize};

use super::{AppName, Digest, Failure, Gate, Plan, Time};

/// How the old version is replaced by the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Blue/green behind tagboat's proxy: no gap.
    Proxy,
    /// The new one proves itself beside the old one, then the old one is stopped: no gap, and no proxy.
    Overlap,
    /// Two can't coexist: the old one is stopped and kept, the new one started, and the old one comes back if that
    /// one does not prove itself. The gap is measured.
    Recreate,
    /// As `Recreate`, behind tagboat's proxy: it parks the requests of the gap, which is seen as latency.
    Hold,
}

impl Strategy {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Overlap => "overlap",
            Self::Recreate => "recreate",
            Self::Hold => "hold",
        }
    }

    /// The container's name says what serves, not the proxy's table.
    pub fn is_by_name(self) -> bool {
        matches!(self, Self::Overlap | Self::Recreate)
    }
}

/// A part of a swap, as shown to people and counted in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Remembering how a version that served has failed.
    Watch,
    /// Fetching the image by digest.
    Pull,
    /// Running the job that comes before a deployment.
    PreDeploy,
    /// Creating the candidate.
    Create,
    /// Comparing the created candidate with the intention.
    Compare,
    /// Having new requests wait at the proxy.
    Hold,
    /// Stopping the old version to make room; it is kept.
    Park,
    /// Starting it.
    Start,
    /// Waiting until it has proved that it can serve.
    Gate,
    /// Giving it the user's restart policy.
    Arm,
    /// Giving it the name of the old version: the commit point without the proxy.
    Take,
    /// Recreating the containers that live in the old version's namespaces.
    Follow,
    /// Moving the traffic: the commit point with the proxy.
    Switch,
    /// Watching the new version with the old one warm.
    Bake,
    /// Waiting for the old version's requests and streams to end.
    Drain,
    /// Stopping the old version.
    Stop,
    /// Removing the old version and keeping its image.
    Retire,
    /// Starting the old version again after a failure.
    Restore,
    /// Preparing the job that comes after a deployment.
    Prepare,
    /// Running the job that comes after a deployment.
    PostDeploy,
    /// Running the job that comes after a failed deployment.
    FailedDeploy,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 21] = [
        Self::Watch,
        Self::Pull,
        Self::PreDeploy,
        Self::Create,
        Self::Compare,
        Self::Hold,
        Self::Park,
        Self::Start,
        Self::Gate,
        Self::Take,
        Self::Arm,
        Self::Follow,
        Self::Switch,
        Self::Bake,
        Self::Drain,
        Self::Stop,
        Self::Retire,
        Self::Restore,
        Self::Prepare,
        Self::PostDeploy,
        Self::FailedDeploy,
    ];

    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Create => "create",
            Self::Compare => "compare",
            Self::Hold => "hold",
            Self::Park => "park",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Take => "take",
            Self::Arm => "arm",
            Self::Follow => "follow",
            Self::Switch => "switch",
            Self::Bake => "bake",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Retire => "retire",
            Self::Restore => "restore",
            Self::Watch => "watch",
            Self::PreDeploy => "pre_deploy",
            Self::Prepare => "prepare",
            Self::PostDeploy => "post_deploy",
            Self::FailedDeploy => "failed_deploy",
        }
    }
}

/// Why nothing is deployed although it is not known to be up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "hold")]
pub enum Hold {
    /// The registry gave no answer.
    RegistryUnknown {
        /// Why.
        message: String,
    },
    /// The registry has no tag that the app's policy follows.
    NothingMatches {
        /// Why, with the tags that come nearest.
        message: String,
    },
    /// The tag points to an image that this host can't run, at least not yet: architectures arrive one by one.
    NotReady {
        /// What there is, and what is missing.
        message: String,
    },
    /// The engine gave no answer.
    EngineUnknown {
        /// Why.
        message: String,
    },
    /// The proxy gave no answer.
    TrafficUnknown {
        /// Why.
        message: String,
    },
    /// The digest failed before.
    Quarantined {
        /// The digest.
        digest: Digest,
        /// How.
        failure: Failure,
    },
    /// A person pinned another digest.
    Pinned {
        /// What the tag points to.
        newer: Digest,
        /// Why.
        reason: String,
    },
    /// An earlier attempt failed; it is tried again then.
    BackingOff {
        /// The digest.
        digest: Digest,
        /// When.
        until: Time,
        /// How it failed.
        failure: Failure,
    },
    /// A gate of the app's policy has not let it through.
    Gated {
        /// The version.
        digest: Digest,
        /// Which gate.
        gate: Gate,
        /// Why, and what can be done.
        message: String,
        /// When it ends by itself, or is looked at again, where that is known.
        until: Option<Time>,
    },
    /// Its group moves together, and not yet.
    Group {
        /// The version that waits.
        digest: Digest,
        /// The apps that are waited for.
        waits_for: Vec<AppName>,
        /// Why.
        message: String,
        /// Until when at most, where that is known.
        until: Option<Time>,
    },
    /// It can't be swapped as it is: its labels make no sense, it does not run, …
    NotSwappable {
        /// Why, and what can be done.
        message: String,
    },
}

impl Hold {
    /// Stable name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::RegistryUnknown { .. } => "registry_unknown",
            Self::NothingMatches { .. } => "nothing_matches",
            Self::NotReady { .. } => "not_ready",
            Self::EngineUnknown { .. } => "engine_unknown",
            Self::TrafficUnknown { .. } => "traffic_unknown",
            Self::Quarantined { .. } => "quarantined",
            Self::Pinned { .. } => "pinned",
            Self::BackingOff { .. } => "backing_off",
            Self::Gated { gate, .. } => gate.label(),
            Self::Group { .. } => "group",
            Self::NotSwappable { .. } => "not_swappable",
        }
    }

    /// When it ends by itself or is looked at again, where that is known.
    pub fn until(&self) -> Option<Time> {
        match self {
            Self::BackingOff { until, .. } => Some(*until),
            Self::Gated { until, .. } | Self::Group { until, .. } => *until,
            _ => None,
        }
    }
}

/// What to do about an app now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// What is wanted serves, and nothing else is left over.
    UpToDate,
    /// Nothing can or may be done.
    Hold(Hold),
    /// Carry out this plan, then look again.
    Act(Box<Plan>),
}
