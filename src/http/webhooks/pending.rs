//! Pushes that were announced and not yet looked at: written down before the delivery is answered, because its sender
//! will not say it again, and struck off when the look was had.
//!
//! All of it is one small note in the store. A store that fails costs the promise, never the delivery.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::time::{Duration, timeout};

use crate::engine::Hint;
use crate::model::{AppName, Digest, Repository, Tag, Time};
use crate::ports::Store;

/// The note's key.
const NOTE: &str = "webhooks.pending";
/// The form of the note.
const VERSION: u32 = 1;
/// Pushes in the note; what is beyond them the schedule finds.
const MOST: usize = 256;
/// For writing the note: distribution waits one second for its answer, all told.
const PATIENCE: Duration = Duration::from_millis(250);
/// After this a look has been had however often the registry was behind its own announcement: the engine looks again
/// for ten seconds.
const SETTLED: chrono::TimeDelta = chrono::TimeDelta::seconds(15);
/// What is older than this at the start the schedule has found long since.
const OLDEST: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// A repository and a tag, or all tags of it.
type Key = (Repository, Option<Tag>);

/// A push that waits to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    digest: Option<Digest>,
    received: Time,
    /// A look counts from here on.
    since: Time,
}

/// As it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    version: u32,
    pushes: Vec<Push>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Push {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
    received: Time,
}

#[derive(Debug, Default)]
struct Pushes {
    waiting: BTreeMap<Key, Waiting>,
    /// Changes with every change.
    version: u64,
}

/// What waits; shared by the door and the worker.
pub(super) struct Pending {
    store: Arc<dyn Store>,
    pushes: Mutex<Pushes>,
    /// The version that is on disk; held while writing.
    written: Arc<tokio::sync::Mutex<u64>>,
    complained: std::sync::atomic::AtomicBool,
}

/// A look at a registry, as the events tell it.
pub(super) struct Look<'a> {
    pub(super) app: &'a AppName,
    pub(super) at: Time,
    pub(super) changed: bool,
    pub(super) digest: Option<&'a Digest>,
}

impl Pending {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let written = Arc::new(tokio::sync::Mutex::new(0));
        Self { store, pushes: Mutex::default(), written, complained: false.into() }
    }

    /// What an earlier run left behind. From now on it waits again.
    pub(super) fn recall(&self, now: Time) -> Vec<Hint> {
        let note = match self.store.note(NOTE) {
            Ok(note) => note,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "{error}");
                None
            }
        };
        let note = note.and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        let pushes = note.filter(|note| note.version == VERSION).map(|note| note.pushes).unwrap_or_default();
        let fresh = pushes.into_iter().filter(|push| now - push.received < OLDEST);
        let mut hints = Vec::new();
        for Push { repository, tag, digest, received } in fresh.take(MOST) {
            let hint = Hint { repository, tag, digest, early: false };
            self.put(&hint, received, now);
            hints.push(hint);
        }
        hints
    }

    /// Something was announced.
    pub(super) fn add(&self, hint: &Hint, now: Time) {
        self.put(hint, now, now);
    }

    fn put(&self, hint: &Hint, received: Time, since: Time) {
        let mut pushes = self.pushes.lock().expect("no holder panics");
        let key = (hint.repository.clone(), hint.tag.clone());
        if pushes.waiting.len() < MOST || pushes.waiting.contains_key(&key) {
            pushes.waiting.insert(key, Waiting { digest: hint.digest.clone(), received, since });
            pushes.version += 1;
        }
    }

    /// An app looked. `concerns` says whether a push was about it. Returns whether anything was struck off.
    pub(super) fn looked(&self, look: &Look<'_>, concerns: impl Fn(&Hint) -> bool) -> bool {
        let done = |key: &Key, waiting: &Waiting| {
            let agrees = waiting.digest.as_ref().map_or(look.changed, |digest| look.digest == Some(digest));
            let settled = agrees || look.at - waiting.since >= SETTLED;
            look.at >= waiting.since && settled && concerns(&hint(key, waiting))
        };
        self.strike(done)
    }

    /// Strikes off what waits longer than any look can take, if `over` says so of it.
    pub(super) fn sweep(&self, now: Time, over: impl Fn(&Hint, Time) -> bool) -> bool {
        self.strike(|key, waiting| now - waiting.since >= SETTLED && over(&hint(key, waiting), waiting.since))
    }

    fn strike(&self, done: impl Fn(&Key, &Waiting) -> bool) -> bool {
        let mut pushes = self.pushes.lock().expect("no holder panics");
        let before = pushes.waiting.len();
        pushes.waiting.retain(|key, waiting| !done(key, waiting));
        let struck = pushes.waiting.len() < before;
        pushes.version += u64::from(struck);
        struck
    }

    /// Whether this still waits.
    pub(super) fn has(&self, hint: &Hint) -> bool {
        let key = (hint.repository.clone(), hint.tag.clone());
        self.pushes.lock().expect("no holder panics").waiting.contains_key(&key)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pushes.lock().expect("no holder panics").waiting.is_empty()
    }

    /// Writes the note, if anything has changed, for as long as a sender can wait. What is asked for by several at once
    /// is written once.
    pub(super) async fn write(&self) {
        let wanted = self.pushes.lock().expect("no holder panics").version;
        let written = async {
            let mut on_disk = Arc::clone(&self.written).lock_owned().await;
            if *on_disk >= wanted {
                return Ok(());
            }
            let (version, note) = self.note();
            let store = Arc::clone(&self.store);
            // It holds the lock until the store answers: no older note is written after a newer one.
            let writing = tokio::task::spawn_blocking(move || {
                let result = store.put_note(NOTE, &note);
                *on_disk = version;
                result
            });
            writing.await.unwrap_or(Ok(()))
        };
        let problem = match timeout(PATIENCE, written).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the state directory is slow".to_owned(),
        };
        if !self.complained.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tracing::warn!(problem, "webhooks that are under way may be lost by a restart; the schedule finds them");
        }
    }

    fn note(&self) -> (u64, Vec<u8>) {
        let pushes = self.pushes.lock().expect("no holder panics");
        let push = |(key, waiting): (&Key, &Waiting)| Push {
            repository: key.0.clone(),
            tag: key.1.clone(),
            digest: waiting.digest.clone(),
            received: waiting.received,
        };
        let note = Note { version: VERSION, pushes: pushes.waiting.iter().map(push).collect() };
        (pushes.version, serde_json::to_vec(&note).expect("a note is plain data"))
    }
}

fn hint(key: &Key, waiting: &Waiting) -> Hint {
    Hint { repository: key.0.clone(), tag: key.1.clone(), digest: waiting.digest.clone(), early: false }
}
