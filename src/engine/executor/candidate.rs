//! The steps up to the switch: an image becomes a container that has proved itself.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use crate::engine::clock::Utc;
use tokio::time::{Duration, Instant};

use crate::decide::compare::differences;
use crate::decide::container::{container_name, create_body, further_networks, restart_policy};
use crate::decide::derive;
use crate::decide::gate::{Gate, Probed, Verdict};
use crate::decide::platform::runs_on;
use crate::model::{
    Container, ContainerId, ContainerState, EventKind, FailureReason, ImageDetails, ImageRef, NOWHERE, Origin, Owned,
    Platform, ProbeOutcome, PullProgress, Step, Target, Time,
};
use crate::ports::{CreateContainer, EngineErrorKind, EngineInfo};

use super::adopted::parked_policy;
use super::{Halt, Stepped, Swap, chain, millis};
use crate::engine::parking;

/// Between two progress events of a pull.
const PROGRESS: Duration = Duration::from_millis(500);

/// Requests that count, of a pull: an index and the manifest in it.
const A_PULL: u64 = 2;

impl Swap<'_> {
    pub(super) async fn pull(&mut self) -> Stepped {
        let (app, ports) = (self.executor.app, self.executor.ports);
        let image = self.image();
        let host = ports.engine.info().await?.platform;
        let name = image.to_string();
        let _turn = tokio::select! {
            turn = self.executor.settings.pulls.turn(&name) => turn,
            () = self.executor.shutdown.cancelled() => return Err(Halt::Interrupted),
        };
        if let Some(present) = ports.engine.image(&name).await? {
            self.fits(&present.platform, &host)?;
            ports.metrics.pulls_total.with_label_values(&[app.name.as_str(), "present"]).inc();
            return Ok("it was here already".to_owned());
        }
        let timer = Instant::now();
        let shutdown = self.executor.shutdown;
        let fetched = tokio::select! {
            fetched = tokio::time::timeout(app.timing.pull_deadline, self.fetch(&image, &host)) => fetched,
            () = shutdown.cancelled() => return Err(Halt::Interrupted),
        };
        let late = || Halt::Failed(FailureReason::Pull, format!("not pulled within {:?}", app.timing.pull_deadline));
        let fetched = fetched.map_err(|_| late()).and_then(|fetched| fetched);
        let result = if fetched.is_ok() { "success" } else { "failure" };
        ports.metrics.pulls_total.with_label_values(&[app.name.as_str(), result]).inc();
        let took = timer.elapsed().as_secs_f64();
        ports.metrics.pull_duration_seconds.with_label_values(&[app.name.as_str()]).observe(took);
        let (details, bytes) = fetched?;
        ports.metrics.pull_bytes_total.with_label_values(&[app.name.as_str()]).inc_by(bytes);
        self.fits(&details.platform, &host)?;
        Ok(format!("{bytes} bytes in {took:.1} s"))
    }

    /// Asks the registry what the image runs on, then has the engine pull it. Returns the bytes transferred.
    async fn fetch(&self, image: &ImageRef, host: &Platform) -> Result<(ImageDetails, u64), Halt> {
        let (app, ports) = (self.executor.app, self.executor.ports);
        let pull = |error: crate::ports::RegistryError| Halt::Failed(FailureReason::Pull, chain(&error));
        let manifest = ports.registry.manifest(&app.image, &self.plan.digest).await.map_err(pull)?;
        let known: Vec<&Platform> = manifest.platforms.iter().filter_map(|(platform, _)| platform.as_ref()).collect();
        if !known.is_empty() && !known.iter().any(|platform| runs_on(platform, host)) {
            return Err(wrong_platform(&known, host));
        }
        self.announce_quota();
        let auth = ports.registry.pull_auth(&app.image).await.map_err(pull)?;
        let last = Mutex::new((Instant::now(), PullProgress::default()));
        let progress = |progress: PullProgress| {
            let mut last = last.lock().expect("no holder panics");
            last.1 = progress;
            if last.0.elapsed() >= PROGRESS {
                last.0 = Instant::now();
                self.executor.publish(EventKind::Pulling { swap: self.plan.swap.clone(), progress });
            }
        };
        let details = ports.engine.pull(image, auth.as_ref(), &progress).await.map_err(|error| match error.kind {
            EngineErrorKind::NotFound => Halt::Failed(FailureReason::Pull, chain(&error)),
            _ => Halt::from(error),
        })?;
        let bytes = last.lock().expect("no holder panics").1.done;
        Ok((details, bytes))
    }

    /// Says so before a pull uses up what the registry still allows: the next ones wait then, here and elsewhere behind the
    /// same address.
    fn announce_quota(&self) {
        let registry = self.executor.app.image.registry();
        let statuses = self.executor.ports.registry.status();
        let quota = statuses.into_iter().find(|status| status.registry == registry).and_then(|status| status.quota);
        let Some(quota) = quota.filter(|quota| quota.remaining.is_some_and(|left| left <= A_PULL)) else { return };
        let left = quota.remaining.unwrap_or_default();
        let of = quota.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        let message = format!(
            "this pull may use up the rate limit of {registry}: {left}{of} requests are left, and a pull takes up to {A_PULL}"
        );
        self.executor.publish(EventKind::Noticed { swap: self.plan.swap.clone(), message });
    }

    fn fits(&self, image: &Platform, host: &Platform) -> Result<(), Halt> {
        if runs_on(image, host) { Ok(()) } else { Err(wrong_platform(&[image], host)) }
    }

    pub(super) async fn create(&mut self) -> Stepped {
        let info = self.executor.ports.engine.info().await?;
        let mut names = Vec::new();
        for number in &self.plan.missing {
            let container = self.intended(*number, &info).await?;
            let made = self.executor.ports.engine.create(&container).await.map_err(|error| match error.kind {
                EngineErrorKind::NotFound => Halt::Failed(FailureReason::Engine, chain(&error)),
                _ => Halt::from(error),
            })?;
            self.candidates.push(made);
            names.push(container.name);
        }
        Ok(names.join(", "))
    }

    async fn intended(&self, number: u32, info: &EngineInfo) -> Result<CreateContainer, Halt> {
        let app = self.executor.app;
        let replica = (app.replicas > 1).then_some(number);
        match &app.origin {
            Origin::Declared => Ok(CreateContainer {
                name: container_name(app, self.plan.generation, replica),
                body: self.body(replica, self.replaced(), info),
                networks: further_networks(app, info.api_version),
            }),
            Origin::Adopted { container } => self.announced_successor(container, info).await,
        }
    }

    /// Compares the candidates that never ran: the others were compared before that.
    pub(super) async fn compare(&mut self) -> Stepped {
        let compared = self.of_each(|id| self.compare_one(id)).await;
        self.blamed(compared).await
    }

    async fn compare_one(&self, id: &ContainerId) -> Stepped {
        let engine = &self.executor.ports.engine;
        let (container, inspected) = engine.inspect(id).await?;
        if container.state != ContainerState::Created {
            return Ok(String::new());
        }
        let Some(image) = engine.image(&container.image_id).await? else {
            return Err(Halt::Failed(FailureReason::Engine, format!("its image {} is gone", container.image_id)));
        };
        let info = engine.info().await?;
        let found = match &self.executor.app.origin {
            Origin::Declared => {
                // What an earlier run has made was told what served then.
                let found = self.plan.candidates.contains(id);
                let replaced = if found { container.owned.replaces.as_ref() } else { self.replaced() };
                differences(&self.body(container.owned.replica, replaced, &info), &inspected, &image.raw)
            }
            Origin::Adopted { container: name } => {
                let (intended, _) = self.successor(name, &info).await?;
                self.is_the_pulled_image(&container).await?;
                derive::compare(&intended.body, &intended.networks, &inspected, &image.raw)
            }
        };
        if found.is_empty() {
            return Ok(String::new());
        }
        let list: Vec<String> = found.iter().map(ToString::to_string).collect();
        Err(Halt::Failed(FailureReason::Differs, format!("it is not what was asked for: {}", list.join("; "))))
    }

    pub(super) async fn start(&mut self) -> Stepped {
        self.announce_successor()?;
        let started = self.one_after_the_other(|id| self.start_one(id)).await;
        self.blamed(started).await
    }

    async fn start_one(&self, id: &ContainerId) -> Stepped {
        match self.executor.ports.engine.start(id).await {
            Ok(()) => Ok(String::new()),
            Err(error) if error.kind == EngineErrorKind::Refused => {
                Err(Halt::Failed(FailureReason::CannotStart, chain(&error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has every candidate pass the gate, all at the same time.
    pub(super) async fn gate(&mut self) -> Stepped {
        if self.is_ours_to_give() {
            return self.be_replaced().await;
        }
        let good = Mutex::new(None);
        let gated = self.of_each(|id| self.gate_one(id, &good)).await;
        let note = self.blamed(gated).await?;
        // Behind the proxy it serves from the switch on.
        if self.plan.strategy.is_by_name()
            && let (Some(parked), Some(good)) = (self.parked.take(), good.into_inner().expect("no holder panics"))
        {
            self.gap = (good - parked).to_std().unwrap_or_default();
        }
        Ok(note)
    }

    /// `good` is told since when it was good.
    async fn gate_one(&self, id: &ContainerId, good: &Mutex<Option<Time>>) -> Stepped {
        let app = self.executor.app;
        let timing = &app.timing;
        let first = self.inspect(id).await?;
        // A container that is taken back into service was started long ago: its deadline counts from now. One whose gate
        // was left half-way, by us or by the engine, may be past it: it is left the time in which a good one passes.
        let started = first.started.filter(|_| first.restart_policy == "no").unwrap_or_else(Utc::now);
        let enough = timing.probe_interval * timing.probe_successes + timing.probe_timeout + timing.min_healthy;
        let started = started.max(Utc::now() - timing.healthy_deadline.saturating_sub(enough));
        let mut gate = Gate::new(timing, started, first.restart_count);
        loop {
            let container = self.inspect(id).await?;
            let probe = match self.target(&container) {
                _ if app.port.is_none() => Ok(Ok(ProbeOutcome { ok: true, detail: "it runs".to_owned(), millis: 0 })),
                Ok(target) => Ok(self.probe(&target).await),
                Err(why) => Err(why),
            };
            let probed = match &probe {
                Ok(Ok(outcome)) => Probed::Made(outcome),
                Ok(Err(why)) => Probed::Unknown(why),
                Err(why) => Probed::Impossible(why),
            };
            match gate.sample(Utc::now(), &container, probed) {
                Verdict::Wait => self.pause(timing.probe_interval).await?,
                Verdict::Passed(note) => {
                    *good.lock().expect("no holder panics") = gate.good_since();
                    let hooked = self.post_start(&container).await?;
                    return Ok(note + &hooked);
                }
                Verdict::Failed(reason, message) => return Err(Halt::Failed(reason, message)),
            }
        }
    }

    pub(super) async fn probe(&self, target: &Target) -> Result<ProbeOutcome, String> {
        let app = self.executor.app;
        let probed = self.executor.ports.traffic.probe(target.addr, &app.probe, app.timing.probe_timeout).await;
        probed.map_err(|error| chain(&error))
    }

    pub(super) async fn arm(&mut self) -> Stepped {
        let (app, engine) = (self.executor.app, &self.executor.ports.engine);
        let container = self.inspect(self.candidate()?).await?;
        let policy = match &app.origin {
            Origin::Declared => Some(restart_policy(app)),
            Origin::Adopted { .. } => parked_policy(container.owned.restart.as_deref()),
        };
        if let Some(policy) = policy {
            for id in &self.candidates {
                engine.set_restart_policy(id, &policy).await?;
            }
        }
        // What it replaced may still have to come back, with its policy, until it is removed.
        if !self.plan.steps.iter().any(|step| matches!(step, Step::Retire { .. })) {
            parking::remember(app, &*self.executor.ports.store, None);
        }
        // A local tag keeps the image from a person's `docker image prune`; without it a rollback has to pull.
        let tagged = engine.tag(&container.image_id, &local_repository(app), &local_tag(self.plan)).await;
        if let Err(error) = tagged {
            tracing::warn!(app = app.name.as_str(), "the image could not be tagged to be kept: {}", chain(&error));
        }
        Ok(String::new())
    }

    /// What the candidates are to replace; of several the first. Those that stay are not replaced.
    fn replaced(&self) -> Option<&ContainerId> {
        self.plan.serving.iter().find(|id| !self.plan.stay.contains(id))
    }

    /// `repository@digest` of the candidate.
    fn image(&self) -> ImageRef {
        ImageRef::by_digest(&self.executor.app.image, &self.plan.digest)
    }

    fn body(&self, replica: Option<u32>, replaces: Option<&ContainerId>, info: &EngineInfo) -> serde_json::Value {
        let owned = Owned {
            app: self.executor.app.name.clone(),
            generation: self.plan.generation,
            swap: self.plan.swap.clone(),
            replaces: replaces.cloned(),
            digest: self.plan.digest.clone(),
            spec: self.executor.spec.to_owned(),
            restart: None,
            watched: self.plan.watched,
            replica,
        };
        create_body(self.executor.app, &self.image(), &owned, &self.executor.settings.owner, info.api_version)
    }

    /// Where a container listens: on its first network, or on the only one it has.
    pub(super) fn target(&self, container: &Container) -> Result<Target, String> {
        let primary = self.executor.app.container.networks.first();
        let address = primary.and_then(|name| container.addresses.get(name)).or(container.addresses.values().next());
        if self.executor.app.is_worker() {
            let addr = (address.copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into()), NOWHERE).into();
            return Ok(Target { container: container.id.clone(), addr, generation: container.owned.generation });
        }
        let address = address.ok_or_else(|| format!("it has no address on a network ({})", container.state.label()))?;
        let port = self.executor.app.port.ok_or("its port is not known")?;
        Ok(Target {
            container: container.id.clone(),
            addr: (*address, port).into(),
            generation: container.owned.generation,
        })
    }

    /// How long something has taken, for a note.
    pub(super) fn took(timer: Instant) -> String {
        format!("{} ms", millis(timer.elapsed()))
    }
}

/// The local tags that keep images begin with this; no registry has this name.
pub(crate) const SHELF: &str = "tagboat.local/";

/// The repository of the local tags that keep an app's images.
pub(crate) fn local_repository(app: &crate::model::App) -> String {
    format!("{SHELF}{}", app.name)
}

/// The local tag of a generation.
fn local_tag(plan: &crate::model::Plan) -> String {
    format!("gen-{}", plan.generation)
}

fn wrong_platform(image: &[&Platform], host: &Platform) -> Halt {
    let has: Vec<String> = image.iter().map(ToString::to_string).collect();
    Halt::Failed(FailureReason::WrongPlatform, format!("image has {}, this host is {host}", has.join(", ")))
}
