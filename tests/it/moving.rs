//! A tag that moves and moves: nothing is missed, nothing is misread, and every look is in the books.

use std::collections::BTreeMap;
use std::time::Duration;

use tagboat::model::Digest;

use crate::support::{Image, Program, Setup};

/// Pushes in all, and pushes until the tag rests for a moment.
const PUSHES: usize = 200;
const BURST: usize = 20;

/// A counter's values by one of its labels.
fn by_label(metrics: &str, name: &str, label: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with(&format!("{name}{{"))) {
        let (labels, value) = line.rsplit_once(' ').unwrap();
        let (_, value_on) = labels.split_once(&format!("{label}=\"")).unwrap();
        *found.entry(value_on.split('"').next().unwrap().to_owned()).or_default() += value.parse::<u64>().unwrap();
    }
    found
}

/// The values of a field in the log's lines that say this.
fn told(log: &str, words: &str, field: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains(words));
    let value = |line: &str| line.split(&format!(" {field}=\"")).nth(1)?.split('"').next().map(str::to_owned);
    lines.map(|line| value(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// They are among what was pushed, in its order, and none comes twice.
fn follow_each_other(pushed: &[Digest], digests: &[String], what: &str) {
    let place = |digest: &String| {
        let found = pushed.iter().position(|pushed| pushed.short() == digest || pushed.as_str() == digest);
        found.unwrap_or_else(|| panic!("{what}: {digest} was never pushed"))
    };
    let places: Vec<usize> = digests.iter().map(place).collect();
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{what}: {places:?}");
}

/// The registry announces a push before the tag can be read, is polled each second besides, and every burst ends with
/// whatever it ends with: tagboat must not take an early look for the last word, nor a late one for news.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_pushes_none_is_missed_and_what_the_tag_rests_at_is_deployed() {
    let setup = Setup {
        every: "1s",
        swap: "probe_interval: 50ms, probe_successes: 1, min_healthy: 100ms, healthy_deadline: 8s, bake: 100ms, drain: 1s",
        ..Setup::new("moving")
    };
    let mut program = Program::prepared(setup).await;
    let mut pushed = vec![Image::sample("v0").push(&program.registry, program.setup.app, "latest").await];
    program.start();
    program.wait_for_version("v0").await;
    for burst in 0..PUSHES / BURST {
        for number in burst * BURST + 1..=(burst + 1) * BURST {
            let image = Image::sample(&format!("v{number}"));
            pushed.push(image.push(&program.registry, program.setup.app, "latest").await);
        }
        program.wait_for_version(&format!("v{}", pushed.len() - 1)).await;
        program.settled().await;
        let (status, last) = (program.status().await.unwrap(), pushed.last().unwrap().as_str());
        assert_eq!((&status["deployed"]["digest"], &status["newest"]), (&last.into(), &last.into()), "{status:#}");
    }
    // Every push was announced, and every announcement has made the app look. Of the first one, when nobody listened yet,
    // not every registry speaks again.
    let first = if program.registry.make.announces_again() { 0 } else { 1 };
    let announced = (pushed.len() - first) as u64;
    program
        .wait(Duration::from_secs(120), "every push is announced", || async {
            let results = by_label(&program.metrics().await, "tagboat_webhooks_total", "result");
            (results.get("accepted") == Some(&announced)).then_some(())
        })
        .await;
    let history = program.get("/apps/moving/deployments?limit=500").await.unwrap();
    let mut deployed: Vec<String> =
        history.as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap().to_owned()).collect();
    deployed.reverse();
    assert!(deployed.len() > PUSHES / BURST, "{history:#}");
    eprintln!("{} pushes, {} deployments", pushed.len(), deployed.len());
    follow_each_other(&pushed, &deployed, "deployments");
    follow_each_other(&pushed, &told(&program.log(), "the tag points to a new digest", "to"), "looks");
    in_the_books(&program).await;
}

/// Each look is counted once, by what it said, and is one request.
async fn in_the_books(program: &Program) {
    let results = |log: &str| [told(log, " checked ", "result"), told(log, "could not check", "result")].concat();
    // No look may come between log and metrics.
    let (metrics, log) = program
        .wait(Duration::from_secs(20), "log and metrics are of the same moment", || async {
            let (before, metrics, after) = (program.log(), program.metrics().await, program.log());
            (results(&before).len() == results(&after).len()).then_some((metrics, after))
        })
        .await;
    let mut said: BTreeMap<String, u64> = BTreeMap::new();
    for result in results(&log) {
        *said.entry(result).or_default() += 1;
    }
    let counted = by_label(&metrics, "tagboat_checks_total", "result");
    assert_eq!(counted, said, "{metrics}");
    let news = told(&log, "the tag points to a new digest", "to").len() as u64;
    assert_eq!(counted.get("changed"), Some(&news));
    let heads = by_label(&metrics, "tagboat_registry_requests_total", "method")["head"];
    eprintln!("{counted:?}, {heads} requests");
    let unknown = counted.get("unknown").copied().unwrap_or_default();
    let all: u64 = counted.values().sum();
    assert!((all - unknown..=all).contains(&heads), "{heads} requests for {counted:?}");
}
