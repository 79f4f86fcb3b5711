//! A crash before and after every single call that changes something.

use chrono::TimeDelta;

use crate::model::{App, Digest, RestartPolicy, Strategy};

use super::laws::lasts;
use super::memory::Memory;
use super::run::{Ended, app, body, live, meanwhile};
use super::world::{APP, Crash, Nature, REPOSITORY, Sim, World};

/// What becomes of the memory while the agent is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    None,
    /// It is gone.
    Gone,
    /// It is that of before the swap: the last writes did not reach the disk.
    Old,
}

/// What the gate finds out.
pub(super) const NATURES: [Nature; 5] =
    [Nature::Good, Nature::CannotStart, Nature::Ends(50), Nature::Deaf, Nature::Ends(3000)];

/// What only the bake finds out.
const LATE: [Nature; 1] = [Nature::Ends(8000)];

/// Everything but the agent, with version 1 serving.
pub(super) fn stage(strategy: Strategy, policy: &str, seed: u64) -> (Sim, App) {
    let sim = Sim(std::sync::Arc::new(std::sync::Mutex::new(World::new(strategy, seed))));
    let mut app = app(strategy, APP);
    if policy == "no" {
        app.container.restart = RestartPolicy::No;
    }
    if strategy.is_by_name() {
        meanwhile(&sim, |world| {
            let first = world.tag.clone();
            world.pull(&first);
            let id = world.image(&first).id();
            world.name_image(&id, &format!("{REPOSITORY}:latest"));
            let id = world.make(APP, body(strategy, policy), &first);
            world.start(&id).expect("the first version starts");
        });
    }
    assert_eq!(live(&sim, &app, &[], TimeDelta::seconds(300)), Ended::Rested, "{:#?}", sim.world().trace);
    let mut world = sim.world();
    world.trace.clear();
    (world.steps, world.changed) = (0, None);
    drop(world);
    (sim, app)
}

/// The longest time without service that is the strategy's own, or the fault of an image that was let in.
pub(super) fn longest(strategy: Strategy, nature: Nature) -> TimeDelta {
    match (strategy, nature) {
        // Stop, start, and until the old one is back the gate's patience; twice when the memory was lost in between.
        (Strategy::Recreate, Nature::Deaf) => TimeDelta::seconds(40),
        (Strategy::Recreate, _) => TimeDelta::seconds(3),
        // Requests wait from the hold to the switch: drain, stop, start and the gate; and after a failure until the old
        // version has proved itself again. A crash makes the next run begin its gate anew.
        (Strategy::Hold, Nature::Deaf) => TimeDelta::seconds(75),
        (Strategy::Hold, _) => TimeDelta::seconds(20),
        // It dies after it was let in, which is noticed within a look and takes a switch back.
        (Strategy::Proxy, Nature::Ends(8000)) => TimeDelta::seconds(2),
        _ => TimeDelta::milliseconds(1),
    }
}

/// One swap to an image of this nature that is killed there.
fn crashed(strategy: Strategy, policy: &str, nature: Nature, crash: Option<Crash>, harm: Harm) -> Sim {
    let (sim, app) = stage(strategy, policy, 1);
    let first = sim.world().tag.clone();
    let before = sim.world().memory.clone();
    sim.world().push(nature);
    sim.world().crash = crash;
    let mut ended = live(&sim, &app, &[], TimeDelta::seconds(600));
    if ended == Ended::Died {
        let mut world = sim.world();
        match harm {
            Harm::None => {}
            Harm::Gone => world.memory = Memory::default(),
            Harm::Old => world.memory = before,
        }
        world.trace.push("--- killed".to_owned());
        world.crash = None;
        drop(world);
        ended = live(&sim, &app, &[], TimeDelta::seconds(600));
    }
    meanwhile(&sim, |world| {
        world.crash = crash;
        let wanted: Digest = if lasts(nature) { world.tag.clone() } else { first };
        if ended != Ended::Rested {
            let trace = world.trace.join("\n  ");
            world.broken.push(format!("6: it does not come to rest; there are {:?}\n  {trace}", world.all()));
        }
        world.at_rest(&wanted, policy, longest(strategy, nature));
        if nature == Nature::Good && world.containers.len() > 1 {
            world.broken.push(format!(
                "6: a crash was taken for a failure: {:?}\n  {}",
                world.all(),
                world.trace.join("\n  ")
            ));
        }
    });
    sim
}

/// Every crash point of a strategy and an image; returns how many there were.
fn everywhere(strategy: Strategy, policy: &str, natures: &[Nature], harms: &[Harm]) -> usize {
    let (mut tried, mut broken) = (0, Vec::new());
    for nature in natures {
        let dry = crashed(strategy, policy, *nature, None, Harm::None);
        let steps = dry.world().steps;
        assert!(steps > 8, "{:#?}", dry.world().trace);
        broken.append(&mut dry.world().broken);
        for harm in harms {
            for step in 1..=steps {
                for crash in [Crash::Before(step), Crash::After(step)] {
                    let sim = crashed(strategy, policy, *nature, Some(crash), *harm);
                    tried += 1;
                    let found = std::mem::take(&mut sim.world().broken);
                    broken.extend(found.into_iter().map(|what| format!("[{nature:?} {harm:?}] {what}")));
                }
            }
        }
    }
    let count = broken.len();
    broken.truncate(std::env::var("TAGBOAT_SHOWN").ok().and_then(|n| n.parse().ok()).unwrap_or(3));
    assert!(
        broken.is_empty(),
        "{count} laws broken in {tried} crashes of {strategy:?}, policy {policy}:\n{}",
        broken.join("\n\n")
    );
    tried
}

const HARMS: [Harm; 3] = [Harm::None, Harm::Gone, Harm::Old];

#[test]
fn behind_the_proxy_no_crash_loses_the_service() {
    let natures = [NATURES.as_slice(), &LATE].concat();
    let tried = everywhere(Strategy::Proxy, "unless-stopped", &natures, &HARMS);
    assert!(tried > 500, "{tried}");
}

#[test]
fn behind_the_proxy_no_crash_loses_a_service_that_is_not_restarted() {
    let natures = [Nature::Good, Nature::Deaf, LATE[0]];
    let tried = everywhere(Strategy::Proxy, "no", &natures, &[Harm::None, Harm::Gone]);
    assert!(tried > 200, "{tried}");
}

#[test]
fn in_turns_no_crash_loses_the_service_or_runs_two_at_once() {
    let tried = everywhere(Strategy::Hold, "unless-stopped", &NATURES, &HARMS);
    assert!(tried > 500, "{tried}");
}

#[test]
fn in_turns_no_crash_loses_a_service_that_is_not_restarted() {
    let tried = everywhere(Strategy::Hold, "no", &NATURES, &[Harm::None, Harm::Gone]);
    assert!(tried > 300, "{tried}");
}

#[test]
fn by_name_no_crash_of_an_overlap_loses_the_service() {
    let tried = everywhere(Strategy::Overlap, "always", &NATURES, &HARMS);
    assert!(tried > 500, "{tried}");
}

#[test]
fn by_name_no_crash_of_a_recreation_loses_the_service() {
    let tried = everywhere(Strategy::Recreate, "on-failure", &NATURES, &HARMS);
    assert!(tried > 500, "{tried}");
}
