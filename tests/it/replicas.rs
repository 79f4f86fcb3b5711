//! Several containers of an app side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Image, Load, Program, Setup, client};

const SWAP: &str =
    "probe_interval: 50ms, min_healthy: 300ms, healthy_deadline: 8s, bake: 700ms, drain: 10s, drain_streams: 5s";

fn more(replicas: u32, rest: &str) -> &'static str {
    format!("health: {{http: /healthz}}\n    replicas: {replicas}{rest}").leak()
}

fn setup(app: &'static str, replicas: u32) -> Setup {
    Setup { swap: SWAP, more: more(replicas, ""), ..Setup::new(app) }
}

/// Starts with version 1 in as many containers as the setup says.
async fn serving(setup: Setup, replicas: usize) -> Program {
    let mut program = Program::prepared(setup).await;
    Image::sample("v1").push(&program.registry, program.setup.app, "latest").await;
    program.start();
    program.wait_for_version("v1").await;
    complete(&program, replicas).await;
    program
}

/// Waits until exactly so many containers are there, and all of them run and serve.
async fn complete(program: &Program, replicas: usize) {
    program.state_is("up_to_date").await;
    program
        .wait(Duration::from_secs(60), &format!("{replicas} containers are left and serve"), || async {
            let states = program.docker().states(program.setup.app);
            let all = states.len() == replicas && states.iter().all(|state| state.ends_with(" running"));
            let status = program.status().await?;
            let named = match &status["deployed"]["replicas"] {
                Value::Null => 1,
                several => several["containers"].as_array()?.len(),
            };
            (all && named == replicas && status["state"] == "up_to_date").then_some(())
        })
        .await;
}

/// How many of some requests each container answers, by its hostname.
async fn spread(program: &Program) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..60 {
        let answer = client().get(format!("http://127.0.0.1:{}/host", program.port)).send().await.unwrap();
        *answers.entry(answer.text().await.unwrap()).or_default() += 1;
    }
    answers
}

/// Waits until so many containers answer. One that has more under way than the others just now is spared.
async fn all_answer(program: &Program, replicas: usize) {
    let check = || async { (spread(program).await.len() == replicas).then_some(()) };
    program.wait(Duration::from_secs(10), "every replica answers", check).await;
}

fn names(program: &Program) -> Vec<String> {
    let states = program.docker().states(program.setup.app);
    states.iter().map(|state| state.trim_end_matches(" running").to_owned()).collect()
}

