//! What is to be done about an app, step by step, and why.

use serde::{Deserialize, Serialize};

use super::{ContainerId, Digest, Generation, JobKind, Stage, Strategy, SwapId, Tag, Time};

/// Why a plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanReason {
    /// Nothing of the app exists.
    FirstDeployment,
    /// The tag points to another digest than the one that serves.
    TagMoved,
    /// The app's configuration was changed.
    ConfigurationChanged,
    /// A person asked for this digest.
    Pinned,
    /// A person asked for it although nothing had changed.
    Forced,
    /// What served is gone.
    ServingLost,
    /// A swap that an earlier run left before its commit point is carried on.
    ResumedCandidate,
    /// A swap that an earlier run left after its commit point is finished.
    FinishedSwap,
    /// Containers that nothing needs any more are cleared away.
    ClearedLeftovers,
    /// The proxy did not know which container serves.
    RouteRestored,
    /// The version that served failed while it was watched: the one before it comes back.
    WatchFailed,
    /// A job that an earlier run left undone is run.
    JobOwed,
    /// Fewer or more containers of the version serve than the app wants.
    ReplicasChanged,
}

impl PlanReason {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::FirstDeployment => "first_deployment",
            Self::TagMoved => "tag_moved",
            Self::ConfigurationChanged => "configuration_changed",
            Self::Pinned => "pinned",
            Self::Forced => "forced",
            Self::ServingLost => "serving_lost",
            Self::ResumedCandidate => "resumed_candidate",
            Self::FinishedSwap => "finished_swap",
            Self::ClearedLeftovers => "cleared_leftovers",
            Self::RouteRestored => "route_restored",
            Self::WatchFailed => "watch_failed",
            Self::JobOwed => "job_owed",
            Self::ReplicasChanged => "replicas_changed",
        }
    }
}

/// One step of a plan. The executor has no choice left to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Remember that this container's version failed in service, and with what evidence.
    Condemn {
        /// The one that serves.
        container: ContainerId,
        /// Its generation.
        generation: Generation,
        /// The swap that made it.
        swap: SwapId,
        /// Its digest.
        digest: Digest,
        /// What was seen.
        message: String,
    },
    /// Fetch the image by digest, unless the engine has it.
    Pull,
    /// Run a job, or wait for it if it runs already.
    Job {
        /// Which.
        job: JobKind,
    },
    /// Create the container of a job that is run later, so that a crash in between does not lose it.
    Prepare {
        /// Which.
        job: JobKind,
    },
    /// Create the candidates that are missing.
    Create,
    /// Compare the candidates that never ran with the intention.
    Compare,
    /// Have the app's new requests wait at the proxy, if its revision is still this, until the switch or the restoring.
    Hold {
        /// The revision expected.
        expect: u64,
    },
    /// Take the restart policy from this container and stop it; it is kept.
    Park {
        /// The one that serves.
        container: ContainerId,
    },
    /// Start the candidates.
    Start,
    /// Have each of them pass the gate.
    Gate,
    /// Set the user's restart policy.
    Arm,
    /// Recreate the containers that have this one's network, shared memory, processes or volumes, in their order, so
    /// that they have the candidate's.
    Follow {
        /// The one that has been replaced.
        container: ContainerId,
    },
    /// Rename the old one, if it still has the name, then give the name to the candidate.
    Take {
        /// The one that has the name.
        old: Option<ContainerId>,
    },
    /// Move the traffic to the candidates, and to what stays, if the proxy's revision is still this.
    Switch {
        /// The revision expected.
        expect: u64,
    },
    /// Watch until then; the old version is still warm.
    Bake {
        /// Until when; `None`: the configured time from the switch on.
        until: Option<Time>,
    },
    /// Drain these containers.
    Drain {
        /// Which.
        containers: Vec<ContainerId>,
    },
    /// Stop these containers.
    Stop {
        /// Which.
        containers: Vec<ContainerId>,
    },
    /// Remove these containers; their images stay as far as `keep` says.
    Retire {
        /// Which.
        containers: Vec<ContainerId>,
    },
    /// Start this container again, with this restart policy. Behind the proxy it is probed, and what waits is sent to it.
    Restore {
        /// The one that was parked.
        container: ContainerId,
        /// Its `HostConfig.RestartPolicy` before; `None` leaves it as it is.
        restart: Option<String>,
    },
}

impl Step {
    /// The stage that it is shown as.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Condemn { .. } => Stage::Watch,
            Self::Pull => Stage::Pull,
            Self::Job { job } => job.stage(),
            Self::Prepare { .. } => Stage::Prepare,
            Self::Create => Stage::Create,
            Self::Compare => Stage::Compare,
            Self::Hold { .. } => Stage::Hold,
            Self::Park { .. } => Stage::Park,
            Self::Start => Stage::Start,
            Self::Gate => Stage::Gate,
            Self::Arm => Stage::Arm,
            Self::Take { .. } => Stage::Take,
            Self::Follow { .. } => Stage::Follow,
            Self::Switch { .. } => Stage::Switch,
            Self::Bake { .. } => Stage::Bake,
            Self::Drain { .. } => Stage::Drain,
            Self::Stop { .. } => Stage::Stop,
            Self::Retire { .. } => Stage::Retire,
            Self::Restore { .. } => Stage::Restore,
        }
    }
}

/// The steps that bring an app from what is observed to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id.
    pub swap: SwapId,
    /// Why.
    pub reason: PlanReason,
    /// How.
    pub strategy: Strategy,
    /// Why so, for a person.
    #[serde(default)]
    pub strategy_reason: String,
    /// The digest that serves afterwards.
    pub digest: Digest,
    /// The tag that points to it, unless it is wanted for itself.
    #[serde(default)]
    pub tag: Option<Tag>,
    /// The generation that serves afterwards.
    pub generation: Generation,
    /// The containers that serve now.
    pub serving: Vec<ContainerId>,
    /// The containers that the traffic goes back to when the bake fails.
    pub fallback: Vec<ContainerId>,
    /// The digest that serves now.
    pub previous: Option<Digest>,
    /// The candidates that exist already.
    pub candidates: Vec<ContainerId>,
    /// The numbers of the candidates that are still to be created.
    #[serde(default)]
    pub missing: Vec<u32>,
    /// Containers of the same version that serve now and go on doing so, beside the candidates.
    #[serde(default)]
    pub stay: Vec<ContainerId>,
    /// The candidate, once it serves, is replaced by the version before it when it fails soon.
    #[serde(default)]
    pub watched: bool,
    /// What to do, in order.
    pub steps: Vec<Step>,
}
