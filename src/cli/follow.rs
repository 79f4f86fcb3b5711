//! Following a swap to its end: by its events while they come, and by its record when they don't.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::client::{Client, ClientError, Events, Told};
use super::exit::Failure;
use super::out::{Out, Tone, safe};
use super::words::took;
use crate::http::{AppView, ProblemKind};
use crate::model::{AppState, Deployment, DeploymentResult, EventKind, Hold, Stage, SwapId};

/// Without events, the record is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// A request that waits behind a swap may still be asking the registry when that swap has ended: only an app that
/// has been at rest for so many looks has nothing to do for it.
const RESTS: u32 = 5;

/// How it ended.
pub(super) enum Ending {
    /// As its record says.
    Ended(Box<Deployment>),
    /// There was no swap; the app is as shown.
    Nothing(Box<AppView>),
    /// It is still under way.
    TooLong,
}

/// Follows one swap.
pub(super) struct Follower<'a> {
    client: &'a Client,
    app: &'a str,
    /// `None` until the swap that was asked for has begun.
    swap: Option<SwapId>,
    /// Stages that were printed.
    told: BTreeSet<Stage>,
    /// Looks in a row that found the app at rest.
    rests: u32,
    deadline: Instant,
}

impl<'a> Follower<'a> {
    pub(super) fn new(client: &'a Client, app: &'a str, swap: Option<SwapId>, patience: Duration) -> Self {
        Self { client, app, swap, told: BTreeSet::new(), rests: 0, deadline: Instant::now() + patience }
    }

    /// Until the end. With `quiet`, nothing is printed on the way.
    pub(super) async fn run(mut self, events: Events, out: &mut Out, quiet: bool) -> Result<Ending, Failure> {
        let mut events = Some(events);
        while Instant::now() < self.deadline {
            let next = (Instant::now() + LOOK).min(self.deadline);
            let told = match &mut events {
                Some(events) => timeout_at(next, events.next()).await,
                None => {
                    tokio::time::sleep_until(next).await;
                    Ok(Some(Told::Gap))
                }
            };
            let ended = match told {
                Ok(Some(Told::Event(event))) => self.happened(event.kind, out, quiet)?,
                // The stream has ended: the agent may be on its way to a new start.
                Ok(None) => {
                    events = None;
                    false
                }
                // Silence is normal in a long stage; for one whose events are lost, the record tells.
                Ok(Some(Told::Gap)) | Err(_) => true,
            };
            if ended && let Some(ending) = self.look(out, quiet).await? {
                return Ok(ending);
            }
        }
        Ok(Ending::TooLong)
    }

    /// Prints what happened; true when the record should be looked at.
    fn happened(&mut self, kind: EventKind, out: &mut Out, quiet: bool) -> io::Result<bool> {
        match kind {
            EventKind::SwapStarted { swap, .. } if self.swap.is_none() => self.swap = Some(swap),
            EventKind::StageStarted { swap, stage } if self.is_mine(&swap) && !quiet => {
                out.passing(&format!("  {:<8} …", stage.label()))?;
            }
            EventKind::Pulling { swap, progress } if self.is_mine(&swap) && !quiet && progress.total > 0 => {
                let percent = progress.done.saturating_mul(100) / progress.total;
                out.passing(&format!("  {:<8} {percent} % of {} MB", "pull", progress.total / 1_000_000))?;
            }
            EventKind::StageFinished { swap, stage, millis, note } if self.is_mine(&swap) => {
                self.finished(stage, millis, &note, out, quiet)?;
            }
            EventKind::SwapSucceeded { swap, .. } | EventKind::SwapFailed { swap, .. } => {
                return Ok(self.is_mine(&swap));
            }
            EventKind::Held { .. } => return Ok(self.swap.is_none()),
            _ => {}
        }
        Ok(false)
    }

    fn is_mine(&self, swap: &SwapId) -> bool {
        self.swap.as_ref() == Some(swap)
    }

    fn finished(&mut self, stage: Stage, millis: u64, note: &str, out: &mut Out, quiet: bool) -> io::Result<()> {
        if quiet || !self.told.insert(stage) {
            return Ok(());
        }
        let text = format!("  {:<8} {:>7}  {}", stage.label(), took(millis), safe(note));
        out.line(Tone::Plain, text.trim_end())
    }

    /// Looks at the record; an agent that does not answer now may be back soon.
    async fn look(&mut self, out: &mut Out, quiet: bool) -> Result<Option<Ending>, Failure> {
        let Some(swap) = &self.swap else { return self.nothing().await };
        let deployment = match self.client.deployment(self.app, swap).await {
            Ok(deployment) => deployment,
            Err(ClientError::Unreachable { .. } | ClientError::BrokenOff(_)) => return Ok(None),
            // It is written when the swap begins, a moment after the answer.
            Err(ClientError::Refused(problem)) if problem.is(ProblemKind::UnknownDeployment) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for step in &deployment.steps {
            if let Some(millis) = step.millis {
                self.finished(step.stage, millis, &step.note, out, quiet)?;
            }
        }
        let running = deployment.result == DeploymentResult::Running;
        Ok(if running { None } else { Some(Ending::Ended(Box::new(deployment))) })
    }

    /// The request waits behind another swap: when the app is at rest without a swap of ours, there was none.
    async fn nothing(&mut self) -> Result<Option<Ending>, Failure> {
        let view = match self.client.app(self.app).await {
            Ok(view) => view,
            Err(ClientError::Unreachable { .. } | ClientError::BrokenOff(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let busy =
            view.status.deploying.is_some() || matches!(view.status.state, AppState::Deploying | AppState::Starting);
        // It waits for its group, and not for long.
        let gathers = matches!(view.status.hold, Some(Hold::Group { until: Some(_), .. }));
        let busy = busy || gathers;
        self.rests = if busy { 0 } else { self.rests + 1 };
        Ok(if self.rests >= RESTS { Some(Ending::Nothing(Box::new(view))) } else { None })
    }
}
