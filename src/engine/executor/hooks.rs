//! Hooks: something is done to an app's own container when it comes or goes.

use crate::decide::undo::{Undo, undo};
use crate::model::{Container, ContainerId, FailureReason, Hook, HookAct, PlanReason, Probe, Stage};

use super::{Halt, Swap, chain};

impl Swap<'_> {
    /// The last part of a new version's gate. What comes back into service has had it.
    pub(super) async fn post_start(&self, container: &Container) -> Result<String, Halt> {
        let hook = self.executor.app.hooks.post_start.as_ref();
        let Some(hook) = hook.filter(|_| undo(self.plan, Stage::Gate) != Undo::Leave) else { return Ok(String::new()) };
        match self.hooked("post_start", hook, container).await? {
            Ok(said) => Ok(format!(", post_start {said}")),
            Err(why) => Err(Halt::Failed(FailureReason::HookFailed, format!("the post_start hook {why}"))),
        }
    }

    /// In one that has served and is to be stopped. Whatever comes of it, the stop goes on.
    pub(super) async fn pre_stop(&self, container: &Container) -> Result<String, Halt> {
        let hook = self.executor.app.hooks.pre_stop.as_ref();
        let Some(hook) = hook.filter(|_| container.is_running()) else { return Ok(String::new()) };
        match self.hooked("pre_stop", hook, container).await? {
            Ok(said) => Ok(format!("pre_stop {said}")),
            Err(why) => {
                let (app, container) = (self.executor.app.name.as_str(), container.name.as_str());
                tracing::warn!(app, container, "the pre_stop hook {why}; it is stopped all the same");
                Ok(format!("pre_stop failed: it {why}"))
            }
        }
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

    /// Runs a hook; the inner result says what came of it.
    async fn hooked(&self, name: &str, hook: &Hook, container: &Container) -> Result<Result<String, String>, Halt> {
        let (app, ports) = (self.executor.app.name.as_str(), &self.executor.ports);
        let acted = async {
            match &hook.act {
                HookAct::Exec(command) => {
                    let done = ports.engine.exec(&container.id, command, hook.timeout).await;
                    done.map_err(|error| format!("could not be run: {}", chain(&error))).and_then(|done| {
                        let said = done.output.last().map(|line| format!(": {line}")).unwrap_or_default();
                        let ended = format!("ended with exit code {}{said}", done.exit_code);
                        if done.exit_code == 0 { Ok(ended) } else { Err(ended) }
                    })
                }
                HookAct::Http { method, path } => {
                    let target = self.target(container)?;
                    let request = Probe::Request { method: method.clone(), path: path.clone() };
                    let answer = ports.traffic.probe(target.addr, &request, hook.timeout).await;
                    let answer = answer.map_err(|error| format!("could not be asked: {}", chain(&error)))?;
                    let said = format!("had the answer {}", answer.detail);
                    if answer.ok { Ok(said) } else { Err(said) }
                }
            }
        };
        let result = tokio::select! {
            result = acted => result,
            () = self.executor.shutdown.cancelled() => return Err(Halt::Interrupted),
        };
        let label = if result.is_ok() { "succeeded" } else { "failed" };
        ports.metrics.hooks_total.with_label_values(&[app, name, label]).inc();
        Ok(result)
    }
}