async fn scaled(program: &mut Program, replicas: u32) {
    program.setup.more = more(replicas, "");
    program.write_config("");
    program.signal(Signal::HUP);
    complete(program, replicas as usize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_are_swapped_at_once_without_a_failed_request_and_share_the_load() {
    let program = serving(setup("replicas-swap", 3), 3).await;
    assert_eq!(names(&program), ["replicas-swap.1-1", "replicas-swap.1-2", "replicas-swap.1-3"]);
    let before = spread(&program).await;
    assert!(before.len() == 3 && before.values().all(|count| *count >= 10), "{before:?}");
    let load = Load::start(program.port, &["--rps", "300", "--slow", "0.05"]);
    let closing = Load::start(program.port, &["--rps", "100", "--mode", "close"]);
    for version in ["v2", "v3"] {
        Image::sample(version).push(&program.registry, "replicas-swap", "latest").await;
        program.wait_for_version(version).await;
        complete(&program, 3).await;
    }
    load.finish().assert_clean(500);
    closing.finish().assert_clean(200);
    assert_eq!(names(&program), ["replicas-swap.3-1", "replicas-swap.3-2", "replicas-swap.3-3"]);
    let after = spread(&program).await;
    assert!(after.len() == 3 && after.values().all(|count| *count >= 10), "{after:?}");
    let numbers: Vec<Value> = program
        .docker()
        .containers("replicas-swap")
        .iter()
        .map(|container| container["Config"]["Labels"]["tagboat.replica"].clone())
        .collect();
    assert!(["1", "2", "3"].iter().all(|number| numbers.contains(&(*number).into())), "{numbers:?}");
    let metrics = program.metrics().await;
    for kind in ["wanted", "serving"] {
        let line = format!("tagboat_replicas{{app=\"replicas-swap\",kind=\"{kind}\"}} 3");
        assert!(metrics.contains(&line), "{line}");
    }
    let history = program.get("/apps/replicas-swap/deployments").await.unwrap();
    assert_eq!(history.as_array().unwrap().len(), 3, "one entry a version: {history:#}");
    let status = String::from_utf8(program.cli(&["status"]).stdout).unwrap();
    assert!(status.contains("3 of 3 replicas serve"), "{status}");
    // A rollback brings all of them back.
    assert!(program.cli(&["rollback", "replicas-swap"]).status.success());
    program.wait_for_version("v2").await;
    program
        .wait(Duration::from_secs(30), "the three of before are there", || async {
            (names(&program) == ["replicas-swap.4-1", "replicas-swap.4-2", "replicas-swap.4-3"]).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_and_fewer_replicas_cost_no_request_and_leave_those_that_stay_alone() {
    let mut program = serving(setup("replicas-scale", 1), 1).await;
    assert_eq!(names(&program), ["replicas-scale.1"]);
    let load = Load::start(program.port, &["--rps", "300", "--slow", "0.05"]);
    scaled(&mut program, 3).await;
    assert_eq!(names(&program), ["replicas-scale.1", "replicas-scale.1-2", "replicas-scale.1-3"]);
    all_answer(&program, 3).await;
    scaled(&mut program, 2).await;
    assert_eq!(names(&program), ["replicas-scale.1", "replicas-scale.1-2"]);
    scaled(&mut program, 1).await;
    assert_eq!(names(&program), ["replicas-scale.1"]);
    load.finish().assert_clean(300);
    let history = program.get("/apps/replicas-scale/deployments").await.unwrap();
    assert_eq!(history.as_array().unwrap().len(), 1, "no new version: {history:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_removed_stopped_or_killed_comes_back_while_the_others_serve() {
    let program = serving(setup("replicas-lost", 3), 3).await;
    let docker = program.docker();
    let load = Load::start(program.port, &["--rps", "200"]);
    for lost in [
        ["rm", "-f", "replicas-lost.1-2"].as_slice(),
        &["stop", "-t", "1", "replicas-lost.1-1"],
        &["kill", "replicas-lost.1-3"],
    ] {
        docker.must(lost);
        program
            .wait(Duration::from_secs(20), "the loss is seen", || async {
                let metrics = program.metrics().await;
                let whole = "tagboat_replicas{app=\"replicas-lost\",kind=\"serving\"} 3";
                (!metrics.contains(whole) || program.log().contains("the container that served is gone")).then_some(())
            })
            .await;
        complete(&program, 3).await;
        all_answer(&program, 3).await;
        assert_eq!(names(&program), ["replicas-lost.1-1", "replicas-lost.1-2", "replicas-lost.1-3"]);
    }
    let report = load.finish();
    // What was under way on the one that was taken away, and nothing else.
    assert!(report.sent() > 300 && report.failed() <= 6, "{:#}", report.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_which_one_replica_fails_is_no_version() {
    // The first that locks it is fine, and the others end.
    let setup = Setup { more: more(3, "\n    volumes: ['replicas-bad:/data']"), ..setup("replicas-bad", 3) };
    let program = serving(setup, 3).await;
    let load = Load::start(program.port, &["--rps", "200"]);
    let image = Image::sample("v2").env("EXCLUSIVE", "/data/lock");
    let digest = image.push(&program.registry, "replicas-bad", "latest").await;
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    let (hold, failure) = (&status["hold"], &status["hold"]["failure"]);
    assert_eq!((&hold["hold"], &hold["digest"]), (&"quarantined".into(), &digest.as_str().into()), "{status:#}");
    assert!(failure["message"].as_str().unwrap().starts_with("replicas-bad.2-"), "which one: {status:#}");
    assert!(failure["log_tail"].to_string().contains("is locked"), "its own last words: {status:#}");
    load.finish().assert_clean(50);
    program
        .wait(Duration::from_secs(20), "the others are cleared away", || async {
            let names = ["replicas-bad.1-1 running", "replicas-bad.1-2 running", "replicas-bad.1-3 running"];
            let wanted = [names.as_slice(), &["replicas-bad.failed-2 exited"]].concat();
            (program.docker().states("replicas-bad") == wanted).then_some(())
        })
        .await;
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    Image::sample("v3").push(&program.registry, "replicas-bad", "latest").await;
    program.wait_for_version("v3").await;
    program.docker().cli(&["volume", "rm", "-f", "replicas-bad"]);
}
