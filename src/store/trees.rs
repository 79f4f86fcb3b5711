//! The trees, their keys, and the `Store` port over them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::{Db, Tree};

use crate::model::{AppName, Attempts, Deployment, Digest, Pin, Quarantine, Repository, Seen, SwapId, Tag};
use crate::ports::{Store, StoreError};

use super::writer::Writer;

/// The format of every tree's values; raised when a field is added that an older tagboat must not lose.
pub(super) const FORMAT: u32 = 1;

/// Tree name → format of its values, big-endian.
pub(super) const VERSIONS: &str = "versions";

/// `repository:tag` → `Seen`.
const SEEN: &str = "seen";
/// `app NUL digest` → `Quarantine`.
const QUARANTINE: &str = "quarantine";
/// `app` → `Pin`.
const PINS: &str = "pins";
/// `app` → `Attempts`.
const ATTEMPTS: &str = "attempts";
/// `app NUL start id` → `Deployment`, so that the order of keys is the order of time.
const HISTORY: &str = "history";
/// Notes of adapters.
const NOTES: &str = "notes";

/// Every tree that has a format version.
pub(super) const TREES: [(&str, &str); 6] = [
    (SEEN, "what was seen under a tag"),
    (QUARANTINE, "what failed"),
    (PINS, "what people want"),
    (ATTEMPTS, "what is tried again"),
    (HISTORY, "what was done"),
    (NOTES, "what adapters note"),
];

/// Entries of the history that are kept for each app.
const KEPT: usize = 200;

/// The memory on disk.
#[derive(Debug)]
pub struct SledStore {
    db: Db,
    writer: Writer,
}

fn app_prefix(app: &AppName) -> Vec<u8> {
    let mut key = app.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

fn quarantine_key(app: &AppName, digest: &Digest) -> Vec<u8> {
    let mut key = app_prefix(app);
    key.extend(digest.as_str().as_bytes());
    key
}

fn history_key(app: &AppName, deployment: &Deployment) -> Vec<u8> {
    let mut key = app_prefix(app);
    key.extend(deployment.started.timestamp_millis().to_be_bytes());
    key.extend(deployment.id.0.as_bytes());
    key
}

fn seen_key(repository: &Repository, tag: &Tag) -> Vec<u8> {
    format!("{repository}:{tag}").into_bytes()
}

impl SledStore {
    /// Opens the memory below a state directory; see [`super`] for what happens to a broken one.
    ///
    /// # Errors
    /// When not even a memory that is forgotten at the next start can be made.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let db = super::open::open(state_dir)?;
        Ok(Self { writer: Writer::new(db.clone()), db })
    }

    fn tree(&self, name: &'static str, operation: &'static str) -> Result<Tree, StoreError> {
        self.db.open_tree(name).map_err(|error| StoreError { operation, source: Box::new(error) })
    }

    fn read<T: DeserializeOwned>(
        &self,
        tree: &'static str,
        key: &[u8],
        operation: &'static str,
    ) -> Result<Option<T>, StoreError> {
        if let Some(kept) = self.writer.kept(tree, key) {
            return Ok(kept.and_then(|value| decode(tree, key, &value)));
        }
        let value = self.tree(tree, operation)?.get(key).map_err(|e| StoreError { operation, source: Box::new(e) })?;
        Ok(value.and_then(|value| decode(tree, key, &value)))
    }

    fn write<T: Serialize>(
        &self,
        tree: &'static str,
        key: &[u8],
        value: Option<&T>,
        operation: &'static str,
    ) -> Result<(), StoreError> {
        let bytes = value.map(serde_json::to_vec).transpose();
        let bytes = bytes.map_err(|e| StoreError { operation, source: Box::new(e) })?;
        self.writer.write(tree, key, bytes);
        Ok(())
    }

    /// The values under a prefix, by key.
    fn scan<T: DeserializeOwned>(
        &self,
        tree: &'static str,
        prefix: &[u8],
        operation: &'static str,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for entry in self.tree(tree, operation)?.scan_prefix(prefix) {
            let (key, value) = entry.map_err(|e| StoreError { operation, source: Box::new(e) })?;
            found.insert(key.to_vec(), value.to_vec());
        }
        for (key, value) in self.writer.kept_under(tree, prefix) {
            match value {
                Some(value) => drop(found.insert(key, value)),
                None => drop(found.remove(&key)),
            }
        }
        let decoded = found.into_iter().filter_map(|(key, value)| Some((key.clone(), decode(tree, &key, &value)?)));
        Ok(decoded.collect())
    }
}

