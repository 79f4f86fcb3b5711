//! What a decision about one app depends on, and what forbids one whatever the strategy.

use serde::{Deserialize, Serialize};

use super::admission::{Admission, hold};
use crate::model::{
    App, AppEntry, Attempts, Container, ContainerId, Decision, Digest, Generation, Hold, JobContainer, Origin,
    Quarantine, SwapId, Tag, Time,
};

/// What should serve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The digest, as of the last answer; `None` when there never was one.
    pub digest: Option<Digest>,
    /// The tag that points to it, unless it is wanted for itself.
    pub tag: Option<Tag>,
    /// Why the registry's answer is missing or old.
    pub unknown: Option<String>,
    /// Why the registry answered and yet there is no tag that the app follows.
    pub unmatched: Option<String>,
    /// Why what the tag points to can't run here yet; `digest` is then what serves.
    pub not_ready: Option<String>,
    /// Set when a person pinned the digest: why, and what the tag points to if that is something else.
    pub pinned: Option<(String, Option<Digest>)>,
}

/// A container that was stopped to make room. The label of the one that it made room for says the same; this is for the
/// case that somebody removes that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// It.
    pub container: ContainerId,
    /// Its `HostConfig.RestartPolicy` before, as JSON.
    pub restart: String,
}

/// Everything that a decision about one app depends on.
#[derive(Debug, Clone)]
pub struct Observation<'a> {
    /// The app as configured.
    pub app: &'a App,
    /// The hash of its configuration.
    pub spec: &'a str,
    /// What should serve.
    pub wanted: &'a Wanted,
    /// Its containers, in any state.
    pub containers: &'a [Container],
    /// The containers of its jobs.
    pub jobs: &'a [JobContainer],
    /// The generations whose images are kept on the host; only looked up when one of them may have to come back.
    pub kept: &'a [(Generation, Digest)],
    /// What the proxy knows of it.
    pub entry: Option<&'a AppEntry>,
    /// Its digests that failed.
    pub quarantine: &'a [Quarantine],
    /// Failed attempts that were not the image's fault.
    pub attempts: Option<&'a Attempts>,
    /// The container that an earlier run stopped to make room and did not put back, as far as that is remembered.
    pub parked: Option<&'a Parked>,
    /// What the gates need to know about what is wanted.
    pub admission: &'a Admission,
    /// A person asked for a deployment although nothing may have changed.
    pub forced: bool,
    /// The time.
    pub now: Time,
    /// The id to use for a new swap.
    pub swap: &'a SwapId,
}

/// The containers that serve an app, as far as they are there: by the proxy's table and in its order, or by name.
pub fn serving<'a>(
    app: &App,
    entry: Option<&AppEntry>,
    containers: &'a [Container],
) -> impl Iterator<Item = &'a Container> + use<'a> {
    let named = |container: &&'a Container| match &app.origin {
        Origin::Declared => false,
        Origin::Adopted { container: name } => container.name == *name,
    };
    let listed = |id: &ContainerId| containers.iter().find(|container| container.id == *id);
    let active = entry.filter(|_| app.origin == Origin::Declared).map(|entry| entry.active.as_slice());
    let active = active.unwrap_or_default().iter().filter_map(|target| listed(&target.container));
    let all: Vec<&Container> = active.chain(containers.iter().find(named)).collect();
    all.into_iter()
}

impl<'a> Observation<'a> {
    /// The container that serves: by the proxy's table, or by its name. Of several the first.
    pub fn serving(&self) -> Option<&'a Container> {
        self.all_serving().next()
    }

    /// Every container that serves, in the order of the proxy's table, as far as they are there.
    pub fn all_serving(&self) -> impl Iterator<Item = &'a Container> {
        serving(self.app, self.entry, self.containers)
    }

    /// What is wanted serves. "Could not check" is still not "up to date", and neither is a pin that holds
    /// something newer back.
    pub(super) fn settled(&self) -> Decision {
        if let Some((reason, Some(newer))) = &self.wanted.pinned {
            return Decision::Hold(Hold::Pinned { newer: newer.clone(), reason: reason.clone() });
        }
        let unsettled = [&self.wanted.unknown, &self.wanted.unmatched, &self.wanted.not_ready];
        if unsettled.into_iter().any(Option::is_some) {
            return Decision::Hold(self.registry_unknown());
        }
        Decision::UpToDate
    }

    pub(super) fn registry_unknown(&self) -> Hold {
        if let Some(message) = &self.wanted.unmatched {
            return Hold::NothingMatches { message: message.clone() };
        }
        if let Some(message) = self.wanted.not_ready.as_ref().filter(|_| self.wanted.unknown.is_none()) {
            return Hold::NotReady { message: message.clone() };
        }
        let message = self.wanted.unknown.clone().unwrap_or_else(|| "the registry was not asked yet".to_owned());
        Hold::RegistryUnknown { message }
    }

    /// What forbids deploying a digest.
    pub(super) fn obstacle(&self, digest: &Digest) -> Option<Hold> {
        if self.forced {
            return None;
        }
        let failed_so = |q: &&Quarantine| q.digest == *digest && q.spec.as_deref().is_none_or(|spec| spec == self.spec);
        if let Some(entry) = self.quarantine.iter().find(failed_so) {
            return Some(Hold::Quarantined { digest: digest.clone(), failure: entry.failure.clone() });
        }
        self.backing_off(digest)
    }

    /// What forbids making a version serve that does not: what `obstacle` says, and the app's gates. A gate does not
    /// stand in the way of a person who goes back to what has served.
    pub(super) fn forbids(&self, digest: &Digest) -> Option<Hold> {
        self.obstacle(digest).or_else(|| {
            let back = self.wanted.pinned.is_some() && self.has_served(digest);
            if back { None } else { hold(&self.app.gates, digest, self.admission, self.forced, self.now) }
        })
    }

    /// It has been let through before.
    pub(super) fn has_served(&self, digest: &Digest) -> bool {
        self.admission.served.contains(digest)
    }

    pub(super) fn backing_off(&self, digest: &Digest) -> Option<Hold> {
        let attempts = self.attempts.filter(|a| a.digest == *digest && self.now < a.not_before)?;
        Some(Hold::BackingOff { digest: digest.clone(), until: attempts.not_before, failure: attempts.failure.clone() })
    }
}
