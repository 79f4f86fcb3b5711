//! One run of the agent after the other.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rand::Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::decide::fixtures;
use crate::engine::chance::seeded;
use crate::engine::clock::{Utc, simulated};
use crate::engine::{Adoption, Fleet, Handle, Ports, Settings};
use crate::metrics::Metrics;
use crate::model::{App, AppState, Hold, Origin, Schedule, Strategy};

use super::engine::OWNER;
use super::person::Act;
use super::world::{REPOSITORY, Sim, World};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was killed.
    Died,
    /// Nothing is left to do.
    Rested,
    /// It never came to rest.
    Restless,
}

/// Nothing changes for so long: longer than any wait but the back-off after failures.
const REST: TimeDelta = TimeDelta::seconds(75);

/// Two looks of a test at the world.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn app(strategy: Strategy, name: &str) -> App {
    let mut app = fixtures::app(name);
    app.schedule = Schedule::Every(Duration::from_secs(5));
    app.timing.healthy_deadline = Duration::from_secs(30);
    app.timing.drain = Duration::from_secs(5);
    app.timing.drain_streams = Duration::from_secs(8);
    app.strategy = strategy;
    if strategy.is_by_name() {
        app.origin = Origin::Adopted { container: name.to_owned() };
        app.routes = Vec::new();
    }
    app
}

/// A person's container on the first image.
pub(super) fn body(strategy: Strategy, policy: &str) -> Value {
    let ports = match strategy {
        Strategy::Recreate => json!({"8080/tcp": [{"HostIp": "", "HostPort": "80"}]}),
        _ => json!({}),
    };
    json!({
        "Image": format!("{REPOSITORY}:latest"), "Env": ["COLOR=blue"], "ExposedPorts": {"8080/tcp": {}},
        "Labels": {"tagboat.enable": "true"},
        "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}, "PortBindings": ports},
    })
}

/// Does something to the world at its time, without an agent.
pub(super) fn meanwhile<T>(sim: &Sim, change: impl FnOnce(&mut World) -> T) -> T {
    runtime().block_on(async {
        let mut world = sim.world();
        simulated::set(world.time);
        world.tick();
        change(&mut world)
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// Runs the agent until it dies, or until nothing happens any more; `acts` are done at their times.
pub(super) fn live(sim: &Sim, app: &App, acts: &[(TimeDelta, Act)], limit: TimeDelta) -> Ended {
    let ended = runtime().block_on(agent(sim, app, acts, limit));
    let mut world = sim.world();
    world.dead = false;
    world.listeners.clear();
    // The supervisor starts it again.
    world.time += TimeDelta::milliseconds(300);
    ended
}

async fn agent(sim: &Sim, app: &App, acts: &[(TimeDelta, Act)], limit: TimeDelta) -> Ended {
    let begun = {
        let mut world = sim.world();
        simulated::set(world.time);
        seeded::set(world.random.random());
        world.changed = None;
        world.time
    };
    let engine = Arc::new(sim.clone());
    let ports = Ports {
        registry: engine.clone(),
        engine: engine.clone(),
        traffic: engine.clone(),
        store: engine.clone(),
        gatekeeper: engine,
        metrics: Metrics::new(),
    };
    let shutdown = CancellationToken::new();
    let declared = if !app.strategy.is_by_name() { vec![app.clone()] } else { Vec::new() };
    let settings = Settings {
        owner: OWNER.to_owned(),
        parallel_swaps: 2,
        ties: Arc::default(),
        pulls: Arc::default(),
        own: None,
        adopts: app.strategy.is_by_name(),
    };
    let mut fleet = Fleet::start(ports, settings, declared, shutdown);
    let handle = fleet.handle();
    let mut found = app.strategy.is_by_name().then(|| {
        let model = app.clone();
        let read = Arc::new(move |_: &Value, name: &str, _| {
            let origin = Origin::Adopted { container: name.to_owned() };
            Ok(App { name: name.parse().expect("a name"), origin, ..model.clone() })
        });
        fleet.seek(Adoption { every: false, scope: String::new(), owner: OWNER.to_owned(), own: None, read })
    });
    let mut acts = acts.iter();
    let mut next = acts.next();
    let ended = loop {
        tokio::time::sleep(LOOK).await;
        let now = Utc::now();
        {
            let mut world = sim.world();
            if world.dead {
                break Ended::Died;
            }
            world.tick();
            while let Some((at, act)) = next.filter(|(at, _)| begun + *at <= now) {
                let _ = at;
                act.done(&mut world);
                world.changed = Some(now);
                next = acts.next();
            }
            let quiet = now - world.changed.unwrap_or(begun) > REST;
            if quiet && next.is_none() && at_rest(&handle) {
                break Ended::Rested;
            }
            if now - begun > limit {
                break Ended::Restless;
            }
        }
        if let Some(found) = &mut found
            && found.has_changed().unwrap_or(false)
        {
            let found = found.borrow_and_update().clone();
            let died = async {
                while !sim.world().dead {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                () = fleet.adopt(found) => {}
                () = died => break Ended::Died,
            }
        }
    };
    let ended = if ended == Ended::Rested { tidied(sim, &handle).await } else { ended };
    sim.world().time = Utc::now();
    ended
}

/// A person has everything removed that nobody needs: nothing that anybody does need may go with it.
async fn tidied(sim: &Sim, handle: &Handle) -> Ended {
    // It may fail, as everything may; where the agent dies meanwhile, it never ends.
    let _ = tokio::time::timeout(Duration::from_secs(30), handle.prune(false)).await;
    if sim.world().dead { Ended::Died } else { Ended::Rested }
}

/// Every app is where it stays by itself.
fn at_rest(handle: &Handle) -> bool {
    handle.statuses().iter().all(|status| match status.state {
        AppState::UpToDate => true,
        AppState::Held | AppState::Down => {
            matches!(status.hold, Some(Hold::Quarantined { .. } | Hold::NotSwappable { .. } | Hold::Pinned { .. }))
        }
        _ => false,
    })
}