/// A value that can't be read is as good as none; it loses only itself.
fn decode<T: DeserializeOwned>(tree: &str, key: &[u8], value: &[u8]) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| {
            tracing::warn!(tree, key = %String::from_utf8_lossy(key), %error, "a record can't be read and is ignored");
        })
        .ok()
}

impl Store for SledStore {
    fn seen(&self, repository: &Repository, tag: &Tag) -> Result<Option<Seen>, StoreError> {
        self.read(SEEN, &seen_key(repository, tag), "read what was seen")
    }

    fn put_seen(&self, repository: &Repository, tag: &Tag, seen: &Seen) -> Result<(), StoreError> {
        self.write(SEEN, &seen_key(repository, tag), Some(seen), "record what was seen")
    }

    fn quarantine(&self, app: &AppName) -> Result<Vec<Quarantine>, StoreError> {
        let mut entries: Vec<Quarantine> =
            self.scan(QUARANTINE, &app_prefix(app), "read the quarantine")?.into_iter().map(|(_, q)| q).collect();
        entries.sort_by_key(|q| std::cmp::Reverse(q.at));
        Ok(entries)
    }

    fn put_quarantine(&self, app: &AppName, entry: &Quarantine) -> Result<(), StoreError> {
        self.write(QUARANTINE, &quarantine_key(app, &entry.digest), Some(entry), "record a quarantine")
    }

    fn lift_quarantine(&self, app: &AppName, digest: Option<&Digest>) -> Result<usize, StoreError> {
        let operation = "lift a quarantine";
        let entries: Vec<(Vec<u8>, Quarantine)> = self.scan(QUARANTINE, &app_prefix(app), operation)?;
        let lifted = entries.into_iter().filter(|(_, q)| digest.is_none_or(|digest| q.digest == *digest));
        let mut count = 0;
        for (key, _) in lifted {
            self.write::<Quarantine>(QUARANTINE, &key, None, operation)?;
            count += 1;
        }
        Ok(count)
    }

    fn pin(&self, app: &AppName) -> Result<Option<Pin>, StoreError> {
        self.read(PINS, app.as_str().as_bytes(), "read a pin")
    }

    fn put_pin(&self, app: &AppName, pin: Option<&Pin>) -> Result<(), StoreError> {
        self.write(PINS, app.as_str().as_bytes(), pin, "record a pin")
    }

    fn attempts(&self, app: &AppName) -> Result<Option<Attempts>, StoreError> {
        self.read(ATTEMPTS, app.as_str().as_bytes(), "read the failed attempts")
    }

    fn put_attempts(&self, app: &AppName, attempts: Option<&Attempts>) -> Result<(), StoreError> {
        self.write(ATTEMPTS, app.as_str().as_bytes(), attempts, "record a failed attempt")
    }

    fn put_deployment(&self, app: &AppName, deployment: &Deployment) -> Result<(), StoreError> {
        let operation = "record a deployment";
        let key = history_key(app, deployment);
        self.write(HISTORY, &key, Some(deployment), operation)?;
        let keys: Vec<Vec<u8>> = self
            .scan::<serde::de::IgnoredAny>(HISTORY, &app_prefix(app), operation)?
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        for old in keys.iter().take(keys.len().saturating_sub(KEPT)) {
            self.writer.write(HISTORY, old, None);
        }
        Ok(())
    }

    fn deployments(&self, app: &AppName, limit: usize) -> Result<Vec<Deployment>, StoreError> {
        let all = self.scan(HISTORY, &app_prefix(app), "read the history")?;
        Ok(all.into_iter().rev().take(limit).map(|(_, deployment)| deployment).collect())
    }

    fn deployment(&self, app: &AppName, id: &SwapId) -> Result<Option<Deployment>, StoreError> {
        Ok(self.deployments(app, KEPT)?.into_iter().find(|deployment| deployment.id == *id))
    }

    fn note(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(NOTES, key.as_bytes(), "read a note")
    }

    fn put_note(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write(NOTES, key.as_bytes(), Some(&value), "record a note")
    }
}

#[cfg(test)]
mod tests;
