//! What runs around a deployment: jobs in containers of their own, and hooks in the app's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Container, Stage};

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// With the new image, before anything else moves. Its failure is the deployment's.
    PreDeploy,
    /// With the new image, when the swap is complete. Its failure is told.
    PostDeploy,
    /// With the image that serves, after a deployment that failed by the version's own fault. Its failure is told.
    FailedDeploy,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::PreDeploy, Self::PostDeploy, Self::FailedDeploy];

    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::PreDeploy => "pre_deploy",
            Self::PostDeploy => "post_deploy",
            Self::FailedDeploy => "failed_deploy",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == name)
    }

    /// The stage that it is shown as.
    pub fn stage(self) -> Stage {
        match self {
            Self::PreDeploy => Stage::PreDeploy,
            Self::PostDeploy => Stage::PostDeploy,
            Self::FailedDeploy => Stage::FailedDeploy,
        }
    }
}

/// A command that is run once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Takes the place of the container's command; never empty.
    pub command: Vec<String>,
    /// Takes the place of the entrypoint; `None` keeps the container's.
    pub entrypoint: Option<Vec<String>>,
    /// It may take so long; then it is ended.
    pub timeout: Duration,
}

/// The jobs of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Jobs {
    /// Before a deployment.
    pub pre_deploy: Option<Job>,
    /// After it.
    pub post_deploy: Option<Job>,
    /// After one that failed.
    pub failed_deploy: Option<Job>,
}

impl Jobs {
    /// The job of a kind, if there is one.
    pub fn get(&self, kind: JobKind) -> Option<&Job> {
        match kind {
            JobKind::PreDeploy => self.pre_deploy.as_ref(),
            JobKind::PostDeploy => self.post_deploy.as_ref(),
            JobKind::FailedDeploy => self.failed_deploy.as_ref(),
        }
    }
}

/// The container of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobContainer {
    /// Which job, by its label.
    pub kind: JobKind,
    /// The time that it was given, by its label.
    pub timeout: Duration,
    /// It; generation, digest and swap are those of the deployment that it belongs to.
    pub container: Container,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAct {
    /// Runs a command in the container; never empty.
    Exec(Vec<String>),
    /// Sends a request to the container's own address and port.
    Http {
        /// The method, upper-case.
        method: String,
        /// The path, with a `/` in front.
        path: String,
    },
}

/// Something that is done to the app's own container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What.
    pub act: HookAct,
    /// It may take so long.
    pub timeout: Duration,
}

/// The hooks of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// In the new container, as the last part of its gate.
    pub post_start: Option<Hook>,
    /// In the old container, before it is stopped.
    pub pre_stop: Option<Hook>,
}

/// What a command in a container came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutcome {
    /// Its exit code; `None` when it had not ended in time.
    pub exit_code: Option<i64>,
    /// The last lines of its output.
    pub output: Vec<String>,
}
