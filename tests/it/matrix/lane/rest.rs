//! What has to be there when a swap has come to rest.

use super::*;

impl Lane {
    /// All containers of the app and of its swaps.
    pub(super) fn containers(&self) -> Vec<Value> {
        let app = self.program.setup.app;
        let filter = label(app, self.strategy);
        let docker = self.program.docker();
        let ids = docker.must(&["ps", "-aq", "--filter", &filter]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let inspected = docker.cli(&[["inspect"].as_slice(), ids.as_slice()].concat());
        serde_json::from_slice(&inspected.stdout).unwrap_or_default()
    }

    /// Waits until this digest serves, and there is one container, as it was.
    pub(super) async fn converged(&self, digest: &str, since: Instant) -> Result<(), String> {
        loop {
            let status = self.program.status().await.unwrap_or_default();
            let said = status["state"] == "up_to_date"
                && (digest.is_empty() || status["deployed"]["digest"] == digest)
                && status["deploying"].is_null();
            let problem = if said { self.as_wanted() } else { Some(format!("status: {status:#}")) };
            let Some(problem) = problem else { return Ok(()) };
            if since.elapsed() > LIMIT {
                return Err(format!("not converged within {LIMIT:?}: {problem}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is wrong with the containers.
    pub(super) fn as_wanted(&self) -> Option<String> {
        let containers = self.containers();
        if containers.len() != self.strategy.count() {
            let names: Vec<String> =
                containers.iter().map(|c| format!("{} {}", c["Name"], c["State"]["Status"])).collect();
            return Some(format!("there are {names:?}"));
        }
        containers.iter().find_map(|container| self.is_not_as_wanted(container))
    }

    pub(super) fn is_not_as_wanted(&self, only: &Value) -> Option<String> {
        let policy = only["HostConfig"]["RestartPolicy"]["Name"].as_str().unwrap_or_default();
        let named = self.strategy.is_declared() || only["Name"] == format!("/{}", self.program.setup.app);
        let wanted = self.strategy.policy(self.program.setup.engine.is_some());
        let fine = only["State"]["Status"] == "running" && policy == wanted && named;
        (!fine).then(|| format!("{} is {} with policy {policy}", only["Name"], only["State"]["Status"]))
    }

    /// No entry is left open, and the swap is there as far as it can be remembered.
    pub(super) async fn history(&self, digest: &str, harm: Harm) -> Result<(), String> {
        let path = format!("/apps/{}/deployments", self.program.setup.app);
        let read = wait_for(LIMIT * 2, "the history can be read", || self.program.get(&path));
        let history = tokio::time::timeout(LIMIT, read).await.map_err(|_| "the history can't be read")?;
        let all = history.as_array().or_else(|| history["deployments"].as_array()).cloned().unwrap_or_default();
        if let Some(open) = all.iter().find(|entry| entry["result"] == "running") {
            return Err(format!("the history has a swap that never ended: {open:#}"));
        }
        let there = all.iter().any(|entry| entry["digest"] == digest && entry["result"] == "succeeded");
        if matches!(harm, Harm::Intact | Harm::Proxy | Harm::Power) && !there {
            return Err(format!("the history does not tell of the swap: {history:#}"));
        }
        Ok(())
    }
}
