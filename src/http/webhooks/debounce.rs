//! One look for a burst: the first push of a tag is acted on at once, those that follow within a moment together.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use crate::engine::Hint;
use crate::model::{Repository, Tag};

/// A push of an image for several platforms is announced several times within this (Docker Hub: six times).
const MOMENT: Duration = Duration::from_millis(500);

/// What was acted on lately.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    recent: BTreeMap<(Repository, Option<Tag>), Recent>,
}

#[derive(Debug)]
struct Recent {
    acted: Instant,
    waiting: Option<Hint>,
}

impl Debounce {
    /// Gives the hint back when it is to be acted on now; else it is kept, in place of an earlier one, until it is due.
    pub(super) fn offer(&mut self, hint: Hint, now: Instant) -> Option<Hint> {
        let key = (hint.repository.clone(), hint.tag.clone());
        match self.recent.get_mut(&key) {
            Some(recent) if now < recent.acted + MOMENT => {
                recent.waiting = Some(hint);
                None
            }
            _ => {
                self.recent.insert(key, Recent { acted: now, waiting: None });
                Some(hint)
            }
        }
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.recent.values().map(|recent| recent.acted + MOMENT).min()
    }

    /// What is due, and forgets what is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Hint> {
        let mut due = Vec::new();
        self.recent.retain(|_, recent| {
            if now < recent.acted + MOMENT {
                return true;
            }
            recent.acted = now;
            let waited = recent.waiting.take();
            let more = waited.is_some();
            due.extend(waited);
            more
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(tag: &str, digest: u8) -> Hint {
        let digest = Some(crate::model::Digest::of(&[digest]));
        Hint { repository: "ghcr.io/acme/shop".parse().unwrap(), tag: Some(tag.parse().unwrap()), digest, early: false }
    }

    #[test]
    fn a_burst_is_two_looks_the_first_at_once_and_the_last_when_it_is_over() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(debounce.offer(hint("v1", 0), at(0)), Some(hint("v1", 0)));
        for n in 1..6 {
            assert_eq!(debounce.offer(hint("v1", n), at(u64::from(n) * 50)), None);
        }
        assert_eq!(debounce.offer(hint("v2", 9), at(300)), Some(hint("v2", 9)), "another tag waits for nothing");
        assert_eq!(debounce.next(), Some(at(500)));
        assert!(debounce.due(at(499)).is_empty());
        assert_eq!(debounce.due(at(500)), [hint("v1", 5)], "with what was announced last");
        assert_eq!(debounce.offer(hint("v1", 7), at(600)), None, "and the next moment begins");
        assert!(debounce.due(at(999)).is_empty());
        assert_eq!(debounce.due(at(1_000)), [hint("v1", 7)]);
        assert!(debounce.due(at(1_500)).is_empty() && debounce.recent.is_empty(), "nothing is kept for ever");
        assert_eq!(debounce.next(), None);
    }
}
