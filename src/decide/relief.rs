//! tagboat's own container where two of it can't run side by side: what the container that stops the old one and starts
//! the next one in its place, the relief, is to do now.
//!
//! It is said anew at each look, from what is there and nothing else: whoever carries it out may be killed at any place and
//! started again. The relief removes neither of the two. Whether the next one is good is that one's own judgement, made by
//! the code that judges any other: it has taken the place when it has taken the name. What the relief adds is that somebody
//! is left who starts the old one again when the next one ends, or is not done in time.

mod body;

use std::time::Duration;

use crate::model::{Container, ContainerState, FailureReason, Time};

use super::by_name::{is_failed, serving_name};
pub use body::{Errand, body, is_relief, is_sent_for, relief_name};

/// What is known besides the two containers.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Time,
    /// Since when the relief runs: what ended before that has not ended by itself, as far as it knows.
    pub since: Time,
    /// The next one has taken the name within this time from its start.
    pub within: Duration,
    /// The old one's agent wants this to go on.
    pub announced: bool,
    /// The engine has refused to start the next one, in these words.
    pub refused: Option<&'a str>,
}

/// What is wrong with the next one.
pub type Blame = (FailureReason, String);

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Look again.
    Wait,
    /// Stop the old one, without its restart policy.
    StopOld,
    /// Start the next one.
    StartNext,
    /// Write down what is wrong with the next one, and stop it.
    StopNext(Blame),
    /// Write down what is wrong with the next one, if it is to blame, and start the old one with its restart policy.
    StartOld(Option<Blame>),
    /// There is nothing left to do.
    End(End),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The next one has the place.
    Taken,
    /// The old one has its place again.
    PutBack,
    /// The old one was not stopped, and is not to be any more.
    Recalled,
    /// There is no container left that could run.
    Lost,
}

/// How far the next one has come.
enum Stand {
    Created,
    Refused,
    Running,
    Ended,
}

/// Says what to do now. `None` for a container that is gone.
pub fn relieve(old: Option<&Container>, next: Option<&Container>, about: &Circumstances<'_>) -> Act {
    let Some(next) = next else {
        return match old {
            Some(old) if old.state != ContainerState::Running => Act::StartOld(None),
            Some(_) => Act::End(End::PutBack),
            None => Act::End(End::Lost),
        };
    };
    if has_taken(old, next) {
        return match next.state {
            ContainerState::Created | ContainerState::Exited => Act::StartNext,
            _ if has_its_policy(next, next) => Act::End(End::Taken),
            // Its own agent sets it.
            _ => Act::Wait,
        };
    }
    match (old, stand(next, about)) {
        (Some(old), stand) => between(old, next, stand, about),
        // A person removed it. The next one is all that is left, and has nobody to give its place to.
        (None, Stand::Created) => Act::StartNext,
        (None, Stand::Running) => Act::Wait,
        (None, Stand::Refused | Stand::Ended) => Act::End(End::Lost),
    }
}

/// Both are there, and the next one has not taken the place.
fn between(old: &Container, next: &Container, stand: Stand, about: &Circumstances<'_>) -> Act {
    let put_back = |blame| if serves(old, next) { Act::End(End::PutBack) } else { Act::StartOld(blame) };
    match stand {
        Stand::Running if is_late(next, about) => {
            let why = format!("it had not taken the place {} s after its start", about.within.as_secs());
            Act::StopNext((FailureReason::Unhealthy, why))
        }
        Stand::Running => Act::Wait,
        // Its agent has given it up itself.
        _ if is_failed(&next.name) => put_back(None),
        Stand::Created if !runs(old) => Act::StartNext,
        Stand::Created if !about.announced => Act::End(End::Recalled),
        Stand::Created => Act::StopOld,
        Stand::Refused => {
            let why = about.refused.unwrap_or("the engine could not start it").to_owned();
            put_back(Some((FailureReason::CannotStart, why)))
        }
        Stand::Ended => put_back(ended(next, about)),
    }
}

/// The commit point: the old one gives its name up only after the next one's gate.
fn has_taken(old: Option<&Container>, next: &Container) -> bool {
    let has_name = |container: &Container| serving_name(&container.name) == container.name;
    has_name(next) || old.is_some_and(|old| !has_name(old))
}

fn stand(next: &Container, about: &Circumstances<'_>) -> Stand {
    match next.state {
        // What could not be started is still called created, and has the code of that.
        ContainerState::Created if next.exit_code != 0 || about.refused.is_some() => Stand::Refused,
        ContainerState::Created => Stand::Created,
        ContainerState::Running | ContainerState::Restarting | ContainerState::Paused => Stand::Running,
        ContainerState::Exited | ContainerState::Removing | ContainerState::Dead => Stand::Ended,
    }
}

fn runs(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

/// The old one serves as it did before.
fn serves(old: &Container, next: &Container) -> bool {
    runs(old) && has_its_policy(old, next)
}

/// Whether a container has the restart policy that it is meant to have, as the next one's labels tell.
fn has_its_policy(container: &Container, next: &Container) -> bool {
    container.restart_policy != "no" || !keeps_itself(next)
}

/// Whether the policy that the next one was told is one at all.
fn keeps_itself(next: &Container) -> bool {
    let told = next.owned.restart.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    told.is_some_and(|policy| !matches!(policy["Name"].as_str(), None | Some("" | "no")))
}

fn is_late(next: &Container, about: &Circumstances<'_>) -> bool {
    let started = next.started.unwrap_or(next.created);
    (about.now - started).to_std().is_ok_and(|ran| ran > about.within)
}

/// What ended while nobody looked may have been ended by a power cut, or with the engine: it is not to blame.
fn ended(next: &Container, about: &Circumstances<'_>) -> Option<Blame> {
    next.finished.filter(|finished| *finished >= about.since)?;
    Some((FailureReason::Exited, format!("it ended with code {} instead of taking the place", next.exit_code)))
}

#[cfg(test)]
mod tests;
