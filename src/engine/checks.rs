//! One question for all that ask the same: apps on one repository and tag share a look at the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::{Duration, Instant};

use crate::model::{AppName, Cached, Repository, Resolved, Tag};
use crate::ports::{Registry, RegistryError, RegistryErrorKind};

use super::observer::chain;

type Key = (Repository, Tag);

/// An answer is of no use to anybody after so long: the longest schedules look once a day or more seldom.
const OLD: Duration = Duration::from_secs(3600);

/// What was last answered.
#[derive(Debug)]
struct Last {
    begun: Instant,
    by: AppName,
    answer: Result<Resolved, Failed>,
}

/// An error without what lies beneath it, which can't be copied.
#[derive(Debug, Clone)]
struct Failed {
    kind: RegistryErrorKind,
    message: String,
    retry_after: Option<Duration>,
}

/// The lock makes one question of many.
type Check = Arc<tokio::sync::Mutex<Option<Last>>>;

/// The questions that were asked.
#[derive(Debug, Default)]
pub(super) struct Checks(Mutex<HashMap<Key, Check>>);

impl Checks {
    /// Asks for a tag's digest, unless another app has been answered whose question is no older than `age`. With no age at
    /// all the question has to be younger than this one: whoever was told of a push must not hear what was before it.
    pub(super) async fn resolve(
        &self,
        registry: &dyn Registry,
        app: &AppName,
        (repository, tag): (&Repository, &Tag),
        last: Option<&Cached>,
        age: Duration,
    ) -> Result<Resolved, RegistryError> {
        let arrived = Instant::now();
        let check = self.check(repository, tag);
        let mut known = check.lock().await;
        // A failure is no answer to anybody who comes later, nor is one's own last answer.
        let age = |last: &Last| if last.answer.is_ok() && last.by != *app { age } else { Duration::ZERO };
        let fresh = |last: &&Last| last.begun + age(last) >= arrived;
        if let Some(Last { answer, .. }) = known.as_ref().filter(fresh) {
            return answer.clone().map_err(RegistryError::from);
        }
        let begun = Instant::now();
        let answer = registry.resolve(repository, tag, last).await;
        let kept = answer.as_ref().map(Resolved::clone).map_err(Failed::of);
        *known = Some(Last { begun, by: app.clone(), answer: kept });
        answer
    }

    fn check(&self, repository: &Repository, tag: &Tag) -> Check {
        let mut checks = self.0.lock().expect("no holder panics");
        let key = (repository.clone(), tag.clone());
        if checks.len().is_power_of_two() && !checks.contains_key(&key) {
            // Of apps that are gone, and of tags that a policy has left behind.
            checks.retain(|_, check| {
                let recent = |last: &Last| last.begun.elapsed() < OLD;
                check.try_lock().map_or(true, |last| last.as_ref().is_none_or(recent))
            });
        }
        checks.entry(key).or_default().clone()
    }
}

impl Failed {
    fn of(error: &RegistryError) -> Self {
        Self { kind: error.kind, message: chain(error), retry_after: error.retry_after }
    }
}

impl From<Failed> for RegistryError {
    fn from(failed: Failed) -> Self {
        Self { kind: failed.kind, message: failed.message, retry_after: failed.retry_after, source: None }
    }
}

#[cfg(test)]
mod tests;
