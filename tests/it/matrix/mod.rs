//! The agent is killed before and after every side effect of every strategy, under load, on a real engine; what it
//! remembers is left alone, deleted or cut short while it is dead.
//!
//! Which side effects there are is not written here: a swap is watched first, and each that it makes is a row. Each run
//! tries every kill point with one state of the memory, `TAGBOAT_MATRIX=whole` with all three. With
//! `TAGBOAT_UPDATE=1` the result goes into docs/RELIABILITY.md.

mod cell;
mod lane;
mod outages;
mod record;

use cell::{Harm, Point, When};
use lane::{Lane, Strategy};

/// Kill points of one strategy, and the states of the memory that each is tried with.
async fn through(strategy: Strategy) -> Vec<cell::Verdict> {
    let mut lane = Lane::prepared(strategy).await;
    let effects = lane.watched().await;
    let whole = std::env::var("TAGBOAT_MATRIX").is_ok_and(|said| said == "whole");
    let offset: usize = match std::env::var("TAGBOAT_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random_range(0..3),
    };
    eprintln!("{}: {} side effects, TAGBOAT_SEED={offset}", strategy.label(), effects.len());
    let mut verdicts = Vec::new();
    for (index, effect) in effects.iter().enumerate() {
        for (turn, when) in [When::Before, When::After].into_iter().enumerate() {
            let turn = (index * 2 + turn + offset) % 3;
            let harms: Vec<Harm> =
                Harm::ALL.into_iter().enumerate().filter(|(i, _)| whole || *i == turn).map(|(_, h)| h).collect();
            for harm in harms {
                let point = Point { name: effect.0.clone(), nth: effect.1, when };
                verdicts.push(lane.killed(point, harm).await);
            }
        }
    }
    verdicts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_side_effect_loses_nothing() {
    let (proxy, held, overlap, recreate) = tokio::join!(
        through(Strategy::Proxy),
        through(Strategy::Hold),
        through(Strategy::Overlap),
        through(Strategy::Recreate)
    );
    let verdicts = [proxy, held, overlap, recreate].concat();
    record::write(&verdicts);
    let problems: Vec<&String> = verdicts.iter().flat_map(|verdict| &verdict.problems).collect();
    eprintln!("{} kills, {} problems", verdicts.len(), problems.len());
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Everything that has a name here is killed at these places of a swap.
async fn at_the_worst(strategy: Strategy, app: &'static str, harm: Harm, names: &[(&str, usize)]) {
    let mut lane = Lane::named(strategy, app).await;
    let mut problems = Vec::new();
    for (name, nth) in names {
        for when in [When::Before, When::After] {
            let point = Point { name: (*name).to_owned(), nth: *nth, when };
            problems.extend(lane.killed(point, harm).await.problems);
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_are_swapped_whole_wherever_the_agent_is_killed() {
    let places = [
        ("engine.create", 2),
        ("engine.start", 2),
        ("engine.set_restart_policy", 2),
        ("traffic.switch", 1),
        ("engine.stop", 2),
        ("engine.remove", 2),
    ];
    at_the_worst(Strategy::Replicas, "matrix-replicas", Harm::Intact, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_are_swapped_whole_though_the_memory_is_gone() {
    let places = [("engine.create", 3), ("traffic.switch", 1), ("engine.stop", 1)];
    at_the_worst(Strategy::Replicas, "matrix-replicas-lost", Harm::Deleted, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_killed_with_the_agent() {
    let places = [("traffic.switch", 1), ("engine.stop", 1)];
    at_the_worst(Strategy::Proxy, "matrix-both", Harm::Proxy, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_is_cut_behind_the_proxy() {
    let places = [("engine.start", 1), ("traffic.switch", 1), ("engine.remove", 1)];
    at_the_worst(Strategy::Proxy, "matrix-power", Harm::Power, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_killed_with_the_agent_while_requests_wait() {
    let places = [("traffic.hold", 1), ("engine.stop", 1), ("engine.start", 1), ("traffic.switch", 1)];
    at_the_worst(Strategy::Hold, "matrix-held-both", Harm::Proxy, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_is_cut_while_requests_wait() {
    let places = [("engine.stop", 1), ("engine.start", 1), ("traffic.switch", 1)];
    at_the_worst(Strategy::Hold, "matrix-held-power", Harm::Power, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_is_cut_while_a_container_takes_the_place_of_another() {
    let places = [("engine.stop", 1), ("engine.rename", 1), ("engine.rename", 2)];
    at_the_worst(Strategy::Recreate, "matrix-power-port", Harm::Power, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_person_behind_the_proxy_loses_no_request() {
    let places = [
        ("engine.start", 1),
        ("traffic.switch", 1),
        ("engine.stop", 1),
        ("engine.rename", 1),
        ("engine.rename", 2),
        ("engine.remove", 1),
    ];
    at_the_worst(Strategy::Routed, "matrix-routed", Harm::Intact, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_killed_with_the_agent_before_a_container_of_a_person() {
    let places = [("traffic.switch", 1), ("engine.rename", 2)];
    at_the_worst(Strategy::Routed, "matrix-routed-both", Harm::Proxy, &places).await;
}
