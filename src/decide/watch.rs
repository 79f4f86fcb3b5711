//! A version that fails soon after it went into service: is it the version's fault, and what comes back?
//!
//! All of it is read off the world, so that a restart of the agent changes nothing: the label `tagboat.watched` says
//! that nobody has insisted on the version, the proxy's table or the container's age say since when it serves, and the
//! engine says how it fares. In doubt it is left alone: a person may have stopped it, and a daemon that is restarted
//! starts everything anew.

use crate::model::{Container, ContainerState, Decision, Digest, Generation, Health, Origin, Plan, PlanReason, Time};

use super::observation::Observation;

/// What a person or the engine ends gives one of these: by itself, by SIGINT, SIGKILL or SIGTERM, or unknown.
const CALM_ENDS: [i64; 5] = [0, 130, 137, 143, 255];

/// The pin that goes back to what has served.
const ROLLBACK: &str = "rollback";

/// True for a deployment whose version may be taken out of service again: not one that a person insists on, not one
/// that only changes the configuration, and not what was gone back to.
pub(super) fn is_watched(seen: &Observation<'_>, reason: PlanReason) -> bool {
    let wished = seen.wanted.pinned.as_ref().is_some_and(|(reason, _)| reason == ROLLBACK);
    matches!(reason, PlanReason::TagMoved | PlanReason::Pinned) && !seen.forced && !wished
}

/// What to do about what serves, if it has failed and there is something to go back to. Of several it is enough that one
/// has: the others run the same.
pub(super) fn decide(seen: &Observation<'_>, back: impl FnOnce(&Digest) -> Plan) -> Option<Decision> {
    let (failing, _) = failing(seen)?;
    let target = target(seen, failing)?;
    if let Some(hold) = seen.backing_off(target) {
        return Some(Decision::Hold(hold));
    }
    Some(Decision::Act(Box::new(Plan { tag: None, ..back(target) })))
}

/// The first of those that serve with which something is wrong, and what.
pub fn failing<'a>(seen: &Observation<'a>) -> Option<(&'a Container, String)> {
    seen.all_serving().find_map(|serving| Some((serving, symptom(seen, serving)?)))
}

/// What is wrong with one that serves, if it is watched.
fn symptom(seen: &Observation<'_>, serving: &Container) -> Option<String> {
    let watched = serving.owned.watched && !seen.forced && !seen.app.watch.is_zero();
    if !watched || seen.now >= in_service(seen, serving) + seen.app.watch {
        return None;
    }
    if serving.restart_count > 0 {
        let times =
            if serving.restart_count == 1 { "once".to_owned() } else { format!("{} times", serving.restart_count) };
        return Some(format!("it ended by itself and was restarted {times} while it was watched"));
    }
    match serving.state {
        ContainerState::Running if serving.health == Some(Health::Unhealthy) => {
            let output = serving.health_output.trim();
            let said = if output.is_empty() { String::new() } else { format!(": {output}") };
            Some(format!("its health check failed while it was watched{said}"))
        }
        ContainerState::Exited | ContainerState::Dead if ended_by_itself(serving) => {
            let killed = if serving.oom_killed { ", killed for its memory limit" } else { "" };
            Some(format!("it exited with code {} while it was watched{killed}", serving.exit_code))
        }
        _ => None,
    }
}

/// The engine starts what ends by itself again, if its policy says so: that it does not run is then somebody's wish.
fn ended_by_itself(container: &Container) -> bool {
    let kept_up = matches!(container.restart_policy.as_str(), "always" | "unless-stopped");
    !kept_up && (container.oom_killed || !CALM_ENDS.contains(&container.exit_code))
}

/// Since when it serves. A table that was lost and made anew does not make it younger than it can be.
fn in_service(seen: &Observation<'_>, serving: &Container) -> Time {
    let timing = &seen.app.timing;
    match (&seen.app.origin, seen.entry) {
        (Origin::Declared, Some(entry)) => entry.since.min(serving.created + timing.healthy_deadline),
        // Nothing says when it took the name; its gate took at least so long.
        _ => serving.created + timing.min_healthy,
    }
}

/// The version before it whose image is kept and that has not failed itself.
fn target<'a>(seen: &Observation<'a>, serving: &Container) -> Option<&'a Digest> {
    let failed = |digest: &Digest| seen.quarantine.iter().any(|entry| entry.digest == *digest);
    let before = |(generation, digest): &&(Generation, Digest)| {
        *generation < serving.owned.generation && *digest != serving.owned.digest && !failed(digest)
    };
    seen.kept.iter().filter(before).max_by_key(|(generation, _)| *generation).map(|(_, digest)| digest)
}

#[cfg(test)]
mod tests;
