//! The steps from the switch on: traffic moves, and the old version goes.

use crate::engine::clock::Utc;
use futures_util::future::try_join_all;
use tokio::time::{Duration, Instant};

use crate::decide::gate::{Bake, Verdict};
use crate::decide::retention::superseded;
use crate::model::{
    AppSwitch, Container, ContainerId, FailureReason, ImageRef, InFlight, Step, Target, TargetCounters, Time,
    TrafficStats,
};
use crate::ports::TrafficError;

use super::candidate::{SHELF, local_repository};
use super::{Halt, LOOK, Stepped, Swap, chain};
use crate::engine::parking;

/// A proxy that does not answer is waited for so long: it is restarted within a second.
pub(super) const SWITCH_PATIENCE: Duration = Duration::from_secs(30);

/// A request that found nobody fails within this time.
const SETTLING: Duration = Duration::from_secs(2);

/// What is cut at the deadline is spread over so long, so that clients do not come back all at once.
const CUT_OVER: Duration = Duration::from_secs(5);

/// The same while others wait for it; they are parked when they come back.
const CUT_OVER_HELD: Duration = Duration::from_secs(1);

/// How long what is in flight may take, and over how long what is left is cut.
struct Patience {
    requests: Duration,
    streams: Duration,
    cut: Duration,
}

