//! Looks at everything a decision depends on.

use chrono::Utc;

use crate::decide::reconcile::{Observation, Wanted};
use crate::model::{
    App, AppEntry, Attempts, CheckResult, Container, Digest, EventKind, Follow, Hold, Origin, Pin, Quarantine, Seen,
    SeenSource, SwapId, Tag, Time,
};
use crate::ports::EngineError;

use super::Ports;
use super::bus::Bus;

/// What was seen of an app.
#[derive(Debug)]
pub(super) struct Seeing {
    pub(super) wanted: Wanted,
    pub(super) containers: Vec<Container>,
    pub(super) entry: Option<AppEntry>,
    pub(super) quarantine: Vec<Quarantine>,
    pub(super) attempts: Option<Attempts>,
    pub(super) pin: Option<Pin>,
}

impl Seeing {
    /// As `decide` takes it.
    pub(super) fn observation<'a>(
        &'a self,
        app: &'a App,
        spec: &'a str,
        forced: bool,
        now: Time,
        swap: &'a SwapId,
    ) -> Observation<'a> {
        Observation {
            app,
            spec,
            wanted: &self.wanted,
            containers: &self.containers,
            entry: self.entry.as_ref(),
            quarantine: &self.quarantine,
            attempts: self.attempts.as_ref(),
            forced,
            now,
            swap,
        }
    }
}

/// What the registry said at the last look, kept between passes.
#[derive(Debug, Clone, Default)]
pub(super) struct TagView {
    pub(super) digest: Option<Digest>,
    pub(super) first_seen: Option<Time>,
    pub(super) unknown: Option<String>,
    pub(super) last_check: Option<(Time, CheckResult)>,
    pub(super) last_success: Option<Time>,
}

impl TagView {
    /// What is remembered from earlier runs. A tag that was never seen is unknown until it was asked for.
    pub(super) fn remembered(app: &App, ports: &Ports) -> Self {
        match &app.follow {
            Follow::Pinned(digest) => Self { digest: Some(digest.clone()), ..Self::default() },
            Follow::Tag(tag) => match recall(app, tag, ports) {
                Some(seen) => Self {
                    digest: Some(seen.cached.digest),
                    first_seen: Some(seen.first_seen),
                    unknown: Some("not asked since the start".to_owned()),
                    last_check: None,
                    last_success: Some(seen.last_checked),
                },
                None => Self { unknown: Some("not asked yet".to_owned()), ..Self::default() },
            },
        }
    }

    /// Asks the registry. Returns what it said; the view is updated either way.
    pub(super) async fn ask(&mut self, app: &App, ports: &Ports, bus: &Bus, source: SeenSource) -> CheckResult {
        let Follow::Tag(tag) = &app.follow else { return CheckResult::Unchanged };
        let registry = app.image.registry();
        let known = recall(app, tag, ports);
        let timer = tokio::time::Instant::now();
        let answer = ports.registry.resolve(&app.image, tag, known.as_ref().map(|seen| &seen.cached)).await;
        let took = timer.elapsed().as_secs_f64();
        ports.metrics.check_duration_seconds.with_label_values(&[registry]).observe(took);
        let now = Utc::now();
        let result = match answer {
            Ok(resolved) => {
                let changed = known.as_ref().is_none_or(|seen| seen.cached.digest != resolved.digest);
                let first_seen = if changed { now } else { known.as_ref().map_or(now, |seen| seen.first_seen) };
                let origin = if changed { source } else { known.as_ref().map_or(source, |seen| seen.source) };
                let seen = Seen { cached: resolved.cached, first_seen, last_checked: now, source: origin };
                // Reading a tag must not cost a write to disk each minute: only what changed is recorded.
                let worth = changed || known.as_ref().is_none_or(|old| old.cached != seen.cached);
                if worth && let Err(error) = ports.store.put_seen(&app.image, tag, &seen) {
                    tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
                }
                if changed {
                    let from = known.map(|seen| seen.cached.digest);
                    bus.publish(now, &app.name, EventKind::DigestChanged { from, to: resolved.digest.clone(), source });
                }
                self.digest = Some(resolved.digest);
                self.first_seen = Some(first_seen);
                self.unknown = None;
                self.last_success = Some(now);
                ports
                    .metrics
                    .last_successful_check_timestamp_seconds
                    .with_label_values(&[app.name.as_str()])
                    .set(now.timestamp());
                if changed { CheckResult::Changed } else { CheckResult::Unchanged }
            }
            Err(error) => {
                self.unknown = Some(chain(&error));
                CheckResult::Unknown
            }
        };
        self.last_check = Some((now, result));
        ports.metrics.checks_total.with_label_values(&[registry, result.label()]).inc();
        let kind = EventKind::Checked {
            result: result.label().to_owned(),
            digest: self.digest.clone(),
            message: self.unknown.clone(),
        };
        bus.publish(now, &app.name, kind);
        result
    }
}

