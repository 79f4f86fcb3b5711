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
mod tests {
    use super::*;
    use crate::model::{DeploymentResult, Failure, FailureReason, Generation, SeenSource, Stage, Time};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn deployment(number: i64) -> Deployment {
        Deployment {
            id: SwapId(format!("shop-{number}")),
            generation: Generation(u64::try_from(number).unwrap()),
            digest: Digest::of(&number.to_be_bytes()),
            previous: None,
            source: SeenSource::Webhook,
            reason: "tag_moved".into(),
            strategy: "proxy".into(),
            started: at(number),
            finished: None,
            result: DeploymentResult::Running,
            steps: vec![],
        }
    }

    fn quarantine(text: &str) -> Quarantine {
        let failure = Failure {
            stage: Stage::Gate,
            reason: FailureReason::Exited,
            message: "exited".into(),
            log_tail: vec!["bye".into()],
        };
        Quarantine { digest: Digest::of(text.as_bytes()), at: at(1), failure, spec: None, swap: None }
    }

    fn shop() -> AppName {
        "shop".parse().unwrap()
    }

    #[test]
    fn what_was_written_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let pin = Pin { digest: Digest::of(b"a"), tag_was: None, reason: "rollback".into(), at: at(0) };
        {
            let store = SledStore::open(dir.path()).unwrap();
            store.put_pin(&shop(), Some(&pin)).unwrap();
            store.put_deployment(&shop(), &deployment(1)).unwrap();
            store.put_note("n", b"bytes").unwrap();
        }
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.pin(&shop()).unwrap(), Some(pin));
        assert_eq!(store.deployment(&shop(), &SwapId("shop-1".into())).unwrap(), Some(deployment(1)));
        assert_eq!(store.note("n").unwrap(), Some(b"bytes".to_vec()));
        store.put_pin(&shop(), None).unwrap();
        assert_eq!(store.pin(&shop()).unwrap(), None);
    }

    #[test]
    fn the_history_is_newest_first_bounded_and_per_app() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        store.put_deployment(&"shop2".parse().unwrap(), &deployment(999)).unwrap();
        for number in 0..205 {
            store.put_deployment(&shop(), &deployment(number)).unwrap();
        }
        let all = store.deployments(&shop(), 1000).unwrap();
        assert_eq!((all.len(), all[0].generation.0, all[199].generation.0), (200, 204, 5));
        let mut ended = deployment(204);
        ended.result = DeploymentResult::Succeeded;
        store.put_deployment(&shop(), &ended).unwrap();
        assert_eq!(store.deployments(&shop(), 1).unwrap(), [ended]);
    }

    #[test]
    fn a_quarantine_is_lifted_one_by_one_or_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        for text in ["a", "b", "c"] {
            store.put_quarantine(&shop(), &quarantine(text)).unwrap();
        }
        assert_eq!(store.lift_quarantine(&shop(), Some(&Digest::of(b"a"))).unwrap(), 1);
        assert_eq!(store.lift_quarantine(&shop(), Some(&Digest::of(b"a"))).unwrap(), 0);
        assert_eq!(store.lift_quarantine(&shop(), None).unwrap(), 2);
        assert_eq!(store.quarantine(&shop()).unwrap(), []);
    }

    #[test]
    fn a_newer_format_is_put_aside_and_not_misread() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = SledStore::open(dir.path()).unwrap();
            store.db.open_tree(VERSIONS).unwrap().insert(SEEN, &99_u32.to_be_bytes()).unwrap();
            store.db.flush().unwrap();
        }
        let store = SledStore::open(dir.path()).unwrap();
        store.put_note("n", b"1").unwrap();
        assert_eq!(broken(dir.path()), 1);
    }

    #[test]
    fn a_value_that_can_t_be_read_loses_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        store.put_quarantine(&shop(), &quarantine("a")).unwrap();
        store.db.open_tree(QUARANTINE).unwrap().insert(b"shop\0zzz", b"{rubbish").unwrap();
        assert_eq!(store.quarantine(&shop()).unwrap().len(), 1);
    }

    #[test]
    fn a_place_that_can_t_be_written_is_made_up_for_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("state"), b"a file where a directory should be").unwrap();
        let store = SledStore::open(&dir.path().join("state")).unwrap();
        store.put_note("n", b"1").unwrap();
        assert_eq!(store.note("n").unwrap(), Some(b"1".to_vec()));
    }

    #[test]
    fn after_an_error_of_the_disk_everything_goes_on_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        store.put_quarantine(&shop(), &quarantine("a")).unwrap();
        store.writer.fail();
        store.put_quarantine(&shop(), &quarantine("b")).unwrap();
        store.put_deployment(&shop(), &deployment(1)).unwrap();
        assert_eq!(store.quarantine(&shop()).unwrap().len(), 2);
        assert_eq!(store.lift_quarantine(&shop(), None).unwrap(), 2);
        assert_eq!(store.quarantine(&shop()).unwrap(), []);
        assert_eq!(store.deployments(&shop(), 9).unwrap(), [deployment(1)]);
    }

    fn broken(dir: &Path) -> usize {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("db.broken")).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn damaged_files_never_keep_it_from_opening(
            cut in 0.0f64..1.0, noise in prop::collection::vec(any::<u8>(), 0..64), position in 0.0f64..1.0,
        ) {
            let dir = tempfile::tempdir().unwrap();
            {
                let store = SledStore::open(dir.path()).unwrap();
                for number in 0..20 {
                    store.put_deployment(&shop(), &deployment(number)).unwrap();
                }
            }
            damage(&dir.path().join("db"), cut, &noise, position);
            let store = SledStore::open(dir.path()).unwrap();
            store.put_note("after", b"1").unwrap();
            prop_assert_eq!(store.note("after").unwrap(), Some(b"1".to_vec()));
            prop_assert!(store.deployments(&shop(), 100).is_ok());
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a fraction of a small file's length"
    )]
    fn damage(db: &Path, cut: f64, noise: &[u8], position: f64) {
        for entry in std::fs::read_dir(db).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_file() {
                continue;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            let at = (bytes.len() as f64 * position) as usize;
            bytes.splice(at..(at + noise.len()).min(bytes.len()), noise.iter().copied());
            bytes.truncate((bytes.len() as f64 * cut) as usize);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}