impl Swap<'_> {
    pub(super) async fn switch(&mut self, expect: u64) -> Stepped {
        let to = self.destinations().await?;
        let timer = Instant::now();
        self.switch_traffic(expect, to).await?;
        self.held = None;
        if let Some(parked) = self.parked.take() {
            self.gap = (Utc::now() - parked).to_std().unwrap_or_default();
        }
        let now = Utc::now().timestamp();
        let name = self.executor.app.name.as_str();
        self.executor.ports.metrics.last_change_timestamp_seconds.with_label_values(&[name]).set(now);
        Ok(Self::took(timer))
    }

    /// Where the traffic goes: to every candidate, and to what stays. Of that, what has ended meanwhile is left to the next
    /// look.
    async fn destinations(&mut self) -> Result<Vec<Target>, Halt> {
        let mut to = Vec::new();
        for id in &self.plan.stay {
            match self.inspect(id).await {
                Ok(container) if container.is_running() => to.extend(self.target(&container).ok()),
                Ok(_) | Err(Halt::Failed(FailureReason::CandidateGone, _)) => {}
                // Not to know how it is, is no reason to take its requests away.
                Err(halt) => return Err(halt),
            }
        }
        if self.candidates.is_empty() && to.is_empty() {
            return Err(Halt::Failed(FailureReason::Engine, "nothing is left that could serve".to_owned()));
        }
        let candidates = self.of_each(|id| self.destination(id)).await;
        to.extend(self.blamed_all(candidates).await?);
        Ok(to)
    }

    async fn destination(&self, id: &ContainerId) -> Result<Target, Halt> {
        let container = self.inspect(id).await?;
        if !container.is_running() {
            let message = format!("it {} just before the switch", container.state.label());
            return Err(Halt::Failed(FailureReason::Exited, message));
        }
        self.target(&container).map_err(|why| Halt::Failed(FailureReason::Engine, why))
    }

    /// Compare-and-set, until the proxy has either done it or refused it. An attempt whose answer was lost may
    /// have been carried out, so the table is read before it is repeated.
    pub(super) async fn move_traffic(&self, expect: u64, to: &[Target]) -> Result<(), Halt> {
        let deadline = Instant::now() + SWITCH_PATIENCE;
        let change = AppSwitch { app: self.executor.app.name.clone(), expect, to: to.to_vec() };
        loop {
            let error = match self.executor.ports.traffic.switch(std::slice::from_ref(&change)).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if self.serve(to).await == Some(true) {
                return Ok(());
            }
            let again = matches!(error, TrafficError::Unreachable { .. }) && Instant::now() < deadline;
            if !again {
                return Err(Halt::Failed(FailureReason::Traffic, chain(&error)));
            }
            self.pause(LOOK).await?;
        }
    }

    /// Whether new requests go to exactly these targets; `None` when the proxy does not answer.
    async fn serve(&self, targets: &[Target]) -> Option<bool> {
        let table = self.executor.ports.traffic.table().await.ok()?;
        let active = &table.apps.get(&self.executor.app.name)?.active;
        Some(active.len() == targets.len() && targets.iter().all(|target| active.contains(target)))
    }

    pub(super) async fn bake(&mut self, until: Option<Time>) -> Stepped {
        let until = until.unwrap_or_else(|| Utc::now() + self.executor.app.timing.bake);
        let baked = self.of_each(|id| self.bake_one(id, until)).await;
        // Every one says the same.
        Ok(self.blamed_all(baked).await?.into_iter().next().unwrap_or_default())
    }

    /// Watches one of those that serve; its errors are weighed with those of all of them against those of all old ones.
    async fn bake_one(&self, id: &ContainerId, until: Time) -> Stepped {
        let first = self.inspect(id).await?;
        let stats = self.executor.ports.traffic.stats().await.unwrap_or_default();
        let mut before = counted(&stats, &self.candidates).unwrap_or_default();
        // Errors from before an interruption, and of requests from then, may be those of a host that was starting.
        let interrupted = !self.plan.steps.iter().any(|step| matches!(step, Step::Switch { .. }));
        let settled = Instant::now() + if interrupted { SETTLING } else { Duration::ZERO };
        let old = counted(&stats, &self.plan.fallback).unwrap_or_default();
        let bake = Bake::new(until, first.started.unwrap_or_else(Utc::now), first.restart_count, &old);
        loop {
            let container = self.baking(id).await?;
            let stats = self.executor.ports.traffic.stats().await.unwrap_or_default();
            let counters = counted(&stats, &self.candidates);
            if Instant::now() < settled {
                before = counters.clone().unwrap_or_default();
            }
            let since = counters.map(|counters| counters.since(&before));
            let since = since.filter(|_| worst(&stats, &self.candidates) == Some(id));
            match bake.sample(Utc::now(), &container, since.as_ref()) {
                Verdict::Wait => self.pause(LOOK).await?,
                Verdict::Passed(note) => return Ok(note),
                Verdict::Failed(reason, message) => return Err(Halt::Failed(reason, message)),
            }
        }
    }

    /// The new version during the bake. Its removal is as much a failure as its end; an engine that does not
    /// answer is not, and is asked again.
    async fn baking(&self, id: &ContainerId) -> Result<Container, Halt> {
        let deadline = Instant::now() + SWITCH_PATIENCE;
        loop {
            match self.inspect(id).await {
                Err(Halt::Failed(FailureReason::CandidateGone, _)) => {
                    return Err(Halt::Failed(FailureReason::CandidateGone, "somebody removed it".to_owned()));
                }
                Err(Halt::Failed(..)) if Instant::now() < deadline => self.pause(LOOK).await?,
                other => return other,
            }
        }
    }

    pub(super) async fn drain(&mut self, containers: &[ContainerId]) -> Stepped {
        let drained = try_join_all(containers.iter().map(|id| self.drain_one(id))).await?;
        Ok(drained.join(", "))
    }

    /// While requests wait for the old version to end, it has less time.
    fn patience(&self) -> Patience {
        let timing = &self.executor.app.timing;
        if self.held.is_some() {
            return Patience { requests: timing.hold_drain, streams: timing.hold_drain, cut: CUT_OVER_HELD };
        }
        Patience { requests: timing.drain, streams: timing.drain_streams, cut: CUT_OVER }
    }

    /// Waits for what is in flight by count; requests and streams have deadlines of their own.
    pub(super) async fn drain_one(&self, id: &ContainerId) -> Stepped {
        let Patience { requests: for_requests, streams: for_streams, cut } = self.patience();
        let begun = Instant::now();
        let mut left = InFlight::default();
        loop {
            match self.executor.ports.traffic.in_flight(id).await {
                Ok(count) => left = count,
                // Not knowing is not zero: wait on, until the deadline for requests.
                Err(_) if begun.elapsed() < for_requests => {
                    self.pause(LOOK).await?;
                    continue;
                }
                Err(_) => {}
            }
            let requests = left.requests > 0 && begun.elapsed() < for_requests;
            let streams = left.streams > 0 && begun.elapsed() < for_streams;
            if !requests && !streams {
                break;
            }
            self.pause(Duration::from_millis(50)).await?;
        }
        if left == InFlight::default() {
            return Ok(format!("nothing in flight after {}", Self::took(begun)));
        }
        let InFlight { requests, streams } = left;
        let note = format!("{requests} requests and {streams} streams were cut at the deadline");
        if let Err(error) = self.executor.ports.traffic.cut(id, cut).await {
            tracing::warn!(app = self.executor.app.name.as_str(), "could not cut them: {}", chain(&error));
        }
        self.pause(cut).await?;
        Ok(note)
    }

    pub(super) async fn stop(&mut self, containers: &[ContainerId]) -> Stepped {
        let swap = &*self;
        let stopping = async |id: &ContainerId| {
            let note = swap.before_stop(id).await?;
            swap.stop_one(id).await?;
            Ok::<_, Halt>(note)
        };
        let mut notes = try_join_all(containers.iter().map(stopping)).await?;
        notes.retain(|note| !note.is_empty());
        Ok(notes.join(", "))
    }

    /// Stops a container for good: without its restart policy, so that a restart of the daemon leaves it be.
    pub(super) async fn stop_one(&self, id: &ContainerId) -> Result<(), Halt> {
        self.spares_us(id)?;
        let engine = &self.executor.ports.engine;
        let container = match engine.inspect(id).await {
            Err(error) if error.kind == crate::ports::EngineErrorKind::NotFound => return Ok(()),
            other => other?.0,
        };
        // One that was started with `--rm` has no policy, and can't be given one.
        if container.restart_policy != "no" {
            engine.set_restart_policy(id, &serde_json::json!({"Name": "no"})).await?;
        }
        engine.stop(id).await?;
        Ok(())
    }

    pub(super) async fn retire(&mut self, containers: &[ContainerId]) -> Stepped {
        for id in containers {
            self.executor.ports.engine.remove(id).await?;
        }
        let (app, store) = (self.executor.app, &*self.executor.ports.store);
        if parking::remembered(app, store).is_some_and(|parked| containers.contains(&parked.container)) {
            parking::remember(app, store, None);
        }
        if let Err(error) = self.prune().await {
            let app = self.executor.app.name.as_str();
            tracing::warn!(app, "images that are no longer kept could not be removed: {}", chain(&error));
        }
        Ok(String::new())
    }

    /// Removes the images of generations beyond `keep`. An image that a container uses or that has another name
    /// stays: the engine refuses, and that is right.
    async fn prune(&self) -> Result<(), crate::ports::EngineError> {
        let (app, engine) = (self.executor.app, &self.executor.ports.engine);
        let repository = local_repository(app);
        let own = |name: &&String| name.parse::<ImageRef>().is_ok_and(|image| image.repository == app.image);
        let tagged = engine.tagged(&repository).await?;
        for gone in superseded(&tagged, app.keep, SHELF, &app.name) {
            engine.remove_image(&format!("{repository}:{}", gone.tag)).await?;
            // What the same image is called elsewhere may be another app's, which is about to use it.
            for name in gone.names.iter().filter(own) {
                if let Err(error) = engine.remove_image(name).await {
                    tracing::debug!(app = app.name.as_str(), image = name, "kept: {}", chain(&error));
                }
            }
        }
        Ok(())
    }
}

/// The one of these with the most errors; of equal ones the first.
fn worst<'a>(stats: &[TrafficStats], ids: &'a [ContainerId]) -> Option<&'a ContainerId> {
    let errors = |id: &&ContainerId| {
        counted(stats, std::slice::from_ref(*id)).map_or(0, |each| each.server_errors + each.transport_errors)
    };
    ids.iter().rev().max_by_key(errors)
}

/// What every proxy process together has counted for these containers.
fn counted(stats: &[TrafficStats], ids: &[ContainerId]) -> Option<TargetCounters> {
    let of_each = stats.iter().flat_map(|process| ids.iter().filter_map(|id| process.targets.get(id)));
    of_each.fold(None, |sum: Option<TargetCounters>, each| {
        let mut sum = sum.unwrap_or_default();
        sum.requests += each.requests;
        sum.server_errors += each.server_errors;
        sum.transport_errors += each.transport_errors;
        sum.in_flight.requests += each.in_flight.requests;
        sum.in_flight.streams += each.in_flight.streams;
        Some(sum)
    })
}
