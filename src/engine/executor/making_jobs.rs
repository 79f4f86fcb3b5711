//! What the container of a job is made from: the version that it belongs to.

use serde_json::json;

use crate::decide::container::{create_body, further_networks};
use crate::decide::derive::{DaemonDefaults, Options, Sources, derive};
use crate::decide::jobs::{Facts, job_body, job_endpoint, job_name};
use crate::model::{ContainerId, Digest, Failure, FailureReason, ImageRef, JobKind, Origin, Owned, Step, SwapId};
use crate::ports::{CreateContainer, EngineErrorKind, EngineInfo};

use super::jobs::subject;
use super::{Halt, Stepped, Swap, chain};

/// What a job is about.
struct About {
    /// The digest that is deployed, or that failed.
    digest: Digest,
    swap: SwapId,
    previous: Option<Digest>,
    reason: String,
    message: String,
}

impl Swap<'_> {
    /// Creates the container of a job, unless it is there. `failure` is that of the version, after which it is run.
    pub(super) async fn make_job(&self, kind: JobKind, failure: Option<&Failure>) -> Stepped {
        let app = self.executor.app;
        let Some(job) = app.jobs.get(kind) else { return Ok(String::new()) };
        let info = self.executor.ports.engine.info().await?;
        let about = self.about(kind, failure);
        let facts = Facts {
            app,
            kind,
            digest: &about.digest,
            previous: about.previous.as_ref(),
            tag: self.plan.tag.as_ref().map(|tag| tag.as_str()),
            generation: subject(self.plan, kind),
            reason: &about.reason,
            message: &about.message,
        };
        let owned = Owned {
            app: app.name.clone(),
            generation: facts.generation,
            swap: about.swap.clone(),
            replaces: None,
            digest: about.digest.clone(),
            spec: self.executor.spec.to_owned(),
            restart: None,
            watched: false,
            replica: None,
        };
        let version = match &app.origin {
            Origin::Declared => self.declared(kind, failure, &owned, &info).await?,
            Origin::Adopted { container } => self.adopted(kind, failure, container, owned, &info).await?,
        };
        let name = job_name(app, kind, facts.generation);
        let networks = version.networks.iter().map(|(name, endpoint)| (name.clone(), job_endpoint(endpoint)));
        let body = job_body(&version.body, job, &facts);
        let made = CreateContainer { name: name.clone(), body, networks: networks.collect() };
        self.executor.ports.engine.create(&made).await.map_err(|error| match error.kind {
            EngineErrorKind::NotFound => Halt::Failed(FailureReason::Engine, chain(&error)),
            _ => Halt::from(error),
        })?;
        Ok(name)
    }

    fn about(&self, kind: JobKind, failure: Option<&Failure>) -> About {
        let plan = self.plan;
        let condemned = plan.steps.iter().find_map(|step| match step {
            Step::Condemn { swap, digest, message, .. } if kind == JobKind::FailedDeploy => {
                Some((swap, digest, message))
            }
            _ => None,
        });
        match (condemned, failure) {
            (Some((swap, digest, message)), _) => About {
                digest: digest.clone(),
                swap: swap.clone(),
                previous: Some(plan.digest.clone()),
                reason: FailureReason::FailedInWatch.label().to_owned(),
                message: message.clone(),
            },
            (None, failure) => About {
                digest: plan.digest.clone(),
                swap: plan.swap.clone(),
                previous: plan.previous.clone(),
                reason: failure.map_or(plan.reason.label(), |failure| failure.reason.label()).to_owned(),
                message: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
            },
        }
    }

    /// The container whose image the job runs, once there is one.
    fn model(&self, kind: JobKind, failure: Option<&Failure>) -> Option<&ContainerId> {
        match kind {
            JobKind::PreDeploy => None,
            JobKind::FailedDeploy if failure.is_some() => self.plan.serving.first(),
            JobKind::PostDeploy | JobKind::FailedDeploy => self.candidates.first().or(self.plan.serving.first()),
        }
    }

    async fn declared(
        &self,
        kind: JobKind,
        failure: Option<&Failure>,
        owned: &Owned,
        info: &EngineInfo,
    ) -> Result<CreateContainer, Halt> {
        let (app, engine) = (self.executor.app, &self.executor.ports.engine);
        let image = ImageRef::by_digest(&app.image, &self.plan.digest);
        let mut body = create_body(app, &image, owned, &self.executor.settings.owner, info.api_version);
        if let Some(model) = self.model(kind, failure) {
            body["Image"] = json!(engine.inspect(model).await?.0.image_id);
        }
        Ok(CreateContainer { name: String::new(), body, networks: further_networks(app, info.api_version) })
    }

    async fn adopted(
        &self,
        kind: JobKind,
        failure: Option<&Failure>,
        name: &str,
        owned: Owned,
        info: &EngineInfo,
    ) -> Result<CreateContainer, Halt> {
        let mut made = match self.model(kind, failure) {
            None => {
                let (mut made, _) = self.successor(name, info).await?;
                made.body["Image"] =
                    json!(ImageRef::by_digest(&self.executor.app.image, &self.plan.digest).to_string());
                made
            }
            Some(model) => self.like(model, info).await?,
        };
        if let Some(body) = made.body.as_object_mut() {
            crate::decide::container::sign(body, &owned, &self.executor.settings.owner);
        }
        Ok(made)
    }

    /// A container like this one, on its own image.
    async fn like(&self, model: &ContainerId, info: &EngineInfo) -> Result<CreateContainer, Halt> {
        let engine = &self.executor.ports.engine;
        let (container, inspected) = engine.inspect(model).await?;
        let image = engine.image(&container.image_id).await?;
        let gone = || Halt::Failed(FailureReason::Engine, format!("its image {} is gone", container.image_id));
        let image = image.ok_or_else(gone)?;
        let options = Options {
            daemon: DaemonDefaults::from_info(&info.about),
            peers: self.peers(&inspected).await?,
            ..Options::default()
        };
        let sources = Sources {
            container: &inspected,
            old_image: Some(&image.raw),
            new_image: &image.raw,
            api: info.api_version,
            options: &options,
        };
        let failed = |error| Halt::Failed(FailureReason::Engine, chain(&error));
        let mut derived = derive(&sources).map_err(failed)?;
        derived.body["Image"] = json!(container.image_id);
        Ok(CreateContainer { name: String::new(), body: derived.body, networks: derived.networks })
    }
}
