//! How a deployment failed.

use serde::{Deserialize, Serialize};

use super::Stage;

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
    /// Another app of its group failed, so that none of them moved.
    Group,
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
            Self::Group => "group",
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
