//! The engine is restarted, killed or loses its power in the middle of a swap of each strategy.
//!
//! Each run tries one blow at each place, `TAGBOAT_MATRIX=whole` all of them. With `TAGBOAT_UPDATE=1` the result goes into
//! docs/RELIABILITY.md.

use crate::support::Daemon;

use super::cell::{Point, Verdict, When};
use super::lane::{Blow, Lane, Strategy};
use super::record;

/// Where in a swap: in its gate, and while the old version goes. And of each strategy where it hurts most.
fn places(strategy: Strategy) -> Vec<Point> {
    let point = |when: When, name: &str| Point { name: name.to_owned(), nth: 1, when };
    let worst = match strategy {
        Strategy::Proxy | Strategy::Replicas => point(When::After, "traffic.switch"),
        Strategy::Hold => point(When::After, "engine.stop"),
        Strategy::Overlap | Strategy::Routed | Strategy::Recreate => point(When::After, "engine.rename"),
    };
    vec![point(When::After, "engine.start"), worst, point(When::Before, "engine.remove")]
}

/// One blow and what came of it.
pub(super) struct Struck {
    pub(super) blow: Blow,
    /// Where, for a person.
    pub(super) place: String,
    pub(super) verdict: Verdict,
}

async fn through(strategy: Strategy, live: bool, blows: &[Blow]) -> Vec<Struck> {
    let letter = match strategy {
        Strategy::Proxy => "p",
        Strategy::Replicas => "n",
        Strategy::Hold => "h",
        Strategy::Overlap => "o",
        Strategy::Routed => "a",
        Strategy::Recreate => "r",
    };
    let mut engine = Daemon::start(&format!("{letter}{}", if live { "l" } else { "" }), live);
    let mut lane = Lane::on(engine.docker, strategy).await;
    let whole = std::env::var("TAGBOAT_MATRIX").is_ok_and(|said| said == "whole");
    let offset: usize = match std::env::var("TAGBOAT_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random_range(0..blows.len()),
    };
    eprintln!("{}: TAGBOAT_SEED={offset}", strategy.label());
    let mut verdicts = Vec::new();
    for (turn, place) in places(strategy).into_iter().enumerate() {
        let turn = (turn + offset) % blows.len();
        for (_, blow) in blows.iter().enumerate().filter(|(index, _)| whole || *index == turn) {
            let verdict = lane.struck(&mut engine, place.clone(), *blow).await;
            let when = if place.when == When::Before { "before" } else { "after" };
            verdicts.push(Struck { blow: *blow, place: format!("{when} {}", place.name), verdict });
        }
    }
    verdicts
}

/// Two at a time: each has an engine of its own, which is more than two cores like.
async fn all(live: bool, blows: &[Blow]) {
    let behind = tokio::join!(through(Strategy::Proxy, live, blows), through(Strategy::Hold, live, blows));
    let by_name = tokio::join!(through(Strategy::Overlap, live, blows), through(Strategy::Recreate, live, blows));
    let all: Vec<Struck> = [behind.0, behind.1, by_name.0, by_name.1].into_iter().flatten().collect();
    record::write_outages(&all, live);
    let problems: Vec<&String> = all.iter().flat_map(|struck| &struck.verdict.problems).collect();
    eprintln!("{} blows, {} problems", all.len(), problems.len());
    assert!(problems.is_empty(), "{problems:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_ends_with_its_containers_costs_no_swap() {
    all(false, &Blow::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_leaves_its_containers_running_costs_no_request() {
    all(true, &[Blow::Restarted, Blow::Killed]).await;
}
