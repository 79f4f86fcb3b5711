//! An app's condition as status and gauges show it, made from what was seen and decided.

use crate::metrics::Metrics;
use crate::model::{
    App, AppName, AppState, AppStatus, Container, Deployed, Digest, Follow, Gate, Hold, ImageRef, Replica, Replicas,
    Route, Tag,
};

use super::asked::Answer;
use super::gatekeeping::approval;
use super::looking::Seeing;
use super::observer::TagView;
use super::reconciler::Parts;

/// Every state, for the gauge that has one series each.
const STATES: [AppState; 6] =
    [AppState::Starting, AppState::UpToDate, AppState::Deploying, AppState::Held, AppState::Unknown, AppState::Down];

/// Remembers what was last shown, so that only news are told and a gauge that no longer holds is dropped.
#[derive(Default)]
pub(super) struct Condition {
    told: Option<Hold>,
    digest: Option<Digest>,
    hold: Option<&'static str>,
}

/// What is watched, as a person writes it.
pub(super) fn watched(app: &App, won: Option<&Tag>) -> String {
    match (&app.follow, won) {
        (Follow::Tag(tag), _) | (Follow::Policy(_), Some(tag)) => ImageRef::by_tag(&app.image, tag).to_string(),
        (Follow::Policy(_), None) => app.image.to_string(),
        (Follow::Pinned(digest), _) => ImageRef::by_digest(&app.image, digest).to_string(),
    }
}

/// The status of an app that was not looked at yet.
pub(super) fn starting(app: &App) -> AppStatus {
    let tag = match &app.follow {
        Follow::Tag(tag) => Some(tag.clone()),
        Follow::Pinned(_) | Follow::Policy(_) => None,
    };
    let blank = blank(app.name.clone(), watched(app, None), app.routes.clone());
    let (strategy, strategy_reason) = (app.strategy.label().to_owned(), app.strategy_reason.clone());
    let group = app.group.clone();
    AppStatus { tag, follows: app.follow.to_string(), strategy, strategy_reason, group, ..blank }
}

fn blank(app: AppName, image: String, routes: Vec<Route>) -> AppStatus {
    AppStatus {
        app,
        strategy: String::new(),
        strategy_reason: String::new(),
        group: None,
        state: AppState::Starting,
        image,
        follows: String::new(),
        tag: None,
        routes,
        deployed: None,
        newest: None,
        newest_seen: None,
        hold: None,
        deploying: None,
        last_check: None,
        last_successful_check: None,
        next_check: None,
        pin: None,
        quarantined: Vec::new(),
        approval: None,
    }
}

/// The status of a container that can't be adopted. Its name is made fit for an app's.
pub(super) fn refusal(container: &str, why: &str) -> AppStatus {
    let fit = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c) { c } else { '-' };
    let name: String = container.to_ascii_lowercase().chars().map(fit).take(63).collect();
    let app = name.parse().unwrap_or_else(|_| "unnamed".parse().expect("a valid name"));
    let hold = Some(Hold::NotSwappable { message: why.to_owned() });
    AppStatus { state: AppState::Held, hold, ..blank(app, container.to_owned(), Vec::new()) }
}

/// The answer to a request after which nothing is done.
pub(super) fn describe(hold: Option<&Hold>, seeing: Option<&Seeing>) -> Answer {
    let serving = seeing.and_then(|seeing| seeing.wanted.digest.clone());
    match (hold, serving) {
        (None | Some(Hold::Pinned { .. }), Some(digest)) => Answer::UpToDate { digest },
        (Some(hold), _) => Answer::Held { hold: hold.clone() },
        (None, None) => Answer::Queued,
    }
}

impl Condition {
    /// The hold, if it was not told before.
    pub(super) fn news(&mut self, hold: Option<&Hold>) -> Option<Hold> {
        let known = match (&self.told, hold) {
            (Some(told), Some(hold)) => told.label() == hold.label() && subject(told) == subject(hold),
            (None, None) => true,
            _ => false,
        };
        self.told = hold.cloned();
        if known { None } else { hold.cloned() }
    }

    /// Shows what was seen.
    pub(super) fn show(&mut self, parts: &Parts, tag: &TagView, seeing: Option<&Seeing>, hold: Option<&Hold>) {
        let app = parts.app.name.as_str();
        parts.status.send_modify(|status| {
            if let Some(seeing) = seeing {
                status.deployed = deployed(&parts.app, seeing);
                status.pin.clone_from(&seeing.pin);
                status.quarantined.clone_from(&seeing.quarantine);
            }
            status.image = watched(&parts.app, tag.tag.as_ref());
            status.tag.clone_from(&tag.tag);
            // Another index around the same image is nothing newer.
            let same = seeing.filter(|seeing| seeing.only_index_moved).and_then(|seeing| seeing.wanted.digest.as_ref());
            status.newest = same.or(tag.digest.as_ref()).cloned();
            status.newest_seen = tag.first_seen;
            status.hold = hold.cloned();
            status.deploying = None;
            status.approval = approval(&parts.app, &*parts.ports.store).filter(|_| parts.app.gates.approve);
            status.state = state(status.deployed.as_ref(), hold);
        });
        let status = parts.status.borrow();
        self.gauges(&parts.ports.metrics, &parts.app, &status);
        tracing::trace!(app, state = status.state.label(), "status");
    }