/// Reads what is remembered of a tag; a store that fails is as good as one that is empty.
fn recall(app: &App, tag: &Tag, ports: &Ports) -> Option<Seen> {
    ports.store.seen(&app.image, tag).unwrap_or_else(|error| {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        None
    })
}

/// An error and everything beneath it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// Looks at engine, proxy and store. A hold says which of them gave no answer.
pub(super) async fn look(app: &App, ports: &Ports, tag: &TagView) -> Result<Seeing, Hold> {
    let entry = match app.origin {
        Origin::Declared => entry(app, ports).await,
        Origin::Adopted { .. } => Ok(None),
    };
    let containers = match &app.origin {
        Origin::Declared => ports.engine.containers(Some(&app.name)).await,
        Origin::Adopted { container } => ports.engine.family(container).await,
    };
    ports.metrics.engine_up.with_label_values(&[] as &[&str]).set(i64::from(containers.is_ok()));
    let (entry, containers) = (entry?, containers.map_err(engine_hold)?);
    let pin = remembered(app, ports.store.pin(&app.name)).flatten();
    let pin = lapse(app, ports, pin, tag);
    let wanted = match &pin {
        None => Wanted { digest: tag.digest.clone(), unknown: tag.unknown.clone(), pinned: None },
        Some(pin) => {
            let newer = tag.digest.clone().filter(|digest| *digest != pin.digest);
            Wanted { digest: Some(pin.digest.clone()), unknown: None, pinned: Some((pin.reason.clone(), newer)) }
        }
    };
    Ok(Seeing {
        wanted,
        containers,
        entry,
        quarantine: remembered(app, ports.store.quarantine(&app.name)).unwrap_or_default(),
        attempts: remembered(app, ports.store.attempts(&app.name)).flatten(),
        pin,
    })
}

/// What the proxy knows of an app.
async fn entry(app: &App, ports: &Ports) -> Result<Option<AppEntry>, Hold> {
    let table = ports.traffic.table().await;
    ports.metrics.proxy_up.with_label_values(&[] as &[&str]).set(i64::from(table.is_ok()));
    let mut table = table.map_err(|error| Hold::TrafficUnknown { message: chain(&error) })?;
    Ok(table.apps.remove(&app.name))
}

fn engine_hold(error: EngineError) -> Hold {
    Hold::EngineUnknown { message: chain(&error) }
}

/// A pin holds until the tag moves on from what it pointed to when the pin was set.
fn lapse(app: &App, ports: &Ports, pin: Option<Pin>, tag: &TagView) -> Option<Pin> {
    let pin = pin?;
    let moved = matches!((&pin.tag_was, &tag.digest), (Some(was), Some(is)) if was != is);
    if !moved {
        return Some(pin);
    }
    if let Err(error) = ports.store.put_pin(&app.name, None) {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
    }
    tracing::info!(app = app.name.as_str(), pin = pin.digest.short(), "the tag has moved on: the pin is lifted");
    None
}

fn remembered<T>(app: &App, result: Result<T, crate::ports::StoreError>) -> Option<T> {
    result
        .inspect_err(|error| {
            tracing::warn!(app = app.name.as_str(), error = error as &dyn std::error::Error, "{error}");
        })
        .ok()
}
