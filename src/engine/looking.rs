//! Looks at everything a decision depends on.

use std::time::Duration;

use crate::decide::admission::Admission;
use crate::decide::reconcile::{Observation, Parked, Wanted, serving};
use crate::model::{
    App, AppEntry, Attempts, Container, Digest, Follow, Generation, Hold, JobContainer, Origin, Pin, Quarantine,
    RedeployOn, SwapId, Time,
};
use crate::ports::EngineError;

use super::Ports;
use super::observer::{TagView, chain};
use super::parking;
use super::sameness::{Meaning, meaning, same_image};

/// An image that could not be read is tried again after so long, unless the registry says how long.
const UNREAD: Duration = Duration::from_secs(15);

/// What was seen of an app.
#[derive(Debug)]
pub(super) struct Seeing {
    pub(super) wanted: Wanted,
    pub(super) containers: Vec<Container>,
    pub(super) jobs: Vec<JobContainer>,
    /// Only when something may have to come back.
    pub(super) kept: Vec<(Generation, Digest)>,
    pub(super) entry: Option<AppEntry>,
    pub(super) quarantine: Vec<Quarantine>,
    pub(super) attempts: Option<Attempts>,
    pub(super) pin: Option<Pin>,
    pub(super) parked: Option<Parked>,
    /// The tag points to another index around the image that serves.
    pub(super) only_index_moved: bool,
    /// What the image is could not be read: worth another try after so long.
    pub(super) unread: Option<Duration>,
}

impl Seeing {
    /// The containers that serve: by the proxy's table, or by name.
    pub(super) fn all_serving(&self, app: &App) -> impl Iterator<Item = &Container> {
        serving(app, self.entry.as_ref(), &self.containers)
    }

    /// The container that serves; of several the first.
    pub(super) fn serving(&self, app: &App) -> Option<&Container> {
        self.all_serving(app).next()
    }

    /// As `decide` takes it.
    pub(super) fn observation<'a>(
        &'a self,
        app: &'a App,
        spec: &'a str,
        (admission, forced): (&'a Admission, bool),
        now: Time,
        swap: &'a SwapId,
    ) -> Observation<'a> {
        Observation {
            app,
            spec,
            wanted: &self.wanted,
            containers: &self.containers,
            jobs: &self.jobs,
            kept: &self.kept,
            entry: self.entry.as_ref(),
            quarantine: &self.quarantine,
            attempts: self.attempts.as_ref(),
            parked: self.parked.as_ref(),
            admission,
            forced,
            now,
            swap,
        }
    }
}

/// Looks at engine, proxy and store. A hold says which of them gave no answer.
pub(super) async fn look(app: &App, ports: &Ports, tag: &TagView, forced: bool) -> Result<Seeing, Hold> {
    let entry = match app.origin {
        Origin::Declared => entry(app, ports).await,
        Origin::Adopted { .. } if !app.routes.is_empty() => entry(app, ports).await,
        Origin::Adopted { .. } => Ok(None),
    };
    let containers = match &app.origin {
        Origin::Declared => ports.engine.containers(Some(&app.name)).await,
        Origin::Adopted { container } => ports.engine.family(container).await,
    };
    ports.metrics.engine_up.with_label_values(&[] as &[&str]).set(i64::from(containers.is_ok()));
    let jobs = ports.engine.jobs(&app.name).await;
    let (entry, containers, jobs) = (entry?, containers.map_err(engine_hold)?, jobs.map_err(engine_hold)?);
    let pin = remembered(app, ports.store.pin(&app.name)).flatten();
    let pin = lapse(app, ports, pin, tag).await;
    let quarantine = remembered(app, ports.store.quarantine(&app.name)).unwrap_or_default();
    let serving = serving(app, entry.as_ref(), &containers).next();
    let (mut only_index_moved, mut unread) = (false, None);
    let wanted = match &pin {
        None if forced => followed(tag),
        None => {
            let (wanted, again) = as_it_is_here(app, ports, followed(tag), serving, &containers, &quarantine).await;
            unread = again;
            only_index_moved = wanted.digest.as_ref() != tag.digest.as_ref()
                && wanted.not_ready.is_none()
                && unread.is_none()
                && wanted.digest.as_ref() == serving.map(|container| &container.owned.digest);
            wanted
        }
        Some(pin) => {
            let newer = tag.digest.clone().filter(|digest| *digest != pin.digest);
            let pinned = Some((pin.reason.clone(), newer));
            Wanted { digest: Some(pin.digest.clone()), pinned, ..Wanted::default() }
        }
    };
    Ok(Seeing {
        wanted,
        containers,
        jobs,
        kept: Vec::new(),
        entry,
        quarantine,
        attempts: remembered(app, ports.store.attempts(&app.name)).flatten(),
        parked: parking::remembered(app, &*ports.store),
        pin,
        only_index_moved,
        unread,
    })
}

/// What the tag says is wanted.
fn followed(tag: &TagView) -> Wanted {
    Wanted {
        tag: tag.tag.clone(),
        digest: tag.digest.clone(),
        unknown: tag.unknown.clone(),
        unmatched: tag.unmatched.clone(),
        ..Wanted::default()
    }
}

/// What is wanted, seen from this host: of images that are the same here, the one that is here already; nothing while the
/// image is not there for this host, or it could not be found out whether it is.
async fn as_it_is_here(
    app: &App,
    ports: &Ports,
    wanted: Wanted,
    serving: Option<&Container>,
    containers: &[Container],
    quarantine: &[Quarantine],
) -> (Wanted, Option<Duration>) {
    let Some(tag) = wanted.digest.as_ref().filter(|_| !matches!(app.follow, Follow::Pinned(_))) else {
        return (wanted, None);
    };
    let serves = serving.map(|container| &container.owned.digest);
    let others = containers.iter().map(|container| &container.owned.digest);
    let others: Vec<&Digest> = others.filter(|digest| Some(*digest) != serves).collect();
    match meaning(app, ports, tag, serves, &others, quarantine).await {
        Meaning::Itself => (wanted, None),
        Meaning::SameAs(digest) => (Wanted { digest: Some(digest), ..wanted }, None),
        Meaning::NotReady(words) => (Wanted { digest: serves.cloned(), not_ready: Some(words), ..wanted }, None),
        Meaning::Unknown(words, after) => {
            let unknown = wanted.unknown.clone().or(Some(words));
            (Wanted { digest: serves.cloned(), unknown, ..wanted }, Some(after.unwrap_or(UNREAD)))
        }
    }
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

/// A pin holds until the tag moves on from what it pointed to when the pin was set, to another image.
async fn lapse(app: &App, ports: &Ports, pin: Option<Pin>, tag: &TagView) -> Option<Pin> {
    let pin = pin?;
    let (Some(was), Some(is)) = (&pin.tag_was, &tag.digest) else { return Some(pin) };
    if was == is || (app.redeploy_on == RedeployOn::Platform && same_image(app, ports, was, is).await) {
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
