//! What was decided and why, as data: the log line, the status and the API answer are made from it.

use serde::{Deserialize, Serialize};

use super::{ContainerId, Digest, Gate, Generation, JobKind, SwapId, Tag, Time};

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

/// Why a deployment failed; the label of metrics and of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The image does not run on this host's platform.
    WrongPlatform,
    /// The engine could not run the image's command.
    CannotStart,
    /// The process ended before it had proved itself.
    Exited,
    /// It did not pass the gate in time, or its health check failed.
    Unhealthy,
    /// It ended, turned unhealthy or answered more errors than the old one after the switch.
    FailedInBake,
    /// It ended, restarted or turned unhealthy while it was watched after the deployment.
    FailedInWatch,
    /// Its job before the deployment did not succeed.
    JobFailed,
    /// Its hook at the start did not succeed.
    HookFailed,
    /// The registry did not deliver the image.
    Pull,
    /// The engine refused or did not answer.
    Engine,
    /// The created container differs from what was intended.
    Differs,
    /// The proxy refused or did not answer.
    Traffic,
    /// Somebody removed the candidate.
    CandidateGone,
}

impl FailureReason {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::WrongPlatform => "wrong_platform",
            Self::CannotStart => "cannot_start",
            Self::Exited => "exited",
            Self::Unhealthy => "unhealthy",
            Self::FailedInBake => "failed_in_bake",
            Self::FailedInWatch => "failed_in_watch",
            Self::JobFailed => "job_failed",
            Self::HookFailed => "hook_failed",
            Self::Pull => "pull",
            Self::Engine => "engine",
            Self::Differs => "differs",
            Self::Traffic => "traffic",
            Self::CandidateGone => "candidate_gone",
        }
    }

    /// True when the image itself is at fault, so that trying the same digest again is no use.
    pub fn blames_image(self) -> bool {
        matches!(
            self,
            Self::WrongPlatform
                | Self::CannotStart
                | Self::Exited
                | Self::Unhealthy
                | Self::FailedInBake
                | Self::FailedInWatch
                | Self::JobFailed
                | Self::HookFailed
        )
    }
}

/// A failed step with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where in the swap.
    pub stage: Stage,
    /// The kind.
    pub reason: FailureReason,
    /// One sentence for a person: "exited with code 3 after 0.4 s".
    pub message: String,
    /// The candidate's last lines of output.
    #[serde(default)]
    pub log_tail: Vec<String>,
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
            Self::NotSwappable { .. } => "not_swappable",
        }
    }

    /// When it ends by itself or is looked at again, where that is known.
    pub fn until(&self) -> Option<Time> {
        match self {
            Self::BackingOff { until, .. } => Some(*until),
            Self::Gated { until, .. } => *until,
            _ => None,
        }
    }
}

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
    /// Create the candidate.
    Create,
    /// Compare it with the intention.
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
    /// Start it.
    Start,
    /// Pass the gate.
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
    /// Move the traffic if the proxy's revision is still this.
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
    /// The container that serves now.
    pub serving: Option<ContainerId>,
    /// The container that the traffic goes back to when the bake fails.
    pub fallback: Option<ContainerId>,
    /// The digest that serves now.
    pub previous: Option<Digest>,
    /// The candidate, when it exists already.
    pub candidate: Option<ContainerId>,
    /// The candidate, once it serves, is replaced by the version before it when it fails soon.
    #[serde(default)]
    pub watched: bool,
    /// What to do, in order.
    pub steps: Vec<Step>,
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
