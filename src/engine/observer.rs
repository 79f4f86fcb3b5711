//! Asks the registry what an app's tag points to.

use std::time::Duration;

use crate::engine::clock::Utc;

use crate::model::{
    App, CachedTags, CheckResult, Digest, EventKind, Follow, Hold, Schedule, Seen, SeenSource, Tag, Time,
};

use super::Ports;
use super::bus::Bus;
use super::checks::Checks;
use super::choice::{self, Picked, Unpicked};

/// Apps that look at the same times share looks that are so close together.
const SAME_MOMENT: Duration = Duration::from_secs(15);

/// What the registry said at the last look, kept between passes.
#[derive(Debug, Clone, Default)]
pub(super) struct TagView {
    /// The tag that is followed: of a policy, the one that won last.
    pub(super) tag: Option<Tag>,
    /// The last tag of the policy that came to serve.
    pub(super) served: Option<Tag>,
    /// To ask for the list of tags conditionally.
    pub(super) cached: Option<CachedTags>,
    /// A tag that a webhook announced; the list may lag behind.
    pub(super) awaited: Option<Tag>,
    /// The last list had it.
    pub(super) arrived: bool,
    pub(super) digest: Option<Digest>,
    pub(super) first_seen: Option<Time>,
    pub(super) unknown: Option<String>,
    /// Why no tag is followed although the registry answered.
    pub(super) unmatched: Option<String>,
    pub(super) last_check: Option<(Time, CheckResult)>,
    pub(super) last_success: Option<Time>,
    /// The last look failed, and is worth repeating after so long, if that is known.
    pub(super) worth_after: Option<Duration>,
    /// The next look is out of turn, because the last one did not say enough.
    pub(super) sooner: bool,
}

impl TagView {
    /// What is remembered from earlier runs. A tag that was never seen is unknown until it was asked for.
    pub(super) fn remembered(app: &App, ports: &Ports) -> Self {
        let view = match &app.follow {
            Follow::Pinned(digest) => return Self { digest: Some(digest.clone()), ..Self::default() },
            Follow::Tag(tag) => Self { tag: Some(tag.clone()), ..Self::default() },
            Follow::Policy(_) => choice::recall(app, &*ports.store),
        };
        let seen = view.tag.as_ref().and_then(|tag| recall(app, tag, ports));
        let unknown = if seen.is_some() { "not asked since the start" } else { "not asked yet" };
        Self {
            first_seen: seen.as_ref().map(|seen| seen.first_seen),
            unknown: Some(unknown.to_owned()),
            last_success: seen.as_ref().map(|seen| seen.last_checked),
            digest: seen.map(|seen| seen.cached.digest),
            ..view
        }
    }

    /// Asks the registry. Returns what it said; the view is updated either way.
    pub(super) async fn ask(
        &mut self,
        app: &App,
        ports: &Ports,
        checks: &Checks,
        bus: &Bus,
        source: SeenSource,
    ) -> CheckResult {
        self.worth_after = None;
        let picked = match &app.follow {
            Follow::Pinned(_) => return CheckResult::Unchanged,
            Follow::Tag(tag) => Ok(Picked { tag: tag.clone(), cached: None }),
            Follow::Policy(policy) => choice::pick(self, app, policy, &*ports.registry, source).await,
        };
        let result = match picked {
            Ok(picked) => self.resolve(app, ports, checks, bus, source, picked).await,
            Err(Unpicked::Unknown(message)) => self.is_unknown(message),
            Err(Unpicked::Unmatched(message)) => {
                (self.unmatched, self.unknown, self.cached) = (Some(message), None, None);
                CheckResult::Unknown
            }
        };
        let (now, registry) = (Utc::now(), app.image.registry());
        (self.last_check, self.sooner) = (Some((now, result)), false);
        ports.metrics.checks_total.with_label_values(&[registry, result.label()]).inc();
        let kind = EventKind::Checked {
            result: result.label().to_owned(),
            digest: self.digest.clone(),
            message: self.unmatched.clone().or_else(|| self.unknown.clone()),
        };
        bus.publish(now, &app.name, kind);
        result
    }

