//! The proxy's port on data.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;

use crate::engine::clock::Utc;
use crate::model::{
    AppEntry, AppHold, AppName, AppSwitch, ContainerId, InFlight, Probe, ProbeOutcome, RouteSet, SwitchAck, Table,
    TargetCounters, TrafficStats,
};
use crate::ports::{Traffic, TrafficError};

use super::world::{Sim, World};

/// What was in flight at a switch takes so long.
const LINGERS: TimeDelta = TimeDelta::milliseconds(1500);

fn away() -> TrafficError {
    TrafficError::Unreachable { socket: "proxy.sock".to_owned(), source: None }
}

#[async_trait]
impl Traffic for Sim {
    async fn table(&self) -> Result<Table, TrafficError> {
        self.look(false, away, |world| Ok(world.table.clone())).await
    }

    async fn set_routes(&self, apps: &[RouteSet]) -> Result<(), TrafficError> {
        self.act("traffic.set_routes".into(), 2, away, |world| {
            world.table.apps.retain(|name, _| apps.iter().any(|set| set.app == *name));
            for set in apps {
                let blank = AppEntry {
                    revision: 0,
                    routes: Vec::new(),
                    active: Vec::new(),
                    previous: Vec::new(),
                    since: Utc::now(),
                };
                world.table.apps.entry(set.app.clone()).or_insert(blank).routes.clone_from(&set.routes);
            }
            world.table.generation += 1;
            Ok(())
        })
        .await
    }

    async fn switch(&self, changes: &[AppSwitch]) -> Result<SwitchAck, TrafficError> {
        self.act("traffic.switch".into(), 3, away, |world| {
            let now = Utc::now();
            // Of one that was held, nothing has been sent to its targets for a while.
            let held = world.is_held();
            let mut ack = SwitchAck { generation: world.table.generation + 1, revisions: Default::default() };
            for change in changes {
                let entry = world.table.apps.get_mut(&change.app);
                let entry = entry.ok_or_else(|| TrafficError::Refused { message: "no such app".to_owned() })?;
                if entry.revision != change.expect {
                    return Err(TrafficError::Conflict {
                        app: change.app.clone(),
                        expected: change.expect,
                        found: entry.revision,
                    });
                }
                entry.revision += 1;
                entry.previous = std::mem::replace(&mut entry.active, change.to.clone());
                entry.since = now;
                ack.revisions.insert(change.app.clone(), entry.revision);
                world.held = None;
                for target in entry.previous.clone().into_iter().filter(|_| !held) {
                    world.busy.insert(target.container, now + LINGERS);
                }
                let stays = |target: &&crate::model::Target| {
                    world.replicas > 1 && entry.previous.iter().any(|known| known.container == target.container)
                };
                let staying: Vec<ContainerId> =
                    change.to.iter().filter(stays).map(|target| target.container.clone()).collect();
                for target in &change.to {
                    world.busy.remove(&target.container);
                    // What a person has started again, beside others, was not asked to prove itself.
                    if !staying.contains(&target.container) {
                        world.may_serve(&target.container);
                    }
                }
            }
            world.table.generation += 1;
            Ok(ack)
        })
        .await
    }

    async fn hold(&self, hold: &AppHold) -> Result<(), TrafficError> {
        let lease = TimeDelta::milliseconds(i64::try_from(hold.lease_ms).unwrap_or(i64::MAX));
        let work = |world: &mut World| {
            let found = world.table.apps.get(&hold.app).map(|entry| (entry.revision, entry.active.clone()));
            let (revision, active) =
                found.ok_or_else(|| TrafficError::Refused { message: "no such app".to_owned() })?;
            if revision != hold.expect {
                return Err(TrafficError::Conflict { app: hold.app.clone(), expected: hold.expect, found: revision });
            }
            if !world.is_held() {
                for target in active {
                    world.busy.insert(target.container, Utc::now() + LINGERS);
                }
            }
            world.held = Some(Utc::now() + lease);
            Ok(())
        };
        // To prolong one changes nothing that a crash could come before or after.
        if self.world().is_held() {
            return self.look(false, away, work).await;
        }
        self.act("traffic.hold".into(), 2, away, work).await
    }

    async fn release(&self, _: &AppName, _: u64) -> Result<(), TrafficError> {
        self.act("traffic.release".into(), 2, away, |world| {
            world.held = None;
            Ok(())
        })
        .await
    }

    async fn readdress(
        &self,
        app: &AppName,
        container: &ContainerId,
        addr: std::net::SocketAddr,
    ) -> Result<(), TrafficError> {
        self.act("traffic.readdress".into(), 2, away, |world| {
            let entry = world.table.apps.get_mut(app);
            for target in entry.into_iter().flat_map(|entry| &mut entry.active) {
                if target.container == *container {
                    target.addr = addr;
                }
            }
            Ok(())
        })
        .await
    }

    async fn probe(&self, addr: std::net::SocketAddr, _: &Probe, _: Duration) -> Result<ProbeOutcome, TrafficError> {
        self.look(false, away, |world| {
            let at = addr.ip().to_string();
            let made = world.containers.iter_mut().find(|made| format!("10.0.0.{}", made.address) == at);
            let ok = made.is_some_and(|made| {
                made.answered += u32::from(made.answers());
                made.answers()
            });
            Ok(ProbeOutcome { ok, detail: String::new(), millis: 1 })
        })
        .await
    }

    async fn in_flight(&self, container: &ContainerId) -> Result<InFlight, TrafficError> {
        self.look(false, away, |world| Ok(InFlight { requests: u64::from(world.is_busy(container)), streams: 0 })).await
    }

    async fn cut(&self, container: &ContainerId, _: Duration) -> Result<(), TrafficError> {
        self.act("traffic.cut".into(), 2, away, |world| {
            world.busy.remove(container);
            Ok(())
        })
        .await
    }

    async fn stats(&self) -> Result<Vec<TrafficStats>, TrafficError> {
        self.look(false, away, |world| {
            let mut stats = TrafficStats::default();
            for made in &world.containers {
                stats.targets.insert(made.id.clone(), TargetCounters { requests: 100, ..TargetCounters::default() });
            }
            Ok(vec![stats])
        })
        .await
    }
}
