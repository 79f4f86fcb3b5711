//! One request of a repository at a time: a repository that hangs holds one of its registry's slots and no more, however many
//! of its tags are watched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

type Lane = Arc<tokio::sync::Mutex<()>>;

/// The lanes in use.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<String, Lane>>);

/// The right to ask for a repository. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    lanes: &'a Lanes,
    repository: &'a str,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Lanes {
    /// Waits for one's turn.
    pub(super) async fn turn<'a>(&'a self, repository: &'a str) -> Turn<'a> {
        let lane = self.0.lock().expect("no holder panics").entry(repository.to_owned()).or_default().clone();
        Turn { lanes: self, repository, guard: Some(lane.lock_owned().await) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut lanes = self.lanes.0.lock().expect("no holder panics");
        self.guard = None;
        // Nobody waits for it: only the map knows it.
        if lanes.get(self.repository).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(self.repository);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repository_has_one_turn_at_a_time_and_is_forgotten_after_the_last() {
        let lanes = Lanes::default();
        let first = lanes.turn("a").await;
        let other = lanes.turn("b").await;
        let mut second = Box::pin(lanes.turn("a"));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop((first, other));
        assert_eq!(lanes.0.lock().unwrap().len(), 1);
        drop(second.await);
        assert!(lanes.0.lock().unwrap().is_empty());
    }
}
