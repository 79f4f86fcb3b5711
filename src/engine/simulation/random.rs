//! Everything at once: kills, bad images, a flapping registry, calls that fail or whose answer is lost, a restarted
//! engine, a lost memory, and a person who removes, stops, renames and updates containers in between.
//!
//! The same cases in each run; with `TAGBOAT_CASES` so many others. A failure prints its shortest form, which can be
//! pasted into a test.

use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::decide::by_name::serving_name;
use crate::decide::reconcile::FAILED;
use crate::model::{Strategy as Swapping, label};

use super::crashes::{LATER, NATURES, stage};
use super::laws::lasts;
use super::person::Act;
use super::run::{Ended, live, meanwhile};
use super::world::{APP, Crash, Nature, Sim};

/// What happens in one run of the agent, in milliseconds after its start (before that: while it is dead), and where it
/// is killed.
type Run = (Vec<(i64, Act)>, Option<(usize, bool)>);

fn outside() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => proptest::sample::select(NATURES.to_vec()).prop_map(Act::Push),
        2 => any::<bool>().prop_map(|down| Act::Registry { down }),
        1 => (0_u8..15).prop_map(|percent| Act::Flaws { percent }),
        1 => Just(Act::Forget),
        1 => any::<bool>().prop_map(|live| Act::Engine { live }),
        1 => Just(Act::Table),
    ]
}

fn person() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0_usize..4).prop_map(Act::Remove),
        2 => (0_usize..4).prop_map(Act::Stop),
        1 => (0_usize..4).prop_map(Act::Start),
        1 => (0_usize..4).prop_map(Act::Rename),
        2 => (0_usize..4).prop_map(Act::Policy),
        1 => Just(Act::Prune),
        1 => Just(Act::Recreate),
    ]
}

/// Without those that make a candidate look as if it had served.
fn hands() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0_usize..6).prop_map(Act::Remove),
        2 => (0_usize..6).prop_map(Act::Stop),
        1 => (0_usize..6).prop_map(Act::Start),
        1 => (0_usize..6).prop_map(Act::Rename),
        1 => Just(Act::Prune),
    ]
}

