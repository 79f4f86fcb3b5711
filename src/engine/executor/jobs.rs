//! Jobs: containers that run once, beside the versions of an app.
//!
//! Safe against a crash at any point: what runs is found by its labels and waited for, what has ended gives its exit
//! code, and a container is only removed once its result stands somewhere else. `decide::jobs` says which are owed.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::decide::jobs::was_cut_off;
use crate::engine::clock::Utc;
use crate::model::{
    Container, ContainerId, ContainerState, EventKind, FailureReason, Health, JobContainer, JobKind, Plan, Step,
};
use crate::ports::EngineErrorKind;

use super::undoing::LOG_LINES;
use super::{Halt, LOOK, Stepped, Swap, chain, millis};

/// An engine that does not answer is waited for so long after a job's deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// So often a job is run in a row when the engine is restarted under it.
const ATTEMPTS: usize = 3;

/// How a job's container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Exited(Box<Container>),
    TimedOut,
    Gone,
    /// What serves has got into trouble, which comes first: the job is left running.
    Left,
}

/// What a job came to.
struct Ran {
    ok: bool,
    message: String,
    log_tail: Vec<String>,
    container: ContainerId,
}

impl Swap<'_> {
    /// Runs a job, or waits for it if it runs already. Only of the one before the deployment a failure is one.
    pub(super) async fn job(&mut self, kind: JobKind) -> Stepped {
        if self.executor.app.jobs.get(kind).is_none() {
            return Ok("there is no such job any more".to_owned());
        }
        let timer = Instant::now();
        let result = match self.run(kind).await {
            Ok(result) => result,
            Err(Halt::Failed(_, message)) if kind != JobKind::PreDeploy => {
                self.tell(kind, false, &message, timer, Vec::new());
                return Ok(format!("it could not be run: {message}"));
            }
            Err(halt) => return Err(halt),
        };
        self.tell(kind, result.ok, &result.message, timer, result.log_tail.clone());
        self.used.push(result.container);
        self.output = result.log_tail;
        if result.ok || kind != JobKind::PreDeploy {
            let failed = if result.ok { "" } else { "it failed: " };
            return Ok(format!("{failed}{}", result.message));
        }
        Err(Halt::Failed(FailureReason::JobFailed, format!("the pre_deploy job {}", result.message)))
    }

    /// Makes the container of a job that is run later. That it can't be made is no reason to stop.
    pub(super) async fn prepare(&mut self, kind: JobKind) -> Stepped {
        match self.make_job(kind, None).await {
            Ok(name) => Ok(name),
            Err(halt @ (Halt::Interrupted | Halt::Away(_))) => Err(halt),
            Err(Halt::Failed(_, message)) => {
                let app = self.executor.app.name.as_str();
                tracing::warn!(app, job = kind.label(), "the job could not be prepared: {message}");
                Ok(format!("not possible: {message}"))
            }
        }
    }

    fn tell(&self, kind: JobKind, ok: bool, message: &str, timer: Instant, log_tail: Vec<String>) {
        let (swap, message) = (self.plan.swap.clone(), message.to_owned());
        let millis = millis(timer.elapsed());
        self.executor.publish(EventKind::JobEnded { swap, job: kind, ok, message, millis, log_tail });
    }

    /// Removes the containers of jobs whose results have been used.
    pub(super) async fn dismiss(&mut self) {
        for id in std::mem::take(&mut self.used) {
            if let Err(error) = self.executor.ports.engine.remove(&id).await {
                let app = self.executor.app.name.as_str();
                tracing::warn!(app, "the container of a job that has ended is still there: {}", chain(&error));
            }
        }
    }

    async fn run(&mut self, kind: JobKind) -> Result<Ran, Halt> {
        let timer = Instant::now();
        self.clear_way(kind).await?;
        let serving = if self.candidates.is_empty() { &self.plan.serving } else { &self.candidates };
        let serving = if kind == JobKind::PostDeploy { serving.clone() } else { Vec::new() };
        for _ in 0..ATTEMPTS {
            let job = self.found_or_made(kind).await?;
            let id = job.container.id.clone();
            if job.container.state == ContainerState::Created
                && let Err(error) = self.executor.ports.engine.start(&id).await
            {
                if error.kind != EngineErrorKind::Refused {
                    return Err(error.into());
                }
                let message = format!("can't be run: {}", chain(&error));
                return Ok(Ran { ok: false, message, log_tail: Vec::new(), container: id });
            }
            let (end, away) = self.wait_for(&id, job.timeout, &serving).await?;
            let cut_off = |ended: &Container| was_cut_off(&JobContainer { container: ended.clone(), ..job.clone() });
            if away && matches!(&end, End::Exited(ended) if cut_off(ended)) {
                // The engine's restart is not the version's fault: what is left of it is found by the next attempt.
                continue;
            }
            let log_tail = self.executor.ports.engine.logs(&id, LOG_LINES).await.unwrap_or_default();
            let (ok, message) = judged(&end, job.timeout, timer.elapsed())?;
            return Ok(Ran { ok, message, log_tail, container: id });
        }
        Err(Halt::Failed(FailureReason::Engine, "the engine was restarted under it, again and again".to_owned()))
    }

    /// Two migrations at once would be worse than a late one: those of other deployments have to have ended.
    async fn clear_way(&self, kind: JobKind) -> Result<(), Halt> {
        let engine = &self.executor.ports.engine;
        let jobs = engine.jobs(&self.executor.app.name).await?;
        let others = jobs.iter().filter(|job| kind == JobKind::PreDeploy && job.kind == kind);
        for other in others.filter(|job| !is_of(job, kind, self.plan)) {
            self.wait_for(&other.container.id, other.timeout, &[]).await?;
            engine.remove(&other.container.id).await?;
        }
        Ok(())
    }

    /// The job's container: one that an earlier run has left, unless it was cut off, or a new one.
    async fn found_or_made(&self, kind: JobKind) -> Result<JobContainer, Halt> {
        let (app, engine) = (&self.executor.app.name, &self.executor.ports.engine);
        let find = async || -> Result<Option<JobContainer>, Halt> {
            Ok(engine.jobs(app).await?.into_iter().find(|job| is_of(job, kind, self.plan)))
        };
        if let Some(job) = find().await? {
            if !(is_over(&job.container) && was_cut_off(&job)) {
                return Ok(job);
            }
            tracing::warn!(app = app.as_str(), job = kind.label(), "the job was cut off: it runs again");
            engine.remove(&job.container.id).await?;
        }
        self.make_job(kind, None).await?;
        let lost = || Halt::Failed(FailureReason::Engine, "the container of the job is not to be found".to_owned());
        find().await?.ok_or_else(lost)
    }

    /// Waits until a job has ended, and ends it at its deadline. Its output goes to the log meanwhile. Also tells whether the
    /// engine was away in between.
    async fn wait_for(&self, id: &ContainerId, timeout: Duration, beside: &[ContainerId]) -> Result<(End, bool), Halt> {
        let engine = &self.executor.ports.engine;
        let before = self.trouble(beside).await;
        let mut lines = engine.output(id).await.unwrap_or_else(|_| futures_util::stream::pending().boxed());
        let given_up = Instant::now() + timeout + PATIENCE;
        let mut away = false;
        loop {
            match engine.inspect(id).await {
                Ok((container, _)) if is_over(&container) => return Ok((End::Exited(Box::new(container)), away)),
                Ok((container, _)) => {
                    let until = container.started.unwrap_or(container.created) + timeout;
                    if Utc::now() >= until {
                        engine.stop(id).await?;
                        return Ok((End::TimedOut, away));
                    }
                }
                Err(error) if error.kind == EngineErrorKind::NotFound => return Ok((End::Gone, away)),
                Err(error) if Instant::now() >= given_up => return Err(error.into()),
                Err(error) if !away => {
                    away = true;
                    let app = self.executor.app.name.as_str();
                    tracing::warn!(app, "whether the job has ended is not known: {}", chain(&error));
                }
                Err(_) => {}
            }
            self.listen(&mut lines).await?;
            if !beside.is_empty() && self.trouble(beside).await > before {
                return Ok((End::Left, away));
            }
        }
    }

    /// A number that grows when containers fare worse.
    async fn trouble(&self, containers: &[ContainerId]) -> u64 {
        let mut trouble: u64 = 0;
        for id in containers {
            let Ok(seen) = self.inspect(id).await else { continue };
            let ill = !seen.is_running() || seen.health == Some(Health::Unhealthy);
            trouble = trouble.saturating_add(seen.restart_count.saturating_mul(2) + u64::from(ill));
        }
        trouble
    }

    /// Lets a moment pass and logs what the job says meanwhile.
    async fn listen(&self, lines: &mut BoxStream<'static, String>) -> Result<(), Halt> {
        let moment = Instant::now() + LOOK;
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = tokio::time::sleep_until(moment) => return Ok(()),
                () = self.executor.shutdown.cancelled() => return Err(Halt::Interrupted),
            };
            match line {
                Some(line) => tracing::debug!(app = self.executor.app.name.as_str(), "job: {line}"),
                None => {
                    *lines = futures_util::stream::pending().boxed();
                    // It has probably ended: look soon, but not at once, should only the connection have.
                    return self.pause(LOOK / 10).await;
                }
            }
        }
    }
}

