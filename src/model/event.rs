//! What happened: the one stream that metrics, history, log, dashboard and API are fed from.

use serde::{Deserialize, Serialize};

use super::{
    AppName, ContainerId, Digest, Failure, Generation, GroupName, GroupResult, Hold, JobKind, PlanReason, SeenSource,
    Stage, Strategy, SwapId, Tag, Time,
};

/// One thing that happened to one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// To which app.
    pub app: AppName,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// How far a pull has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PullProgress {
    /// Bytes fetched.
    pub done: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// Something asked for a look.
    Activated {
        /// What.
        source: SeenSource,
    },
    /// The registry was asked.
    Checked {
        /// `unchanged`, `changed` or `unknown`.
        result: String,
        /// What the tag points to, if that is known.
        digest: Option<Digest>,
        /// Why it is unknown.
        message: Option<String>,
    },
    /// A policy follows another tag than before.
    TagChosen {
        /// The tag before.
        from: Option<Tag>,
        /// The tag now.
        to: Tag,
    },
    /// The tag points to a digest that was not seen under it before.
    DigestChanged {
        /// The digest before.
        from: Option<Digest>,
        /// The digest now.
        to: Digest,
        /// What made us look.
        source: SeenSource,
    },
    /// A plan is carried out.
    SwapStarted {
        /// The swap.
        swap: SwapId,
        /// Why.
        reason: PlanReason,
        /// What is deployed.
        digest: Digest,
        /// As which generation.
        generation: Generation,
    },
    /// A stage began.
    StageStarted {
        /// The swap.
        swap: SwapId,
        /// The stage.
        stage: Stage,
    },
    /// A pull went on.
    Pulling {
        /// The swap.
        swap: SwapId,
        /// How far it is.
        #[serde(flatten)]
        progress: PullProgress,
    },
    /// A stage ended well.
    StageFinished {
        /// The swap.
        swap: SwapId,
        /// The stage.
        stage: Stage,
        /// How long it took.
        millis: u64,
        /// What there is to say about it.
        note: String,
    },
    /// Something about the new version that may bite, although it is no failure.
    Noticed {
        /// The swap.
        swap: SwapId,
        /// It.
        message: String,
    },
    /// A job ended.
    JobEnded {
        /// The swap that it belongs to.
        swap: SwapId,
        /// Which.
        job: JobKind,
        /// It did what it should.
        ok: bool,
        /// How it ended, in words.
        message: String,
        /// How long it took.
        millis: u64,
        /// The last lines of its output.
        log_tail: Vec<String>,
    },
    /// A version that served failed while it was watched, and the one before it comes back.
    WatchFailed {
        /// The swap that had put it into service.
        swap: SwapId,
        /// It.
        digest: Digest,
        /// How it failed.
        failure: Failure,
        /// What comes back.
        back_to: Digest,
    },
    /// A swap ended well.
    SwapSucceeded {
        /// The swap.
        swap: SwapId,
        /// Why it was done.
        reason: PlanReason,
        /// What serves.
        digest: Digest,
        /// All in all.
        millis: u64,
        /// How it was done.
        strategy: Strategy,
        /// How long nothing served.
        gap_millis: u64,
    },
    /// A swap ended badly; the old version serves.
    SwapFailed {
        /// The swap.
        swap: SwapId,
        /// What was tried.
        digest: Digest,
        /// How it failed.
        failure: Failure,
        /// The traffic had been moved and was moved back.
        rolled_back: bool,
        /// The digest is quarantined.
        quarantined: bool,
        /// How it was tried.
        strategy: Strategy,
    },
    /// Nothing is done although something is wanted.
    Held {
        /// Why.
        #[serde(flatten)]
        hold: Hold,
    },
    /// A person approved of a version.
    Approved {
        /// This one.
        digest: Digest,
        /// Who, as they called themselves.
        by: String,
    },
    /// The container that served is gone and nothing can take its place at once.
    ServingLost {
        /// It.
        container: ContainerId,
    },
    /// Apps of a group move together.
    GroupStarted {
        /// The group.
        group: GroupName,
        /// The group's deployment.
        deployment: SwapId,
        /// The apps, this one among them.
        members: Vec<AppName>,
    },
    /// All of them were switched, in one generation of the proxy's table.
    GroupSwitched {
        /// The group.
        group: GroupName,
        /// The group's deployment.
        deployment: SwapId,
        /// The table's generation.
        table: u64,
    },
    /// The deployment of a group has ended.
    GroupEnded {
        /// The group.
        group: GroupName,
        /// The group's deployment.
        deployment: SwapId,
        /// How.
        result: GroupResult,
        /// What there is to say about that.
        message: String,
    },
    /// A quarantine was lifted.
    QuarantineLifted {
        /// Of this digest.
        digest: Digest,
    },
}

impl EventKind {
    /// Stable name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Activated { .. } => "activated",
            Self::Checked { .. } => "checked",
            Self::TagChosen { .. } => "tag_chosen",
            Self::DigestChanged { .. } => "digest_changed",
            Self::SwapStarted { .. } => "swap_started",
            Self::StageStarted { .. } => "stage_started",
            Self::Pulling { .. } => "pulling",
            Self::StageFinished { .. } => "stage_finished",
            Self::Noticed { .. } => "noticed",
            Self::JobEnded { .. } => "job_ended",
            Self::WatchFailed { .. } => "watch_failed",
            Self::SwapSucceeded { .. } => "swap_succeeded",
            Self::SwapFailed { .. } => "swap_failed",
            Self::Held { .. } => "held",
            Self::Approved { .. } => "approved",
            Self::ServingLost { .. } => "serving_lost",
            Self::GroupStarted { .. } => "group_started",
            Self::GroupSwitched { .. } => "group_switched",
            Self::GroupEnded { .. } => "group_ended",
            Self::QuarantineLifted { .. } => "quarantine_lifted",
        }
    }
}