fn runs(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Vec<Run>> {
    let acts = proptest::collection::vec((-10_000_i64..40_000, act), 0..5).prop_map(|mut acts| {
        acts.sort_by_key(|(at, _)| *at);
        acts
    });
    let crash = proptest::option::weighted(0.8, (1_usize..60, any::<bool>()));
    proptest::collection::vec((acts, crash), 1..5)
}

/// A way to swap, and how many containers serve.
fn swapping() -> impl Strategy<Value = (Swapping, u32)> {
    let ways = vec![Swapping::Proxy, Swapping::Hold, Swapping::Overlap, Swapping::Recreate];
    proptest::sample::select(ways).prop_map(|strategy| (strategy, 1))
}

/// Lives through it, and then in peace until nothing happens any more.
fn lived((strategy, replicas): (Swapping, u32), jobs: bool, seed: u64, runs: &[Run]) -> (Sim, Ended) {
    let policy = if strategy.is_by_name() { "always" } else { "unless-stopped" };
    let (sim, mut app) = stage(strategy, policy, jobs, replicas, seed);
    for (index, (acts, crash)) in (0_u64..).zip(runs) {
        if replicas > 1 {
            // The file says another number while the agent is dead.
            app.replicas = u32::try_from(seed.wrapping_add(index) % 4).unwrap_or_default() + 1;
        }
        let acts: Vec<(TimeDelta, Act)> =
            acts.iter().map(|(at, act)| (TimeDelta::milliseconds(*at), act.clone())).collect();
        {
            let mut world = sim.world();
            world.steps = 0;
            world.crash = crash.map(|(step, before)| if before { Crash::Before(step) } else { Crash::After(step) });
            world.trace.push(format!("--- run, {} replicas, to be killed at {crash:?}", app.replicas));
        }
        let (dead, acts): (Vec<_>, Vec<_>) = acts.into_iter().partition(|(at, _)| *at < TimeDelta::zero());
        for (_, act) in dead {
            meanwhile(&sim, |world| act.done(world));
        }
        live(&sim, &app, &acts, TimeDelta::seconds(90));
    }
    {
        let mut world = sim.world();
        (world.crash, world.flaws, world.registry_down) = (None, 0.0, false);
        world.trace.push("--- the last run".to_owned());
    }
    app.replicas = replicas;
    let ended = live(&sim, &app, &[], TimeDelta::hours(6));
    (sim, ended)
}

fn judge(strategy: Swapping, sim: &Sim, ended: Ended) -> Result<(), TestCaseError> {
    let policy = if strategy.is_by_name() { "always" } else { "unless-stopped" };
    let broken = meanwhile(sim, |world| {
        let trace = world.trace.iter().rev().take(120).rev().cloned().collect::<Vec<_>>().join("\n  ");
        if ended != Ended::Rested {
            world.broken.push(format!("it does not come to rest: {:?}\n  {trace}", world.all()));
        }
        let newest = world.tag.clone();
        let good = lasts(world.image(&newest).nature);
        let all = world.serving();
        let serving = all.first().cloned();
        if world.touched {
            world.no_orphans(&all);
            for serving in &all {
                // Only what a person has stopped stays so, and only what a person has changed.
                let sound = lasts(serving.nature) && serving.started.is_some();
                if !serving.runs() && sound && !world.hands.contains(&serving.id) {
                    world.broken.push(format!("it does not run any more: {:?}\n  {trace}", world.all()));
                }
                let policies = world.trace.iter().any(|line| line.contains("*** Policy"));
                if !policies && serving.policy_name() != policy {
                    world.broken.push(format!("its policy is lost: {:?}\n  {trace}", world.all()));
                }
                // A person who makes a container in the middle of a swap gets what the tag names then.
                let bad = !lasts(serving.nature) && serving.label(label::OWNER).is_some();
                if serving.runs() && bad {
                    world.broken.push(format!("a bad version serves: {:?}\n  {trace}", world.all()));
                }
            }
            if all.is_empty() {
                // What a person starts although it failed is theirs to look at.
                let left = world
                    .containers
                    .iter()
                    .any(|made| serving_name(&made.name) == APP && !made.name.contains(FAILED) && made.runs());
                // A person who stops the only candidate has it taken for a bad one.
                let failed = world.memory.quarantine.iter().any(|entry| entry.digest == newest);
                if left || (!strategy.is_by_name() && good && !failed) {
                    world.broken.push(format!("nothing serves: {:?}\n  {trace}", world.all()));
                }
            } else if all.len() != world.replicas {
                world.broken.push(format!("{} serve: {:?}\n  {trace}", all.len(), world.all()));
            }
        } else {
            let expected = match &serving {
                Some(serving) if !good && lasts(world.image(&serving.image).nature) => serving.image.clone(),
                // What was gone back to is not taken out again, though it fails late as well.
                Some(serving) if !good && went_back_to(serving) => serving.image.clone(),
                _ => newest,
            };
            world.at_rest(&expected, policy, TimeDelta::days(1));
        }
        std::mem::take(&mut world.broken)
    });
    if broken.is_empty() { Ok(()) } else { Err(TestCaseError::fail(broken.join("\n\n"))) }
}

/// Chance that is the same in each run: what a change breaks is then this change's.
fn same() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

fn went_back_to(serving: &super::world::Made) -> bool {
    serving.nature == LATER && serving.label(label::WATCHED).is_none()
}

fn try_all(stands: impl Strategy<Value = (Swapping, u32)>, jobs: bool, act: impl Strategy<Value = Act>) {
    let asked: Option<u32> = std::env::var("TAGBOAT_CASES").ok().and_then(|text| text.parse().ok());
    let config =
        Config { cases: asked.unwrap_or(300), failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = if asked.is_some() { TestRunner::new(config) } else { TestRunner::new_with_rng(config, same()) };
    let tried = runner.run(&(stands, any::<u64>(), runs(act)), |(stand, seed, runs)| {
        let (sim, ended) = lived(stand, jobs, seed, &runs);
        judge(stand.0, &sim, ended)
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

/// A case that chance once found: it stays found.
fn again(strategy: Swapping, seed: u64, runs: &[Run]) {
    let (sim, ended) = lived((strategy, 1), false, seed, runs);
    if let Err(error) = judge(strategy, &sim, ended) {
        panic!("{error}");
    }
}

#[test]
fn a_policy_survives_a_kill_before_it_is_given_back_though_a_person_takes_the_old_container_away() {
    let killed = (vec![(0, Act::Push(Nature::Good))], Some((21, false)));
    again(Swapping::Overlap, 0, &[killed, (vec![(0, Act::Rename(0))], None)]);
}

#[test]
fn a_policy_survives_a_kill_after_it_was_given_on_though_a_person_removes_the_new_container() {
    let killed = (vec![(0, Act::Push(Nature::Good))], Some((24, false)));
    again(Swapping::Overlap, 0, &[killed, (vec![(0, Act::Remove(1))], None)]);
}

#[test]
fn a_proxy_that_answers_now_and_then_gets_no_good_version_quarantined() {
    let swap = vec![(-4_038, Act::Flaws { percent: 5 }), (8_060, Act::Push(Nature::Good)), (33_723, Act::Forget)];
    let back = vec![(-8_829, Act::Flaws { percent: 12 }), (9_490, Act::Table), (12_874, Act::Registry { down: true })];
    again(Swapping::Proxy, 14_363_079_218_149_615_404, &[(swap, Some((29, true))), (back, Some((35, false)))]);
}

/// The swap of the pushed version takes place in the first 40 seconds.
#[test]
fn an_engine_that_is_restarted_at_any_moment_of_a_swap_has_no_version_blamed() {
    let strategies = [Swapping::Proxy, Swapping::Hold, Swapping::Overlap, Swapping::Recreate];
    let moments = strategies.into_iter().flat_map(|strategy| {
        let at = (1_000..40_000).step_by(650);
        at.flat_map(move |at| [(strategy, at, false), (strategy, at, true)])
    });
    for (strategy, at, live) in moments {
        let acts = vec![(0, Act::Push(Nature::Good)), (at, Act::Engine { live })];
        let (sim, ended) = lived((strategy, 1), false, 1, &[(acts, None)]);
        let case = format!("{strategy:?} at {at} ms, live-restore {live}");
        let blamed = sim.world().memory.quarantine.clone();
        assert!(blamed.is_empty(), "{case}: {blamed:?}\n{:#?}", sim.world().trace);
        judge(strategy, &sim, ended).unwrap_or_else(|error| panic!("{case}: {error}"));
    }
}

#[test]
fn faults_of_every_kind_leave_what_is_wanted() {
    try_all(swapping(), false, outside());
}

#[test]
fn a_person_in_between_leaves_no_orphan_and_no_bad_version() {
    try_all(swapping(), false, prop_oneof![outside(), person()]);
}

/// What happens while every call is answered: an attempt that is cut short again and again is no version's test.
fn whole() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => proptest::sample::select(NATURES.to_vec()).prop_map(Act::Push),
        2 => any::<bool>().prop_map(|down| Act::Registry { down }),
        1 => Just(Act::Forget),
        1 => any::<bool>().prop_map(|live| Act::Engine { live }),
        1 => Just(Act::Table),
        4 => proptest::sample::select(vec![Nature::Good, Nature::Unmigrated, LATER]).prop_map(Act::Push),
    ]
}

#[test]
fn jobs_and_versions_that_fail_late_leave_what_is_wanted() {
    try_all(swapping(), true, whole());
}

#[test]
fn faults_of_every_kind_leave_as_many_replicas_as_are_wanted() {
    try_all(Just((Swapping::Proxy, 3)), false, outside());
}

#[test]
fn a_person_in_between_leaves_as_many_replicas_as_are_wanted() {
    try_all(Just((Swapping::Proxy, 3)), false, prop_oneof![outside(), hands()]);
}
