//! Who is not to be asked, and until when.
//!
//! A 5xx concerns its repository: others of the registry are still asked. A 429 concerns the registry, and so do
//! connections that fail several times in a row.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokio::time::Duration;

use crate::model::{Quota, Time};
use crate::ports::RegistryErrorKind;

/// The first wait when the registry does not name one.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(600);

/// The longest wait that is believed of a registry: Docker Hub's window.
const BELIEVED: Duration = Duration::from_secs(6 * 3600);

/// Connections that fail so often in a row speak of the registry, not of chance.
const CONNECTIONS: u32 = 3;

/// A wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Wait {
    failures: u32,
    until: Option<Time>,
    why: String,
}

/// What is kept of a registry over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    whole: Wait,
    connections: u32,
    #[serde(skip)]
    repositories: HashMap<String, Wait>,
    pub(super) quota: Option<Quota>,
}

impl Standing {
    /// The end and reason of a wait that forbids asking for `repository`.
    pub(super) fn waits(&self, repository: &str, now: Time) -> Option<(Time, &str)> {
        let of = |wait: &'_ Wait| wait.until.filter(|until| now < *until);
        if let Some(until) = of(&self.whole) {
            return Some((until, &self.whole.why));
        }
        let wait = self.repositories.get(repository)?;
        of(wait).map(|until| (until, wait.why.as_str()))
    }

    /// The wait of the whole registry.
    pub(super) fn whole(&self, now: Time) -> Option<(Time, String)> {
        self.whole.until.filter(|until| now < *until).map(|until| (until, self.whole.why.clone()))
    }

    /// It answered. Returns whether something that is kept has changed.
    pub(super) fn well(&mut self, repository: &str) -> bool {
        let waited = self.whole != Wait::default();
        self.whole = Wait::default();
        self.connections = 0;
        self.repositories.remove(repository);
        waited
    }

    /// It failed. `asked` is what it asked us to wait, `jitter` a random number from 0 to 1. Returns whether something
    /// that is kept has changed.
    pub(super) fn failed(
        &mut self,
        repository: &str,
        kind: RegistryErrorKind,
        why: &str,
        asked: Option<Duration>,
        now: Time,
        jitter: f64,
    ) -> bool {
        let wait = match kind {
            RegistryErrorKind::RateLimited => &mut self.whole,
            RegistryErrorKind::Unreachable => {
                self.connections += 1;
                if self.connections < CONNECTIONS {
                    return false;
                }
                &mut self.whole
            }
            RegistryErrorKind::Server => self.repositories.entry(repository.to_owned()).or_default(),
            _ => return false,
        };
        wait.failures = wait.failures.saturating_add(1);
        let own = FIRST.saturating_mul(2_u32.saturating_pow(wait.failures - 1)).min(LONGEST);
        let length = asked.map_or_else(|| own.mul_f64(0.5 + 0.5 * jitter), |asked| asked.min(BELIEVED));
        wait.until = Some(now + length);
        why.clone_into(&mut wait.why);
        kind != RegistryErrorKind::Server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_broken_repository_does_not_stop_its_neighbours_and_a_429_stops_all() {
        let mut standing = Standing::default();
        standing.failed("a", RegistryErrorKind::Server, "500", None, at(0), 1.0);
        assert!(standing.waits("a", at(0)).is_some() && standing.waits("b", at(0)).is_none());
        let five = Some(Duration::from_secs(5));
        assert!(standing.failed("a", RegistryErrorKind::RateLimited, "429", five, at(0), 1.0));
        assert_eq!(standing.waits("b", at(4)).map(|(until, _)| until), Some(at(5)));
        assert!(standing.waits("b", at(5)).is_none());
    }

    #[test]
    fn one_lost_connection_is_chance_and_three_are_not() {
        let mut standing = Standing::default();
        let lose = |standing: &mut Standing| standing.failed("a", RegistryErrorKind::Unreachable, "", None, at(0), 1.0);
        assert!(!lose(&mut standing) && !lose(&mut standing) && lose(&mut standing));
        assert!(standing.waits("b", at(0)).is_some());
        assert!(standing.well("a"));
        assert!(standing.waits("b", at(0)).is_none());
    }

    #[test]
    fn our_own_waits_double_and_are_bounded() {
        let mut standing = Standing::default();
        let mut last = 0;
        for _ in 0..20 {
            standing.failed("a", RegistryErrorKind::Server, "500", None, at(0), 1.0);
            let wait = (standing.waits("a", at(0)).unwrap().0 - at(0)).num_seconds();
            assert!(wait >= last && wait <= 600);
            last = wait;
        }
        assert_eq!(last, 600);
    }
}
