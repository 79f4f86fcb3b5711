//! What happens to the world from outside.

use chrono::TimeDelta;
use serde_json::json;

use crate::engine::clock::Utc;
use crate::model::{ContainerId, ContainerState, Table};

use super::memory::Memory;
use super::world::{APP, Nature, World};

/// Something that somebody does; a number picks one of the containers that there are then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Push(Nature),
    Registry {
        down: bool,
    },
    Flaws {
        percent: u8,
    },
    Forget,
    Remove(usize),
    Stop(usize),
    Start(usize),
    Rename(usize),
    Policy(usize),
    /// `docker container prune`.
    Prune,
    /// `docker compose up` after a change: another container under the name.
    Recreate,
    /// The engine is restarted; without live-restore its containers with it.
    Engine {
        live: bool,
    },
    /// The proxy's table is lost.
    Table,
}

impl Act {
    pub(super) fn done(&self, world: &mut World) {
        world.trace.push(format!("{} *** {self:?}", Utc::now().format("%H:%M:%S%.3f")));
        let chosen = |world: &World, index: usize| -> Option<ContainerId> {
            let count = world.containers.len();
            (count > 0).then(|| world.containers[index % count].id.clone())
        };
        match self {
            Self::Push(nature) => {
                world.push(*nature);
                return;
            }
            Self::Registry { down } => {
                world.registry_down = *down;
                return;
            }
            Self::Flaws { percent } => {
                world.flaws = f64::from(*percent) / 100.0;
                return;
            }
            Self::Forget => {
                world.memory = Memory::default();
                return;
            }
            Self::Engine { live } => return world.restart_engine(*live),
            Self::Table => {
                world.table = Table::default();
                world.held = None;
                return;
            }
            _ => world.touched = true,
        }
        if let Self::Remove(index) | Self::Stop(index) | Self::Start(index) | Self::Rename(index) = self {
            let id = chosen(world, *index);
            world.hands.extend(id);
        }
        match self {
            Self::Remove(index) => {
                if let Some(id) = chosen(world, *index) {
                    world.tell(&id, "destroy");
                    world.containers.retain(|made| made.id != id);
                }
            }
            Self::Stop(index) => {
                if let Some(id) = chosen(world, *index) {
                    world.halt(&id);
                }
            }
            Self::Start(index) => {
                if let Some(id) = chosen(world, *index) {
                    let _ = world.start(&id);
                }
            }
            Self::Rename(index) => {
                let free = world.named("mine").is_none();
                if let Some(id) = chosen(world, *index).filter(|_| free)
                    && let Some(made) = world.find(&id)
                {
                    "mine".clone_into(&mut made.name);
                }
            }
            Self::Policy(index) => {
                if let Some(id) = chosen(world, *index)
                    && let Some(made) = world.find(&id)
                {
                    made.policy = json!({"Name": "on-failure", "MaximumRetryCount": 5});
                }
            }
            Self::Prune => {
                let ended = |made: &super::world::Made| {
                    matches!(made.state, ContainerState::Exited | ContainerState::Created | ContainerState::Dead)
                };
                let gone: Vec<ContainerId> =
                    world.containers.iter().filter(|m| ended(m)).map(|m| m.id.clone()).collect();
                for id in gone {
                    world.tell(&id, "destroy");
                    world.containers.retain(|made| made.id != id);
                }
            }
            Self::Recreate => world.recreate(),
            _ => {}
        }
    }
}

impl World {
    fn recreate(&mut self) {
        if !self.strategy.is_by_name() {
            return;
        }
        if let Some(id) = self.named(APP).map(|made| made.id.clone()) {
            self.tell(&id, "destroy");
            self.containers.retain(|made| made.id != id);
        }
        let name = format!("{}:latest", super::world::REPOSITORY);
        let Some(digest) = self.present(&name).map(|image| image.digest.clone()) else { return };
        let id = self.make(APP, super::run::body(self.strategy, "always"), &digest);
        let _ = self.start(&id);
    }

    fn restart_engine(&mut self, live: bool) {
        self.listeners.clear();
        let now = Utc::now();
        self.away = Some(now + TimeDelta::seconds(3));
        if live {
            return;
        }
        for made in &mut self.containers {
            if !matches!(made.state, ContainerState::Running | ContainerState::Restarting) {
                continue;
            }
            (made.finished, made.code) = (Some(now), 137);
            let back = made.policy_name() != "no";
            made.state = if back { ContainerState::Restarting } else { ContainerState::Exited };
            made.again = back.then(|| now + TimeDelta::seconds(3));
            made.booting = back;
            self.made = self.made.checked_add(1).unwrap_or(2);
            made.address = self.made;
        }
    }
}
