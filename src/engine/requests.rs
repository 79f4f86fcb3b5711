//! What people and CI jobs ask of one app.

use crate::engine::clock::Utc;

use crate::model::{
    CheckResult, Decision, DeploymentResult, Digest, EventKind, Follow, Generation, Hold, Pin, SeenSource, Tag, Version,
};

use super::asked::{Answer, Command, DeployRequest, RequestError, RollbackTo};
use super::executor::local_repository;
use super::looking::look;
use super::observer::chain;
use super::reconciler::{Reconciler, Reply};

/// History entries that are searched for an earlier version.
const HISTORY: usize = 200;

impl Reconciler {
    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Deploy(request, reply) => self.deploy(request, reply).await,
            Command::Rollback(to, reply) => self.rollback(to, reply).await,
            Command::Plan(reply) => {
                let decided = self.decide(false).await.map(|(decision, _)| self.foreseen(decision));
                let _ = reply.send(Ok(decided.unwrap_or_else(Decision::Hold)));
            }
            Command::Unpin(reply) => self.unpin(reply).await,
        }
    }

    /// What the app would do by itself it does not do as long as it waits for its group.
    fn foreseen(&self, decision: Decision) -> Decision {
        let hold = self.parts.status.borrow().hold.clone();
        match (&decision, hold) {
            (Decision::Act(plan), Some(hold)) if matches!(&hold, Hold::Group { digest, .. } if *digest == plan.digest) => {
                Decision::Hold(hold)
            }
            _ => decision,
        }
    }

    async fn deploy(&mut self, request: DeployRequest, reply: Reply) {
        let pinned = match &request.version {
            None => self.follow().await,
            Some(version) => self.pin_to(version, &request.reason).await,
        };
        match pinned {
            Err(error) => {
                let _ = reply.send(Err(error));
            }
            Ok(Some(answer)) => {
                let _ = reply.send(Ok(answer));
            }
            Ok(None) => self.pass(SeenSource::Request, Some(&request.reason), request.force, Some(reply)).await,
        }
    }

    /// What the app follows is wanted, now, whatever happened to it before.
    async fn follow(&mut self) -> Result<Option<Answer>, RequestError> {
        let app = self.parts.app.clone();
        let store = self.parts.ports.store.clone();
        if self.ask(SeenSource::Request).await == CheckResult::Unknown {
            return Ok(Some(Answer::Held { hold: self.tag.hold() }));
        }
        store.put_pin(&app.name, None)?;
        if let Some(digest) = self.tag.digest.clone() {
            self.forgive(&digest)?;
        }
        Ok(None)
    }

    /// Another version of the repository is wanted.
    async fn pin_to(&mut self, version: &Version, reason: &str) -> Result<Option<Answer>, RequestError> {
        let digest = match version {
            Version::Digest(digest) => digest.clone(),
            Version::Tag(tag) => self.resolve(tag).await?,
        };
        self.set_pin(digest, reason)?;
        Ok(None)
    }

    async fn resolve(&self, tag: &Tag) -> Result<Digest, RequestError> {
        let (app, ports) = (&self.parts.app, &self.parts.ports);
        let resolved = ports.registry.resolve(&app.image, tag, None).await;
        resolved.map(|r| r.digest).map_err(|error| RequestError::Unresolved { message: chain(&error) })
    }

    fn set_pin(&mut self, digest: Digest, reason: &str) -> Result<(), RequestError> {
        self.forgive(&digest)?;
        let (tag_was, reason) = (self.tag.digest.clone(), reason.to_owned());
        let pin = Pin { digest, tag_was, reason, at: Utc::now(), with: None };
        let redundant =
            !matches!(self.parts.app.follow, Follow::Pinned(_)) && self.tag.digest.as_ref() == Some(&pin.digest);
        let pin = if redundant { None } else { Some(pin) };
        self.parts.ports.store.put_pin(&self.parts.app.name, pin.as_ref())?;
        Ok(())
    }

    /// Lets a digest be tried that failed before.
    fn forgive(&self, digest: &Digest) -> Result<(), RequestError> {
        let (app, store) = (&self.parts.app.name, &self.parts.ports.store);
        if store.lift_quarantine(app, Some(digest))? > 0 {
            self.parts.bus.publish(Utc::now(), app, EventKind::QuarantineLifted { digest: digest.clone() });
        }
        store.put_attempts(app, None)?;
        Ok(())
    }

    async fn rollback(&mut self, to: RollbackTo, reply: Reply) {
        match self.earlier(&to).await.and_then(|digest| self.set_pin(digest, "rollback")) {
            Ok(()) => self.pass(SeenSource::Request, Some("rollback"), false, Some(reply)).await,
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// The digest to go back to: by the history, or by the images that were kept when the history is lost.
    async fn earlier(&self, to: &RollbackTo) -> Result<Digest, RequestError> {
        let parts = &self.parts;
        let nothing = |detail: String| RequestError::NothingToRollBackTo { app: parts.app.name.clone(), detail };
        if let RollbackTo::Digest(digest) = to {
            return Ok(digest.clone());
        }
        let hold = |hold: Hold| RequestError::Unresolved { message: super::bus::explain(&hold) };
        let seeing = look(&parts.app, &parts.ports, &self.tag, true).await.map_err(hold)?;
        let serving = seeing.serving(&parts.app);
        let (digest, generation) =
            serving.map_or((None, Generation(u64::MAX)), |c| (Some(&c.owned.digest), c.owned.generation));
        let mut known: Vec<(Generation, Digest)> = parts
            .ports
            .store
            .deployments(&parts.app.name, HISTORY)?
            .into_iter()
            .filter(|d| d.result == DeploymentResult::Succeeded)
            .map(|d| (d.generation, d.digest))
            .collect();
        known.extend(self.kept().await);
        known.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        let found = match to {
            RollbackTo::Generation(wanted) => known.into_iter().find(|(g, _)| g.0 == *wanted),
            _ => known.into_iter().find(|(g, d)| *g < generation && Some(d) != digest),
        };
        found.map(|(_, digest)| digest).ok_or_else(|| match to {
            RollbackTo::Generation(wanted) => nothing(format!("generation {wanted} is not in its history")),
            _ => nothing("nothing else has served yet".to_owned()),
        })
    }

    /// Generations whose images are on the host.
    pub(super) async fn kept(&self) -> Vec<(Generation, Digest)> {
        let parts = &self.parts;
        let tagged = parts.ports.engine.tagged(&local_repository(&parts.app)).await.unwrap_or_default();
        tagged
            .into_iter()
            .filter_map(|(tag, image)| {
                let generation = tag.strip_prefix("gen-")?.parse().ok()?;
                let named = image.repo_digests.iter().find_map(|name| {
                    let (repository, digest) = name.split_once('@')?;
                    let same = repository.parse::<crate::model::Repository>().ok()? == parts.app.image;
                    if same { digest.parse().ok() } else { None }
                });
                Some((Generation(generation), named?))
            })
            .collect()
    }

    async fn unpin(&mut self, reply: tokio::sync::oneshot::Sender<Result<bool, RequestError>>) {
        let (app, store) = (self.parts.app.name.clone(), self.parts.ports.store.clone());
        let pinned = store.pin(&app).and_then(|pin| store.put_pin(&app, None).map(|()| pin.is_some()));
        let _ = reply.send(pinned.map_err(RequestError::from));
        self.pass(SeenSource::Request, Some("unpinned"), false, None).await;
    }
}
