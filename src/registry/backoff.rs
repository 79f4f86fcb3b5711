//! Who is not to be asked, and until when.
//!
//! A 5xx concerns its repository: others of the registry are still asked. A 429 concerns the registry, and so do
//! connections that fail several times in a row.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

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

/// Connections that fail, or repositories that are silent, so often in a row speak of the registry, not of chance.
const IN_A_ROW: usize = 3;

/// Less left after so many HEADs in a row: they count. Fewer can be others behind the same address.
const FALLS: usize = 3;

/// Who must wait because of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// 429: the registry.
    RateLimited,
    /// 5xx: the repository.
    Server,
    /// Connected, but no answer, or only part of one: the repository; the registry when several repositories in a row
    /// are silent.
    Silence,
    /// No connection: the registry, when it is several times in a row.
    Connection,
}

impl Trouble {
    fn kind(self) -> RegistryErrorKind {
        match self {
            Self::RateLimited => RegistryErrorKind::RateLimited,
            Self::Server => RegistryErrorKind::Server,
            Self::Silence | Self::Connection => RegistryErrorKind::Unreachable,
        }
    }
}

/// A wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wait {
    failures: u32,
    until: Time,
    trouble: Trouble,
    why: String,
}

impl Wait {
    /// Still to be kept. One that is longer than any we believe in stems from a clock that was set back since.
    fn in_force(&self, now: Time) -> bool {
        now < self.until && self.until - now <= chrono::Duration::from_std(BELIEVED).unwrap_or_default()
    }

    /// Begins or prolongs one. What fails during a wait was sent before it, and is the same failure.
    fn more(
        before: Option<&Self>,
        trouble: Trouble,
        why: &str,
        asked: Option<Duration>,
        now: Time,
        jitter: f64,
    ) -> Self {
        let running = before.filter(|wait| wait.in_force(now));
        let failures = match (before, running) {
            (Some(wait), Some(_)) => wait.failures,
            (Some(wait), None) => wait.failures.saturating_add(1),
            (None, _) => 1,
        };
        let own = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
        let length = asked.map_or_else(|| own.mul_f64(0.5 + 0.5 * jitter), |asked| asked.clamp(FIRST, BELIEVED));
        let until = running.map_or(now + length, |wait| wait.until.max(now + length));
        Self { failures, until, trouble, why: why.to_owned() }
    }
}

/// What is kept of a registry over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    whole: Option<Wait>,
    #[serde(skip)]
    connections: usize,
    #[serde(skip)]
    silent: HashSet<String>,
    #[serde(skip)]
    repositories: HashMap<String, Wait>,
    pub(super) quota: Option<Quota>,
    /// When the quota was last written down.
    #[serde(skip)]
    quota_kept: Option<Time>,
    /// HEADs in a row after which less was left than before.
    #[serde(skip)]
    falls: usize,
    #[serde(skip)]
    last_was_head: bool,
    /// Hashes of the tags that were asked for.
    #[serde(skip)]
    watched: HashSet<u64>,
}

impl Standing {
    /// A tag of this registry is looked at.
    pub(super) fn watches(&mut self, reference: &str) {
        let mut hasher = std::hash::DefaultHasher::new();
        reference.hash(&mut hasher);
        self.watched.insert(hasher.finish());
    }

    /// Tags that are looked at.
    pub(super) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// What is left now. Docker Hub does not count HEAD, others may: whether looks count is seen by what they leave.
    /// Returns whether that is news.
    pub(super) fn take_quota(&mut self, mut quota: Quota, by_head: bool, polls_by_get: bool) -> bool {
        let before = self.quota.as_ref().and_then(|quota| quota.remaining);
        let counted = self.quota.as_ref().is_some_and(|quota| quota.looks_count);
        if by_head && self.last_was_head {
            match before.cmp(&quota.remaining) {
                Ordering::Greater => self.falls = self.falls.saturating_add(1),
                Ordering::Equal => self.falls = 0,
                // Time gives some back.
                Ordering::Less => {}
            }
        }
        self.last_was_head = by_head;
        let same = by_head && before == quota.remaining;
        quota.looks_count = polls_by_get || self.falls >= FALLS || (counted && !same);
        let news = quota.looks_count && !counted;
        self.quota = Some(quota);
        news
    }