    fn gauges(&mut self, metrics: &Metrics, app: &App, status: &AppStatus) {
        let name = app.name.as_str();
        for state in STATES {
            let is = i64::from(state == status.state);
            metrics.app_state.with_label_values(&[name, state.label()]).set(is);
        }
        let hold = status.hold.as_ref().map(Hold::label);
        if let Some(past) = self.hold.filter(|past| Some(*past) != hold) {
            metrics.held.with_label_values(&[name, past]).set(0);
        }
        if let Some(hold) = hold {
            metrics.held.with_label_values(&[name, hold]).set(1);
        }
        self.hold = hold;
        let until = status.hold.as_ref().and_then(Hold::until).map_or(0, |until| until.timestamp());
        metrics.held_until_timestamp_seconds.with_label_values(&[name]).set(until);
        let serving = status.deployed.as_ref().map(|deployed| &deployed.digest);
        let available = status.newest.is_some() && status.newest.as_ref() != serving;
        metrics.update_available.with_label_values(&[name]).set(i64::from(available));
        let runs = || i64::from(status.deployed.as_ref().is_some_and(|deployed| serves(&deployed.state)));
        let several = status.deployed.as_ref().and_then(|deployed| deployed.replicas.as_ref());
        let serving_now = several.map_or_else(runs, |replicas| i64::from(replicas.serving));
        metrics.replicas.with_label_values(&[name, "wanted"]).set(i64::from(app.replicas));
        metrics.replicas.with_label_values(&[name, "serving"]).set(serving_now);
        let quarantined = i64::try_from(status.quarantined.len()).unwrap_or(i64::MAX);
        metrics.quarantined_digests.with_label_values(&[name]).set(quarantined);
        if self.digest.as_ref() != serving {
            let image = app.image.to_string();
            if let Some(old) = self.digest.take() {
                // Absent is fine: the series may never have been made.
                let _ = metrics.deployed_info.remove_label_values(&[name, &image, old.as_str()]);
            }
            if let Some(digest) = serving {
                metrics.deployed_info.with_label_values(&[name, &image, digest.as_str()]).set(1);
            }
            self.digest = serving.cloned();
        }
    }
}

fn subject(hold: &Hold) -> String {
    match hold {
        Hold::NothingMatches { message }
        | Hold::NotReady { message }
        | Hold::RegistryUnknown { message }
        | Hold::EngineUnknown { message }
        | Hold::TrafficUnknown { message } => message.clone(),
        Hold::Quarantined { digest, .. } | Hold::BackingOff { digest, .. } => digest.to_string(),
        Hold::Gated { digest, gate: Gate::SignatureInvalid | Gate::ScanDenied, message, .. } => {
            format!("{digest} {message}")
        }
        Hold::Gated { digest, .. } => digest.to_string(),
        Hold::Group { digest, waits_for, .. } => format!("{digest} {waits_for:?}"),
        Hold::Pinned { newer, .. } => newer.to_string(),
        Hold::NotSwappable { message } => message.clone(),
    }
}

fn deployed(app: &App, seeing: &Seeing) -> Option<Deployed> {
    let all: Vec<&Container> = seeing.all_serving(app).collect();
    let container = all.iter().find(|container| in_a_word(container) != "running").or(all.first())?;
    let since = match &seeing.entry {
        Some(entry) => entry.since,
        None => container.started.unwrap_or(container.created),
    };
    let replica = |c: &&Container| Replica { container: c.name.clone(), state: in_a_word(c).to_owned() };
    let replicas = (app.replicas > 1 || all.len() > 1).then(|| Replicas {
        wanted: app.replicas,
        serving: u32::try_from(all.iter().filter(|c| serves(in_a_word(c))).count()).unwrap_or(u32::MAX),
        containers: all.iter().map(replica).collect(),
    });
    Some(Deployed {
        digest: container.owned.digest.clone(),
        generation: container.owned.generation,
        container: container.name.clone(),
        since,
        state: in_a_word(container).to_owned(),
        replicas,
    })
}

/// The state of a container.
fn in_a_word(container: &Container) -> &'static str {
    match container.health {
        Some(crate::model::Health::Unhealthy) if container.is_running() => "unhealthy",
        _ => container.state.label(),
    }
}

fn serves(state: &str) -> bool {
    matches!(state, "running" | "unhealthy" | "restarting")
}

/// "Could not check" is its own state and never "up to date".
fn state(deployed: Option<&Deployed>, hold: Option<&Hold>) -> AppState {
    let serves = deployed.is_some_and(|d| match &d.replicas {
        Some(replicas) => replicas.serving > 0,
        None => serves(&d.state),
    });
    match hold {
        Some(Hold::TrafficUnknown { .. } | Hold::EngineUnknown { .. }) => AppState::Unknown,
        _ if !serves => AppState::Down,
        Some(Hold::RegistryUnknown { .. }) => AppState::Unknown,
        Some(_) => AppState::Held,
        None => AppState::UpToDate,
    }
}
