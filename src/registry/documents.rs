//! What manifests said: a digest says the same for ever, so it is asked for once.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use crate::model::{Digest, ManifestDetails, Repository};

/// As many are kept; each is a few hundred bytes, and what falls out costs one request.
const KEPT: usize = 512;

type Key = (Repository, Digest);

#[derive(Debug, Default)]
struct State {
    known: HashMap<Key, ManifestDetails>,
    order: VecDeque<Key>,
}

/// The last manifests that were read.
#[derive(Debug, Default)]
pub(super) struct Documents(Mutex<State>);

impl Documents {
    pub(super) fn get(&self, repository: &Repository, digest: &Digest) -> Option<ManifestDetails> {
        let state = self.0.lock().expect("no holder panics");
        state.known.get(&(repository.clone(), digest.clone())).cloned()
    }

    pub(super) fn put(&self, repository: &Repository, details: &ManifestDetails) {
        let mut state = self.0.lock().expect("no holder panics");
        let key = (repository.clone(), details.digest.clone());
        if state.known.insert(key.clone(), details.clone()).is_none() {
            state.order.push_back(key);
        }
        while state.order.len() > KEPT {
            let oldest = state.order.pop_front();
            oldest.and_then(|key| state.known.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let documents = Documents::default();
        let repository: Repository = "a.test/b".parse().unwrap();
        let details =
            |n: usize| ManifestDetails { digest: Digest::of(n.to_string().as_bytes()), platforms: Vec::new() };
        for n in (0..=KEPT).chain([KEPT]) {
            documents.put(&repository, &details(n));
        }
        assert!(documents.get(&repository, &details(0).digest).is_none());
        assert_eq!(documents.get(&repository, &details(1).digest), Some(details(1)));
        assert!(
            documents.get(&"a.test/c".parse().unwrap(), &details(1).digest).is_none(),
            "each repository lets in others"
        );
    }
}
