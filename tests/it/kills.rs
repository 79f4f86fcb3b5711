//! `kill -9` at the worst moments, and a memory that is gone.

use std::time::Duration;

use crate::support::{Image, Load, Program, Setup};

/// Kills the agent while a swap is in `stage`, under load: no request fails, and the swap is finished after the restart.
async fn killed_in(app: &'static str, stage: &str) {
    let mut setup = Setup::new(app);
    setup.swap =
        "probe_interval: 100ms, min_healthy: 1500ms, healthy_deadline: 20s, bake: 2s, drain: 10s, drain_streams: 5s";
    let program = Program::serving(setup).await;
    let load = Load::start(program.port, &["--rps", "300", "--slow", "0.05"]);
    Image::sample("v2").push(&program.registry, app, "latest").await;
    program
        .wait(Duration::from_secs(30), &format!("the swap is in {stage}"), || async {
            program.status().await.filter(|status| status["deploying"][1] == stage)
        })
        .await;
    program.kill("agent");
    program.wait_for_version("v2").await;
    program.settled().await;
    load.finish().assert_clean(200);
    let states = program.docker().states(app);
    assert_eq!(states.len(), 1, "no orphan: {states:?}");
    let policy = &program.docker().containers(app)[0]["HostConfig"]["RestartPolicy"]["Name"];
    assert_eq!(policy, "unless-stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_in_the_gate() {
    killed_in("kill-gate", "gate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_in_the_bake() {
    killed_in("kill-bake", "bake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_in_the_drain_with_a_stream_open() {
    let mut setup = Setup::new("kill-drain");
    setup.swap =
        "probe_interval: 50ms, min_healthy: 200ms, healthy_deadline: 8s, bake: 200ms, drain: 10s, drain_streams: 20s";
    let program = Program::serving(setup).await;
    let streams = Load::start(program.port, &["--rps", "5", "--events", "0.5", "--ws", "0.5"]);
    let load = Load::start(program.port, &["--rps", "300"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    Image::sample("v2").push(&program.registry, "kill-drain", "latest").await;
    program
        .wait(Duration::from_secs(30), "the swap is in drain", || async {
            program.status().await.filter(|status| status["deploying"][1] == "drain")
        })
        .await;
    program.kill("agent");
    program.settled().await;
    load.finish().assert_clean(200);
    streams.finish().assert_clean(5);
    assert_eq!(program.version().await.as_deref(), Some("v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_in_the_pull() {
    let program = Program::serving(Setup { relayed: true, ..Setup::new("kill-pull") }).await;
    let load = Load::start(program.port, &["--rps", "300"]);
    program.registry.relay().slow(1 << 20);
    Image::sample("v2").note(&"heavy".repeat(1 << 20)).push(&program.registry, "kill-pull", "latest").await;
    program
        .wait(Duration::from_secs(30), "the swap is in the pull", || async {
            program.status().await.filter(|status| status["deploying"][1] == "pull")
        })
        .await;
    program.kill("agent");
    program.registry.relay().slow(0);
    program.wait_for_version("v2").await;
    program.settled().await;
    load.finish().assert_clean(200);
    assert_eq!(program.docker().states("kill-pull"), ["kill-pull.2 running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_proxy_costs_only_what_was_in_flight_and_refuses_nobody() {
    let program = Program::serving(Setup::new("kill-proxy")).await;
    let load = Load::start(program.port, &["--rps", "300", "--mode", "close", "--slow", "0.1"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    program.kill("proxy");
    program.wait_for_version("v1").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = load.finish();
    let reasons = report.0["reasons"].to_string();
    assert!(!reasons.contains("connect:") && !reasons.contains("status"), "{:#}", report.0);
    assert!(report.failed() < 100, "{:#}", report.0);
    // It serves on as before, with the agent none the wiser.
    Image::sample("v2").push(&program.registry, "kill-proxy", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
}

/// Does something to the memory while tagboat is down; it serves and deploys all the same.
async fn memory(app: &'static str, harm: fn(&std::path::Path)) {
    let mut program = Program::serving(Setup { every: "2s", ..Setup::new(app) }).await;
    program.signal(rustix::process::Signal::TERM);
    program
        .wait(Duration::from_secs(20), "tagboat ends", || async { program.child("proxy").is_none().then_some(()) })
        .await;
    harm(&program.state().join("db"));
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;
    Image::sample("v2").push(&program.registry, app, "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_is_deleted() {
    memory("memory-gone", |db| std::fs::remove_dir_all(db).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_is_filled_with_rubbish() {
    memory("memory-rubbish", |db| {
        for entry in std::fs::read_dir(db).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::write(path, [0xA5; 4096]).unwrap();
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_is_cut_short() {
    memory("memory-short", |db| {
        for entry in std::fs::read_dir(db).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let length = std::fs::metadata(&path).unwrap().len();
                std::fs::File::options().write(true).open(path).unwrap().set_len(length / 3).unwrap();
            }
        }
    })
    .await;
}
