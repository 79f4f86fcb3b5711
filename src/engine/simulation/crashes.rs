//! A crash before and after every single call that changes something.

use chrono::TimeDelta;

use crate::decide::fixtures;
use crate::model::{App, Digest, Hook, HookAct, Job, Jobs, RestartPolicy, Strategy};

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

/// What only the watch finds out.
pub(super) const LATER: Nature = Nature::Ends(40_000);

/// Everything but the agent, with version 1 serving.
pub(super) fn stage(strategy: Strategy, policy: &str, jobs: bool, replicas: u32, seed: u64) -> (Sim, App) {
    let sim = Sim(std::sync::Arc::new(std::sync::Mutex::new(World::new(strategy, seed))));
    let mut app = app(strategy, APP);
    app.replicas = replicas;
    sim.world().replicas = replicas as usize;
    if jobs {
        let timeout = std::time::Duration::from_secs(60);
        let job = Some(Job { command: vec!["work".to_owned()], entrypoint: None, timeout });
        app.jobs = Jobs { pre_deploy: job.clone(), post_deploy: job.clone(), failed_deploy: job };
        let hook = Some(Hook { act: HookAct::Exec(vec!["hook".to_owned()]), timeout });
        (app.hooks.post_start, app.hooks.pre_stop) = (hook.clone(), hook);
        sim.world().jobs = true;
    }
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
        // It is started again by its policy until the old one is back.
        (_, LATER) => TimeDelta::seconds(3),
        // It dies after it was let in, which is noticed within a look and takes a switch back.
        (Strategy::Proxy, Nature::Ends(8000)) => TimeDelta::seconds(2),
        _ => TimeDelta::milliseconds(1),
    }
}

/// What a swap begins from.
#[derive(Debug, Clone, Copy)]
struct Stand {
    strategy: Strategy,
    policy: &'static str,
    jobs: bool,
    replicas: u32,
    /// It is of a group, the only one of it.
    grouped: bool,
    /// A person's container whose requests come through the proxy.
    routed: bool,
}

