//! A memory that can be lost.

use std::collections::BTreeMap;

use crate::model::{
    AppName, Attempts, Deployment, DeploymentResult, Digest, Pin, Quarantine, Repository, Seen, SwapId, Tag,
};
use crate::ports::{Store, StoreError};

use super::world::Sim;

#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    seen: BTreeMap<Tag, Seen>,
    pub(super) quarantine: Vec<Quarantine>,
    pin: Option<Pin>,
    attempts: Option<Attempts>,
    pub(super) deployments: Vec<Deployment>,
    notes: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// History entries that are still under way.
    pub(super) fn open(&self) -> Vec<&SwapId> {
        self.deployments.iter().filter(|d| d.result == DeploymentResult::Running).map(|d| &d.id).collect()
    }
}

impl Sim {
    /// A write: another place to die before and after.
    fn write(&self, name: &str, change: impl FnOnce(&mut Memory)) {
        let mut world = self.world();
        if world.dies_before(name) {
            return;
        }
        change(&mut world.memory);
        world.dies_after();
    }
}

impl Store for Sim {
    fn seen(&self, _: &Repository, tag: &Tag) -> Result<Option<Seen>, StoreError> {
        Ok(self.world().memory.seen.get(tag).cloned())
    }
    fn put_seen(&self, _: &Repository, tag: &Tag, seen: &Seen) -> Result<(), StoreError> {
        self.write("store.put_seen", |memory| {
            memory.seen.insert(tag.clone(), seen.clone());
        });
        Ok(())
    }
    fn quarantine(&self, _: &AppName) -> Result<Vec<Quarantine>, StoreError> {
        Ok(self.world().memory.quarantine.clone())
    }
    fn put_quarantine(&self, _: &AppName, entry: &Quarantine) -> Result<(), StoreError> {
        self.write("store.put_quarantine", |memory| {
            memory.quarantine.retain(|known| known.digest != entry.digest);
            memory.quarantine.push(entry.clone());
        });
        Ok(())
    }
    fn lift_quarantine(&self, _: &AppName, _: Option<&Digest>) -> Result<usize, StoreError> {
        Ok(0)
    }
    fn pin(&self, _: &AppName) -> Result<Option<Pin>, StoreError> {
        Ok(self.world().memory.pin.clone())
    }
    fn put_pin(&self, _: &AppName, pin: Option<&Pin>) -> Result<(), StoreError> {
        self.write("store.put_pin", |memory| memory.pin = pin.cloned());
        Ok(())
    }
    fn attempts(&self, _: &AppName) -> Result<Option<Attempts>, StoreError> {
        Ok(self.world().memory.attempts.clone())
    }
    fn put_attempts(&self, _: &AppName, attempts: Option<&Attempts>) -> Result<(), StoreError> {
        self.write("store.put_attempts", |memory| memory.attempts = attempts.cloned());
        Ok(())
    }
    fn put_deployment(&self, _: &AppName, deployment: &Deployment) -> Result<(), StoreError> {
        self.write("store.put_deployment", |memory| {
            match memory.deployments.iter_mut().find(|known| known.id == deployment.id) {
                Some(known) => *known = deployment.clone(),
                None => memory.deployments.push(deployment.clone()),
            }
        });
        Ok(())
    }
    fn deployments(&self, _: &AppName, limit: usize) -> Result<Vec<Deployment>, StoreError> {
        Ok(self.world().memory.deployments.iter().rev().take(limit).cloned().collect())
    }
    fn deployment(&self, _: &AppName, id: &SwapId) -> Result<Option<Deployment>, StoreError> {
        Ok(self.world().memory.deployments.iter().find(|known| known.id == *id).cloned())
    }
    fn note(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.world().memory.notes.get(key).cloned())
    }
    fn put_note(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write("store.put_note", |memory| {
            memory.notes.insert(key.to_owned(), value.to_vec());
        });
        Ok(())
    }
}