/// Whether a job did what it should, and how it ended in words.
fn judged(end: &End, timeout: Duration, took: Duration) -> Result<(bool, String), Halt> {
    let took = took.as_secs_f64();
    Ok(match end {
        End::Exited(container) if container.oom_killed => {
            (false, format!("was killed for its memory limit after {took:.1} s"))
        }
        End::Exited(container) => {
            (container.exit_code == 0, format!("exited with code {} after {took:.1} s", container.exit_code))
        }
        End::TimedOut => (false, format!("did not end within {}", humantime::format_duration(timeout))),
        End::Gone => (false, "was removed by somebody before it had ended".to_owned()),
        End::Left => {
            let message = "the version is in trouble, which comes first".to_owned();
            return Err(Halt::Failed(FailureReason::Exited, message));
        }
    })
}

/// The generation of the version that a plan's job is about: of what comes back it is the one that failed.
pub(super) fn subject(plan: &Plan, kind: JobKind) -> crate::model::Generation {
    let condemned = plan.steps.iter().find_map(|step| match step {
        Step::Condemn { generation, .. } => Some(*generation),
        _ => None,
    });
    condemned.filter(|_| kind == JobKind::FailedDeploy).unwrap_or(plan.generation)
}

fn is_of(job: &JobContainer, kind: JobKind, plan: &Plan) -> bool {
    let digest = kind != JobKind::PreDeploy || job.container.owned.digest == plan.digest;
    job.kind == kind && digest && job.container.owned.generation == subject(plan, kind)
}

fn is_over(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited | ContainerState::Dead | ContainerState::Removing)
}
