//! What is asked of one app and concerns its group.

use tokio::sync::oneshot;

use super::{Handle, Slot};
use crate::engine::asked::{Command, DeployRequest, RollbackTo};
use crate::engine::group::followed;
use crate::model::{AppName, Deployment, DeploymentResult, GroupPart};

/// History entries that are searched for what serves.
const HISTORY: usize = 50;

impl Handle {
    /// Asks the same of the processes of one image; of `--force` only the one that was named is deployed anew.
    pub(super) fn deploy_with(&self, app: &str, request: &DeployRequest) {
        for other in self.processes(app) {
            let (reply, _) = oneshot::channel();
            self.ask(&other, Command::Deploy(DeployRequest { force: false, ..request.clone() }, reply));
        }
    }

    /// Takes those back as well that came to what they serve in the same deployment of the group: each to what it served
    /// before. What is named by its digest or generation concerns the processes of one image.
    pub(super) fn roll_back_with(&self, app: &str, to: &RollbackTo) {
        let (others, to) = match to {
            RollbackTo::Previous => match self.moved_with(app) {
                moved if moved.is_empty() => (self.processes(app), RollbackTo::Previous),
                moved => (moved, RollbackTo::Previous),
            },
            RollbackTo::Digest(digest) => (self.processes(app), RollbackTo::Digest(digest.clone())),
            RollbackTo::Generation(generation) => {
                let all = self.deployments(app, HISTORY).unwrap_or_default();
                let Some(found) = all.into_iter().find(|entry| entry.generation.0 == *generation) else { return };
                (self.processes(app), RollbackTo::Digest(found.digest))
            }
        };
        for other in others {
            let (reply, _) = oneshot::channel();
            self.ask(&other, Command::Rollback(to.clone(), reply));
        }
    }

    /// Lets the others of the group follow their tags again.
    pub(super) fn unpin_with(&self, app: &str) {
        for other in self.others(app, |_, _| true) {
            let (reply, _) = oneshot::channel();
            self.ask(&other, Command::Unpin(reply));
        }
    }

    /// One that can't be asked now is told so in the log; who waits for it then says so itself.
    fn ask(&self, app: &AppName, command: Command) {
        if let Err(error) = self.send(app.as_str(), command) {
            tracing::warn!(app = app.as_str(), "what was asked of its group is not done: {error}");
        }
    }

    /// The others of its group that follow the same image.
    fn processes(&self, app: &str) -> Vec<AppName> {
        self.others(app, |own, other| followed(&own.app) == followed(&other.app))
    }

    /// The others of its group that moved to what they serve together with it.
    fn moved_with(&self, app: &str) -> Vec<AppName> {
        let Some(part) = self.part(app) else { return Vec::new() };
        let others = self.others(app, |_, other| part.members.contains(&other.app.name));
        others.into_iter().filter(|other| self.part(other.as_str()).is_some_and(|its| its.id == part.id)).collect()
    }

    /// The deployment of its group by which an app came to what it serves.
    fn part(&self, app: &str) -> Option<GroupPart> {
        let serves = self.status(app).ok()?.deployed?.generation;
        let all = self.deployments(app, HISTORY).ok()?;
        let is = |entry: &Deployment| entry.generation == serves && entry.result == DeploymentResult::Succeeded;
        all.into_iter().find(is)?.group
    }

    fn others(&self, app: &str, wanted: impl Fn(&Slot, &Slot) -> bool) -> Vec<AppName> {
        let slots = self.shared.slots.read().expect("no holder panics");
        let Some(own) = slots.values().find(|slot| slot.app.name.as_str() == app) else { return Vec::new() };
        let Some(group) = &own.app.group else { return Vec::new() };
        let of_group = slots.values().filter(|slot| slot.app.group.as_ref() == Some(group));
        let others = of_group.filter(|slot| slot.app.name != own.app.name && wanted(own, slot));
        others.map(|slot| slot.app.name.clone()).collect()
    }
}