    /// The quota need not be written down now: it changes with every request, and a minute's change is nothing.
    pub(super) fn quota_is_kept(&mut self, now: Time) -> bool {
        let kept = self.quota_kept.is_some_and(|at| at <= now && now - at < chrono::Duration::minutes(1));
        if !kept {
            self.quota_kept = Some(now);
        }
        kept
    }

    /// The end, kind and reason of a wait that forbids asking for `repository`.
    pub(super) fn waits(&self, repository: &str, now: Time) -> Option<(Time, RegistryErrorKind, &str)> {
        let both = [self.whole.as_ref(), self.repositories.get(repository)];
        let wait = both.into_iter().flatten().find(|wait| wait.in_force(now))?;
        Some((wait.until, wait.trouble.kind(), &wait.why))
    }

    /// The wait of the whole registry.
    pub(super) fn whole(&self, now: Time) -> Option<(Time, String)> {
        self.whole.as_ref().filter(|wait| wait.in_force(now)).map(|wait| (wait.until, wait.why.clone()))
    }

    /// It answered with sense. Returns whether something that is kept has changed. A wait in force stays: this answer
    /// belongs to a request that was sent before it.
    pub(super) fn well(&mut self, repository: &str, now: Time) -> bool {
        self.connections = 0;
        self.silent.clear();
        self.repositories.retain(|name, wait| name != repository || wait.in_force(now));
        let over = self.whole.as_ref().is_some_and(|wait| !wait.in_force(now));
        if over {
            self.whole = None;
        }
        over
    }