    fn is_unknown(&mut self, message: String) -> CheckResult {
        (self.unknown, self.unmatched) = (Some(message), None);
        CheckResult::Unknown
    }

    /// Asks for the digest of the tag that is followed.
    async fn resolve(
        &mut self,
        app: &App,
        ports: &Ports,
        checks: &Checks,
        bus: &Bus,
        source: SeenSource,
        picked: Picked,
    ) -> CheckResult {
        let tag = &picked.tag;
        let known = recall(app, tag, ports);
        let timer = tokio::time::Instant::now();
        let cached = known.as_ref().map(|seen| &seen.cached);
        let age = if self.sooner { Duration::ZERO } else { shared_age(app, source) };
        let answer = checks.resolve(&*ports.registry, &app.name, (&app.image, tag), cached, age).await;
        let took = timer.elapsed().as_secs_f64();
        ports.metrics.check_duration_seconds.with_label_values(&[app.image.registry()]).observe(took);
        let resolved = match answer {
            Ok(resolved) => resolved,
            Err(error) => {
                self.worth_after = error.retry_after;
                return self.is_unknown(chain(&error));
            }
        };
        let now = Utc::now();
        // Another tag may win whose digest was seen before, and another app may have seen this one first.
        let before = self.digest.take();
        let changed = before.as_ref() != Some(&resolved.digest);
        let same = known.as_ref().filter(|seen| seen.cached.digest == resolved.digest);
        let (first_seen, origin) = same.map_or((now, source), |seen| (seen.first_seen, seen.source));
        let seen = Seen { cached: resolved.cached, first_seen, last_checked: now, source: origin };
        // Reading a tag must not cost a write to disk each minute: only what changed is recorded.
        let worth = known.as_ref().is_none_or(|old| old.cached != seen.cached);
        if worth && let Err(error) = ports.store.put_seen(&app.image, tag, &seen) {
            tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        }
        choice::keep(self, app, &*ports.store, bus, picked);
        if changed {
            let to = resolved.digest.clone();
            bus.publish(now, &app.name, EventKind::DigestChanged { from: before, to, source });
        }
        self.digest = Some(resolved.digest);
        self.first_seen = Some(first_seen);
        (self.unknown, self.unmatched) = (None, None);
        self.last_success = Some(now);
        let gauge = &ports.metrics.last_successful_check_timestamp_seconds;
        gauge.with_label_values(&[app.name.as_str()]).set(now.timestamp());
        if changed { CheckResult::Changed } else { CheckResult::Unchanged }
    }

    /// Whether the registry says what a webhook announced, where the list of tags tells: of a policy, a tag that is listed
    /// and did not win is all there is to see.
    pub(super) fn agrees(&self, app: &App, result: CheckResult) -> Option<bool> {
        let awaited = self.awaited.as_ref().filter(|_| matches!(app.follow, Follow::Policy(_)))?;
        if result == CheckResult::Unknown || !self.arrived {
            // That nothing matches is an answer as well.
            return Some(self.arrived && self.unmatched.is_some());
        }
        (self.tag.as_ref() != Some(awaited)).then_some(true)
    }

    /// Why it is not known what to deploy.
    pub(super) fn hold(&self) -> Hold {
        match &self.unmatched {
            Some(message) => Hold::NothingMatches { message: message.clone() },
            None => Hold::RegistryUnknown { message: self.unknown.clone().unwrap_or_default() },
        }
    }
}

/// How old another app's look may be to do for this one: one look per schedule is enough for a poll, and whoever was told
/// to look does so now.
fn shared_age(app: &App, source: SeenSource) -> Duration {
    match (source, &app.schedule) {
        (SeenSource::Webhook | SeenSource::Request, _) => Duration::ZERO,
        (_, Schedule::Every(every)) => *every / 2,
        (_, Schedule::Cron { .. }) => SAME_MOMENT,
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
