//! A step failed: what becomes of the candidate, and is its digest to blame?

use crate::model::{FailureReason, Plan, PlanReason, Stage, Strategy};

/// What to do about the candidate of a failed plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// Nothing: the next look finds what is there and carries on.
    Leave,
    /// Stop it and keep it for inspection. Only allowed once the proxy has said that it does not serve.
    Abandon,
    /// Move the traffic back to the fallback, then abandon it.
    Revert,
    /// Remove what failed of it, and leave the rest: what serves is of the same version, and is one short at worst.
    Dismiss,
    /// Stop it, start what it was to replace again, then keep it for inspection. Behind the proxy only once that has
    /// said that it does not serve.
    Return,
}

/// What to do after `plan` failed at `stage`.
pub fn undo(plan: &Plan, stage: Stage) -> Undo {
    match plan.reason {
        // These concern containers that were in service: they are never abandoned.
        PlanReason::RouteRestored | PlanReason::ClearedLeftovers | PlanReason::JobOwed => return Undo::Leave,
        PlanReason::ServingLost if !plan.candidates.is_empty() => return Undo::Leave,
        PlanReason::ReplicasChanged if plan.candidates.is_empty() && plan.missing.is_empty() => return Undo::Leave,
        PlanReason::ReplicasChanged => return Undo::Dismiss,
        // By name, what is finished has taken over already.
        PlanReason::FinishedSwap if plan.strategy != Strategy::Proxy => return Undo::Leave,
        _ => {}
    }
    if plan.strategy == Strategy::Hold && !plan.serving.is_empty() {
        return match stage {
            // Nothing waits yet, and what serves was not touched.
            Stage::Watch | Stage::Pull | Stage::PreDeploy | Stage::Create | Stage::Compare | Stage::Prepare => {
                Undo::Abandon
            }
            Stage::Stop | Stage::Retire | Stage::PostDeploy | Stage::FailedDeploy => Undo::Leave,
            _ => Undo::Return,
        };
    }
    if plan.strategy.is_by_name() {
        let committed = matches!(
            stage,
            Stage::Take
                | Stage::Arm
                | Stage::Follow
                | Stage::Stop
                | Stage::Retire
                | Stage::Restore
                | Stage::PostDeploy
                | Stage::FailedDeploy
        );
        return if committed { Undo::Leave } else { Undo::Return };
    }
    match stage {
        Stage::Bake if !plan.fallback.is_empty() => Undo::Revert,
        Stage::Bake | Stage::Drain | Stage::Stop | Stage::Retire | Stage::PostDeploy | Stage::FailedDeploy => {
            Undo::Leave
        }
        _ if plan.reason == PlanReason::FinishedSwap => Undo::Leave,
        _ => Undo::Abandon,
    }
}

/// True when the digest must not be tried again by itself.
pub fn quarantines(plan: &Plan, stage: Stage, reason: FailureReason) -> bool {
    reason.blames_image() && !matches!(undo(plan, stage), Undo::Leave | Undo::Dismiss)
}
