//! The ids of deliveries that were taken lately: senders send again what they think was lost.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, Instant};

/// Senders that try again do so within minutes; what a person sends again later is to be looked at again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// More ids than this in that time make the oldest forgotten.
const MOST: usize = 4096;

/// An id, of fixed size whatever the sender makes of it.
type Key = [u8; 32];

/// The ids, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<(Instant, Key)>,
    keys: HashSet<Key>,
}

impl Recent {
    /// Whether this delivery of this receiver was taken already.
    pub(super) fn has(&mut self, receiver: &str, id: &str, now: Instant) -> bool {
        while self.order.front().is_some_and(|(at, _)| now.duration_since(*at) > REMEMBERED) {
            self.forget_oldest();
        }
        self.keys.contains(&key(receiver, id))
    }

    /// It is taken now.
    pub(super) fn add(&mut self, receiver: &str, id: &str, now: Instant) {
        let key = key(receiver, id);
        if self.keys.insert(key) {
            self.order.push_back((now, key));
        }
        if self.order.len() > MOST {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.keys.remove(&key);
        }
    }
}

fn key(receiver: &str, id: &str) -> Key {
    // A receiver's id has no such byte in it.
    Sha256::new().chain_update(receiver).chain_update([0]).chain_update(id).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_ten_minutes_and_to_its_own_receiver_only() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        assert!(!recent.has("hub", "1", start));
        recent.add("hub", "1", start);
        assert!(recent.has("hub", "1", start + REMEMBERED));
        assert!(!recent.has("ci", "1", start));
        assert!(!recent.has("hub", "1", start + REMEMBERED + Duration::from_secs(1)));
        assert!(recent.order.is_empty() && recent.keys.is_empty());
        for id in 0..=MOST {
            recent.add("hub", &id.to_string(), start);
        }
        assert_eq!((recent.order.len(), recent.keys.len()), (MOST, MOST));
        assert!(!recent.has("hub", "0", start) && recent.has("hub", "1", start));
    }
}