/// One swap to an image of this nature that is killed there.
fn crashed(stand: Stand, nature: Nature, crash: Option<Crash>, harm: Harm) -> Sim {
    let Stand { strategy, policy, jobs, replicas, grouped, routed } = stand;
    let (sim, mut app) = stage(strategy, policy, jobs, replicas, 1);
    app.group = grouped.then(|| "group".parse().expect("a name"));
    if routed {
        app.routes = fixtures::app(APP).routes;
        sim.world().routed = true;
    }
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
        let longest =
            if nature == LATER && policy == "no" { TimeDelta::seconds(30) } else { longest(strategy, nature) };
        world.at_rest(&wanted, policy, longest);
        if jobs {
            let pushed = world.tag.clone();
            world.jobs_are_done(&pushed, lasts(nature));
        }
        if nature == Nature::Good && world.containers.len() > world.replicas {
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
fn everywhere(strategy: Strategy, policy: &'static str, natures: &[Nature], harms: &[Harm]) -> usize {
    all_over(Stand { strategy, policy, jobs: false, replicas: 1, grouped: false, routed: false }, natures, harms)
}

fn all_over(stand: Stand, natures: &[Nature], harms: &[Harm]) -> usize {
    let (mut tried, mut broken) = (0, Vec::new());
    for nature in natures {
        let dry = crashed(stand, *nature, None, Harm::None);
        let steps = dry.world().steps;
        assert!(steps > 8, "{:#?}", dry.world().trace);
        broken.append(&mut dry.world().broken);
        for harm in harms {
            for step in 1..=steps {
                for crash in [Crash::Before(step), Crash::After(step)] {
                    let sim = crashed(stand, *nature, Some(crash), *harm);
                    tried += 1;
                    let found = std::mem::take(&mut sim.world().broken);
                    broken.extend(found.into_iter().map(|what| format!("[{nature:?} {harm:?}] {what}")));
                }
            }
        }
    }
    let count = broken.len();
    broken.truncate(std::env::var("TAGBOAT_SHOWN").ok().and_then(|n| n.parse().ok()).unwrap_or(3));
    assert!(broken.is_empty(), "{count} laws broken in {tried} crashes of {stand:?}:\n{}", broken.join("\n\n"));
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
fn of_a_group_no_crash_loses_the_service() {
    let natures = [Nature::Good, Nature::CannotStart, Nature::Deaf, LATE[0]];
    for (strategy, policy) in [(Strategy::Proxy, "unless-stopped"), (Strategy::Overlap, "always")] {
        let natures = if strategy == Strategy::Proxy { natures.as_slice() } else { &natures[..3] };
        let stand = Stand { strategy, policy, jobs: false, replicas: 1, grouped: true, routed: false };
        let tried = all_over(stand, natures, &[Harm::None, Harm::Gone]);
        assert!(tried > 200, "{tried}");
    }
}

#[test]
fn behind_the_proxy_no_crash_loses_a_service_that_is_not_restarted() {
    let natures = [Nature::Good, Nature::Deaf, LATE[0]];
    let tried = everywhere(Strategy::Proxy, "no", &natures, &[Harm::None, Harm::Gone]);
    assert!(tried > 200, "{tried}");
}

const THREE: Stand = Stand {
    strategy: Strategy::Proxy,
    policy: "unless-stopped",
    jobs: false,
    replicas: 3,
    grouped: false,
    routed: false,
};

#[test]
fn of_several_replicas_no_crash_loses_the_service_or_leaves_more_or_fewer() {
    let natures = [Nature::Good, Nature::Partly(50), Nature::Partly(8000), Nature::Deaf];
    let tried = all_over(THREE, &natures, &[Harm::None, Harm::Gone]);
    assert!(tried > 400, "{tried}");
}

#[test]
fn of_several_replicas_one_that_fails_in_its_watch_takes_all_out_of_service_whenever_the_agent_is_killed() {
    let tried = all_over(THREE, &[Nature::Partly(40_000)], &[Harm::Gone]);
    assert!(tried > 60, "{tried}");
}

#[test]
fn of_several_replicas_the_jobs_are_run_once() {
    let tried = all_over(Stand { jobs: true, ..THREE }, &[Nature::Good, Nature::Partly(50)], &[Harm::None]);
    assert!(tried > 100, "{tried}");
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

#[test]
fn by_name_and_behind_the_proxy_no_crash_loses_the_service_or_a_request() {
    let natures = [NATURES.as_slice(), &LATE].concat();
    for (strategy, policy, natures) in
        [(Strategy::Overlap, "always", natures.as_slice()), (Strategy::Recreate, "on-failure", &natures[..4])]
    {
        let stand = Stand { strategy, policy, jobs: false, replicas: 1, grouped: false, routed: true };
        let tried = all_over(stand, natures, &[Harm::None, Harm::Gone]);
        assert!(tried > 200, "{tried}");
    }
}

#[test]
fn jobs_are_run_at_least_once_and_never_twice_at_the_same_time() {
    let natures = [Nature::Good, Nature::Unmigrated, Nature::Deaf];
    for (strategy, policy) in [
        (Strategy::Proxy, "unless-stopped"),
        (Strategy::Hold, "unless-stopped"),
        (Strategy::Overlap, "always"),
        (Strategy::Recreate, "on-failure"),
    ] {
        // Both kinds of memory are had once; each costs seconds.
        let harms = if strategy == Strategy::Overlap { [Harm::Gone].as_slice() } else { &[Harm::None] };
        let tried = all_over(
            Stand { strategy, policy, jobs: true, replicas: 1, grouped: false, routed: false },
            &natures,
            harms,
        );
        assert!(tried > 100, "{strategy:?}: {tried}");
    }
}

#[test]
fn a_version_that_fails_while_it_is_watched_gives_way_to_the_one_before_it_whenever_the_agent_is_killed() {
    for (strategy, policy) in [
        (Strategy::Proxy, "unless-stopped"),
        (Strategy::Proxy, "no"),
        (Strategy::Hold, "unless-stopped"),
        (Strategy::Overlap, "always"),
        (Strategy::Recreate, "on-failure"),
    ] {
        let stand = Stand { strategy, policy, jobs: policy == "always", replicas: 1, grouped: false, routed: false };
        let harms = if policy == "no" { [Harm::None].as_slice() } else { &[Harm::Gone] };
        let tried = all_over(stand, &[LATER], harms);
        assert!(tried > 60, "{strategy:?}: {tried}");
    }
}
