//! Hooks: something is done to an app's own container when it comes or goes.

use crate::decide::undo::{Undo, undo};
use crate::model::{Container, ContainerId, FailureReason, Hook, HookAct, PlanReason, Probe, Stage};
use crate::ports::EngineErrorKind;

use super::{Halt, Swap, chain};

impl Swap<'_> {
    /// The last part of a new version's gate. What comes back into service has had it.
    pub(super) async fn post_start(&self, container: &Container) -> Result<String, Halt> {
        let hook = self.executor.app.hooks.post_start.as_ref();
        // A replica that is started again to join the others has its restart policy from when it was new.
        let is_back = self.plan.reason == PlanReason::ReplicasChanged && container.restart_policy != "no";
        let is_new = !is_back && undo(self.plan, Stage::Gate) != Undo::Leave;
        let Some(hook) = hook.filter(|_| is_new) else { return Ok(String::new()) };
        match self.hooked("post_start", hook, container).await? {
            Ok(said) => Ok(format!(", post_start {said}")),
            Err(why) => Err(Halt::Failed(FailureReason::HookFailed, format!("the post_start hook {why}"))),
        }
    }

    /// In one that has served and is to be stopped. Whatever comes of it, the stop goes on.
    pub(super) async fn pre_stop(&self, container: &Container) -> Result<String, Halt> {
        let hook = self.executor.app.hooks.pre_stop.as_ref();
        let Some(hook) = hook.filter(|_| container.is_running()) else { return Ok(String::new()) };
        let why = match self.hooked("pre_stop", hook, container).await {
            Ok(Ok(said)) => return Ok(format!("pre_stop {said}")),
            Ok(Err(why)) | Err(Halt::Failed(_, why)) => why,
            Err(halt) => return Err(halt),
        };
        let (app, container) = (self.executor.app.name.as_str(), container.name.as_str());
        tracing::warn!(app, container, "the pre_stop hook failed, and it is stopped all the same: {why}");
        Ok(format!("pre_stop failed: {why}"))
    }

    /// As `pre_stop`, for one that is to be stopped because another has taken over, and not one that never served.
    pub(super) async fn before_stop(&self, id: &ContainerId) -> Result<String, Halt> {
        let retires = self.plan.reason != PlanReason::ClearedLeftovers && self.executor.app.hooks.pre_stop.is_some();
        if !retires {
            return Ok(String::new());
        }
        match self.executor.ports.engine.inspect(id).await {
            Ok((container, _)) => self.pre_stop(&container).await,
            // The stop says what is wrong.
            Err(_) => Ok(String::new()),
        }
    }

    /// Runs a hook; the inner result says what came of it, the outer one whether it could be asked for at all.
    async fn hooked(&self, name: &str, hook: &Hook, container: &Container) -> Result<Result<String, String>, Halt> {
        let acted = async {
            match &hook.act {
                HookAct::Exec(command) => self.exec(command, hook, container).await,
                HookAct::Http { method, path } => self.ask(method, path, hook, container).await,
            }
        };
        let result = tokio::select! {
            result = acted => result,
            () = self.executor.shutdown.cancelled(), if !self.is_away() => return Err(Halt::Interrupted),
        };
        let label = if matches!(result, Ok(Ok(_))) { "succeeded" } else { "failed" };
        let (app, metrics) = (self.executor.app.name.as_str(), &self.executor.ports.metrics);
        metrics.hooks_total.with_label_values(&[app, name, label]).inc();
        result
    }

    async fn exec(
        &self,
        command: &[String],
        hook: &Hook,
        container: &Container,
    ) -> Result<Result<String, String>, Halt> {
        let done = match self.executor.ports.engine.exec(&container.id, command, hook.timeout).await {
            Ok(done) => done,
            // There is no such command.
            Err(error) if error.kind == EngineErrorKind::Refused => return Ok(Err(chain(&error))),
            Err(error) => return Err(error.into()),
        };
        let said = done.output.last().map(|line| format!(": {line}")).unwrap_or_default();
        Ok(match done.exit_code {
            Some(0) => Ok(format!("ended with exit code 0{said}")),
            Some(code) => Err(format!("ended with exit code {code}{said}")),
            None => Err(format!("did not end within {}", humantime::format_duration(hook.timeout))),
        })
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        hook: &Hook,
        container: &Container,
    ) -> Result<Result<String, String>, Halt> {
        let target = self.target(container).map_err(|why| Halt::Failed(FailureReason::Engine, why))?;
        let request = Probe::Request { method: method.to_owned(), path: path.to_owned() };
        let answer = self.executor.ports.traffic.probe(target.addr, &request, hook.timeout).await;
        let answer = answer.map_err(|error| Halt::Failed(FailureReason::Traffic, chain(&error)))?;
        let said = format!("had the answer {}", answer.detail);
        Ok(if answer.ok { Ok(said) } else { Err(said) })
    }
}