    /// It failed. `asked` is what it asked us to wait, `jitter` a random number from 0 to 1. Returns whether something
    /// that is kept has changed.
    pub(super) fn failed(
        &mut self,
        repository: &str,
        trouble: Trouble,
        why: &str,
        asked: Option<Duration>,
        now: Time,
        jitter: f64,
    ) -> bool {
        match trouble {
            Trouble::Connection => self.connections += 1,
            Trouble::Silence => _ = self.silent.insert(repository.to_owned()),
            Trouble::RateLimited | Trouble::Server => {
                self.connections = 0;
                self.silent.clear();
            }
        }
        if matches!(trouble, Trouble::Server | Trouble::Silence) {
            let before = self.repositories.get(repository);
            let wait = Wait::more(before, trouble, why, asked, now, jitter);
            self.repositories.insert(repository.to_owned(), wait);
        }
        let lost = self.connections >= IN_A_ROW || self.silent.len() >= IN_A_ROW;
        if trouble == Trouble::RateLimited || lost {
            self.whole = Some(Wait::more(self.whole.as_ref(), trouble, why, asked, now, jitter));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn until(standing: &Standing, repository: &str, now: i64) -> Option<i64> {
        standing.waits(repository, at(now)).map(|(until, _, _)| (until - at(0)).num_seconds())
    }

    #[test]
    fn a_broken_repository_does_not_stop_its_neighbours_and_a_429_stops_all() {
        let mut standing = Standing::default();
        standing.failed("a", Trouble::Server, "500", None, at(0), 1.0);
        assert!(standing.waits("a", at(0)).is_some() && standing.waits("b", at(0)).is_none());
        let five = Some(Duration::from_secs(5));
        assert!(standing.failed("a", Trouble::RateLimited, "429", five, at(0), 1.0));
        assert_eq!(until(&standing, "b", 4), Some(5));
        assert_eq!(until(&standing, "b", 5), None);
    }

    #[test]
    fn one_lost_connection_is_chance_and_three_are_not() {
        let mut standing = Standing::default();
        let lose = |standing: &mut Standing| standing.failed("a", Trouble::Connection, "", None, at(0), 1.0);
        assert!(!lose(&mut standing) && !lose(&mut standing));
        standing.well("b", at(0));
        assert!(!lose(&mut standing) && !lose(&mut standing) && lose(&mut standing));
        assert_eq!(standing.waits("b", at(0)).unwrap().1, RegistryErrorKind::Unreachable);
    }

    #[test]
    fn one_silent_repository_waits_alone_and_three_speak_for_the_registry() {
        let mut standing = Standing::default();
        let silent = |standing: &mut Standing, who: &str| standing.failed(who, Trouble::Silence, "", None, at(0), 1.0);
        assert!((0..9).all(|_| !silent(&mut standing, "a")));
        assert!(standing.waits("a", at(0)).is_some() && standing.waits("d", at(0)).is_none());
        assert!(!silent(&mut standing, "b") && silent(&mut standing, "c"));
        assert!(standing.waits("d", at(0)).is_some());
    }

    #[test]
    fn answers_that_were_under_way_neither_end_nor_double_a_wait() {
        let mut standing = Standing::default();
        let limited = |standing: &mut Standing, now| standing.failed("a", Trouble::RateLimited, "429", None, now, 1.0);
        for _ in 0..4 {
            limited(&mut standing, at(0));
        }
        assert_eq!(until(&standing, "b", 0), Some(1), "four refusals of one moment are one");
        assert!(!standing.well("b", at(0)));
        assert_eq!(until(&standing, "b", 0), Some(1));
        limited(&mut standing, at(1));
        assert_eq!(until(&standing, "b", 1), Some(3), "the next one waits twice as long");
        assert!(standing.well("b", at(3)));
        limited(&mut standing, at(4));
        assert_eq!(until(&standing, "b", 4), Some(5), "and it begins anew after an answer");
    }

    #[test]
    fn our_own_waits_double_and_are_bounded() {
        let (mut standing, mut now, mut last) = (Standing::default(), 0, 0);
        for _ in 0..20 {
            standing.failed("a", Trouble::Server, "500", None, at(now), 1.0);
            let wait = until(&standing, "a", now).unwrap() - now;
            assert!(wait >= last && wait <= 600);
            (last, now) = (wait, now + wait);
        }
        assert_eq!(last, 600);
    }

    #[test]
    fn what_a_registry_asks_is_kept_within_reason() {
        for (asked, waited) in
            [(Duration::ZERO, 1), (Duration::from_secs(7), 7), (Duration::from_secs(1 << 40), 21_600)]
        {
            let mut standing = Standing::default();
            standing.failed("a", Trouble::RateLimited, "429", Some(asked), at(0), 0.0);
            assert_eq!(until(&standing, "a", 0), Some(waited), "{asked:?}");
            assert_eq!(until(&standing, "a", -30_000), None, "the clock was set back");
        }
    }

    #[test]
    fn looks_count_when_each_leaves_less_and_not_when_they_leave_the_same() {
        let quota = |remaining| Quota {
            limit: Some(100),
            remaining: Some(remaining),
            window_seconds: Some(3600),
            resets_seconds: None,
            looks_count: false,
            at: at(0),
        };
        let mut standing = Standing::default();
        for (remaining, by_head, counts) in [
            (90, true, false),
            (89, true, false),
            (88, true, false),
            (80, false, false),
            (79, true, false),
            (78, true, true),
            (99, true, true),
            (99, true, false),
            (98, false, false),
        ] {
            standing.take_quota(quota(remaining), by_head, false);
            assert_eq!(standing.quota.as_ref().unwrap().looks_count, counts, "{remaining}");
        }
        assert!(standing.take_quota(quota(97), false, true), "a registry without HEAD");
    }

    #[test]
    fn a_registrys_wait_survives_a_restart() {
        let mut standing = Standing::default();
        standing.failed("a", Trouble::RateLimited, "429", Some(Duration::from_secs(60)), at(0), 0.0);
        let bytes = serde_json::to_vec(&standing).unwrap();
        let again: Standing = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(again.whole(at(0)), standing.whole(at(0)));
        assert!(again.whole(at(0)).is_some());
    }
}
