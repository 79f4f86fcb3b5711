//! Where every event goes: the log, the metrics, and whoever has subscribed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tracing::{debug, error, info, warn};

use crate::metrics::Metrics;
use crate::model::{AppName, Event, EventKind, Gate, GroupResult, Hold, Stage, Strategy, Time};

/// Publishes events.
#[derive(Clone)]
pub(super) struct Bus {
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) metrics: Metrics,
}

impl Bus {
    /// Logs, counts and sends.
    pub(super) fn publish(&self, at: Time, app: &AppName, kind: EventKind) {
        let event = Event { at, app: app.clone(), kind };
        count(&self.metrics, &event);
        announce(&self.events, event);
    }
}

/// Logs and sends.
pub(super) fn announce(events: &broadcast::Sender<Arc<Event>>, event: Event) {
    log(&event);
    // Nobody listening is fine.
    let _ = events.send(Arc::new(event));
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

/// What a person reads, at night too: one line a fact, each readable alone.
fn log(event: &Event) {
    let app = event.app.as_str();
    match &event.kind {
        EventKind::Activated { source } => info!(app, "asked by {} to look", source.label()),
        EventKind::Checked { result, digest, message } => match message {
            Some(message) => warn!(app, result, "could not check: {message}"),
            None => debug!(app, result, digest = digest.as_ref().map(|d| d.short()), "checked"),
        },
        EventKind::TagChosen { from, to } => {
            info!(app, from = from.as_ref().map(|tag| tag.as_str()), to = to.as_str(), "another tag is followed");
        }
        EventKind::DigestChanged { from, to, source } => info!(
            app,
            from = from.as_ref().map(|d| d.short()),
            to = to.short(),
            source = source.label(),
            "the tag points to a new digest"
        ),
        EventKind::SwapStarted { swap, reason, digest, generation } => info!(
            app,
            swap = %swap,
            digest = digest.short(),
            generation = generation.0,
            reason = reason.label(),
            "swap started"
        ),
        EventKind::StageStarted { stage, .. } => debug!(app, stage = stage.label(), "stage started"),
        EventKind::Pulling { progress, .. } => debug!(app, done = progress.done, total = progress.total, "pulling"),
        EventKind::StageFinished { stage, millis, note, .. } => {
            info!(app, stage = stage.label(), seconds = seconds(*millis), "{}", describe(*stage, note));
        }
        EventKind::Noticed { message, .. } => warn!(app, "{message}"),
        EventKind::JobEnded { job, ok: true, message, millis, .. } => {
            info!(app, job = job.label(), seconds = seconds(*millis), "job {}", message);
        }
        EventKind::JobEnded { job, ok: false, message, millis, log_tail, .. } => error!(
            app,
            job = job.label(),
            seconds = seconds(*millis),
            log_tail = log_tail.join("\n"),
            "job failed: it {message}"
        ),
        EventKind::WatchFailed { swap, digest, failure, back_to } => error!(
            app,
            swap = %swap,
            digest = digest.short(),
            back_to = back_to.short(),
            log_tail = failure.log_tail.join("\n"),
            "the version failed and is rolled back: {}",
            failure.message
        ),
        EventKind::SwapSucceeded { swap, digest, millis, reason, strategy, gap_millis } => info!(
            app,
            swap = %swap,
            digest = digest.short(),
            reason = reason.label(),
            strategy = strategy.label(),
            seconds = seconds(*millis),
            gap_seconds = seconds(*gap_millis),
            "swap finished"
        ),
        EventKind::SwapFailed { swap, digest, failure, rolled_back, quarantined, strategy } => error!(
            app,
            swap = %swap,
            digest = digest.short(),
            stage = failure.stage.label(),
            reason = failure.reason.label(),
            strategy = strategy.label(),
            rolled_back,
            quarantined,
            log_tail = failure.log_tail.join("\n"),
            "swap failed, {}: {}",
            match (rolled_back, strategy) {
                (false, _) => "what served before still serves",
                (true, Strategy::Proxy) => "the traffic is back at the old version",
                (true, _) => "the old version is back",
            },
            failure.message
        ),
        EventKind::Held { hold: hold @ Hold::Gated { gate, .. } } if gate.is_alarming() => {
            error!(app, hold = hold.label(), "not deployed: {}", explain(hold));
        }
        EventKind::Held { hold: hold @ Hold::Group { until: Some(_), .. } } => {
            info!(app, hold = hold.label(), "not deployed yet: {}", explain(hold));
        }
        EventKind::Approved { digest, by } => info!(app, digest = digest.short(), by, "approved"),
        EventKind::Held { hold } => warn!(app, hold = hold.label(), "not deployed: {}", explain(hold)),
        EventKind::ServingLost { container } => {
            error!(app, container = container.short(), "the container that served is gone");
        }
        EventKind::GroupStarted { group, deployment, members } => {
            let members = members.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ");
            info!(app, group = group.as_str(), deployment = %deployment, "the group moves together: {members}");
        }
        EventKind::GroupSwitched { group, deployment, table } => {
            info!(app, group = group.as_str(), deployment = %deployment, table, "the group was switched at once");
        }
        EventKind::GroupEnded { group, deployment, result: GroupResult::Succeeded, message } => {
            info!(app, group = group.as_str(), deployment = %deployment, "the group has moved: {message}");
        }
        EventKind::GroupEnded { group, deployment, result, message } => error!(
            app,
            group = group.as_str(),
            deployment = %deployment,
            result = result.label(),
            "the group has not moved: {message}"
        ),
        EventKind::QuarantineLifted { digest } => info!(app, digest = digest.short(), "quarantine lifted"),
    }
}

/// A finished stage in words.
fn describe(stage: Stage, note: &str) -> String {
    let what = match stage {
        Stage::Pull => "image is here",
        Stage::Create => "candidate created",
        Stage::Compare => "candidate is as intended",
        Stage::Hold => "new requests wait",
        Stage::Park => "old version stopped to make room",
        Stage::Start => "candidate started",
        Stage::Gate => "candidate passed the gate",
        Stage::Arm => "restart policy set",
        Stage::Take => "candidate has taken over",
        Stage::Follow => "what shares its namespaces has followed",
        Stage::Switch => "traffic switched",
        Stage::Bake => "bake passed",
        Stage::Drain => "old version drained",
        Stage::Stop => "old version stopped",
        Stage::Retire => "old version retired",
        Stage::Restore => "old version started again",
        Stage::Watch => "the version is not tried again",
        Stage::PreDeploy => "job before the deployment is done",
        Stage::Prepare => "job for afterwards prepared",
        Stage::PostDeploy => "job after the deployment has ended",
        Stage::FailedDeploy => "job after the failed deployment has ended",
    };
    if note.is_empty() { what.to_owned() } else { format!("{what}: {note}") }
}

/// A hold in words, with what can be done.
pub fn explain(hold: &Hold) -> String {
    match hold {
        Hold::RegistryUnknown { message } => format!("it could not be found out what the tag points to: {message}"),
        Hold::NothingMatches { message } | Hold::NotReady { message } => message.clone(),
        Hold::EngineUnknown { message } => format!("the container engine does not answer: {message}"),
        Hold::TrafficUnknown { message } => message.clone(),
        Hold::Quarantined { digest, failure } => format!(
            "{} failed before ({}: {}); push a new version, or let it be tried again with `tagboat unquarantine`",
            digest.short(),
            failure.stage.label(),
            failure.message
        ),
        Hold::Pinned { newer, reason } => {
            format!(
                "{} is there, but the app is pinned ({reason}); `tagboat unpin` follows the tag again",
                newer.short()
            )
        }
        Hold::BackingOff { digest, until, failure } => format!(
            "{} failed in {} ({}) and is tried again at {}",
            digest.short(),
            failure.stage.label(),
            failure.message,
            until.format("%H:%M:%S UTC")
        ),
        Hold::Gated { gate, message, until, .. } => {
            let then = match gate {
                Gate::Soak | Gate::Window => "it is deployed after",
                _ => "looked at again at",
            };
            let until = until.map(|until| format!("; {then} {}", until.format("%Y-%m-%d %H:%M:%S UTC")));
            format!("{message}{}", until.unwrap_or_default())
        }
        Hold::Group { message, .. } | Hold::NotSwappable { message } => message.clone(),
    }
}

fn count(metrics: &Metrics, event: &Event) {
    let app = event.app.as_str();
    match &event.kind {
        EventKind::StageFinished { stage, millis, .. } => {
            metrics.swap_stage_duration_seconds.with_label_values(&[app, stage.label()]).observe(seconds(*millis));
        }
        EventKind::JobEnded { job, ok, millis, .. } => {
            let result = if *ok { "succeeded" } else { "failed" };
            metrics.jobs_total.with_label_values(&[app, job.label(), result]).inc();
            metrics.job_duration_seconds.with_label_values(&[app, job.label()]).observe(seconds(*millis));
        }
        EventKind::WatchFailed { failure, .. } => {
            metrics.watch_rollbacks_total.with_label_values(&[app]).inc();
            let labels = [app, failure.stage.label(), failure.reason.label()];
            metrics.failures_total.with_label_values(&labels).inc();
        }
        EventKind::SwapSucceeded { reason, strategy, gap_millis, .. } if is_swap(*reason) => {
            metrics.swaps_total.with_label_values(&[app, strategy.label(), "succeeded"]).inc();
            let gap = seconds(*gap_millis);
            metrics.swap_downtime_seconds.with_label_values(&[app, strategy.label()]).observe(gap);
        }
        EventKind::SwapFailed { failure, rolled_back, strategy, .. } => {
            let result = if *rolled_back { "rolled_back" } else { "failed" };
            metrics.swaps_total.with_label_values(&[app, strategy.label(), result]).inc();
            let labels = [app, failure.stage.label(), failure.reason.label()];
            metrics.failures_total.with_label_values(&labels).inc();
        }
        _ => {}
    }
}

/// True for plans that put another container into service.
pub(super) fn is_swap(reason: crate::model::PlanReason) -> bool {
    use crate::model::PlanReason as R;
    !matches!(reason, R::ClearedLeftovers | R::RouteRestored | R::JobOwed | R::ReplicasChanged)
}
