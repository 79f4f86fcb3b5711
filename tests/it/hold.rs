//! An app that must never run twice: its requests wait while one version makes room for the next.
//!
//! The sample app locks a file on a volume that both versions have: a second one at the same time ends with an error, so
//! that a swap in which two ran could not succeed.

use std::time::Duration;

use crate::support::{Image, Load, Program, Setup};

fn exclusive(app: &'static str) -> Setup {
    let mut setup = Setup::new(app);
    let more = format!(
        "health: {{http: /healthz}}\n    overlap: never\n    volumes: ['{app}:/data']\n    env: {{EXCLUSIVE: /data/lock}}"
    );
    // A setup is of constants, and there are four of these.
    setup.more = Box::leak(more.into_boxed_str());
    setup.swap = "probe_interval: 50ms, min_healthy: 200ms, healthy_deadline: 5s, hold_drain: 3s";
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_are_seen_as_latency_and_nothing_fails() {
    let program = Program::serving(exclusive("hold-load")).await;
    let mix = ["--rps", "150", "--conns", "600", "--patience", "20", "--slow", "0.05", "--upload", "0.05"];
    let kept = Load::start(program.port, &mix);
    let fresh = Load::start(program.port, &["--rps", "50", "--mode", "close", "--conns", "300", "--patience", "20"]);
    // They last two seconds, and are let end.
    let streams = ["--rps", "4", "--events", "0.5", "--ws", "0.5", "--patience", "20"];
    let streams = Load::start(program.port, &streams);
    for version in 2..=6 {
        let version = format!("v{version}");
        Image::sample(&version).push(&program.registry, "hold-load", "latest").await;
        program.wait_for_version(&version).await;
        program.settled().await;
    }
    for load in [kept, fresh, streams] {
        let report = load.finish();
        eprintln!("{:#}", report.0);
        report.assert_clean(10);
    }
    let states = program.docker().states("hold-load");
    assert_eq!(states, ["hold-load.6 running"], "{states:?}");
    let metrics = program.metrics().await;
    let value = |series: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series}")).trim().parse().unwrap()
    };
    assert!(value("tagboat_proxy_parked_requests_total{app=\"hold-load\",end=\"released\"}") > 10.0);
    for end in ["overdue", "refused"] {
        let none = value(&format!("tagboat_proxy_parked_requests_total{{app=\"hold-load\",end=\"{end}\"}}"));
        assert!(none.abs() < f64::EPSILON, "{end}");
    }
    assert!(value("tagboat_proxy_parked_seconds_count{app=\"hold-load\"}") > 10.0);
    let gap = "{app=\"hold-load\",strategy=\"hold\"}";
    assert!(value(&format!("tagboat_swap_downtime_seconds_count{gap}")) >= 5.0);
    assert!(value(&format!("tagboat_swap_downtime_seconds_sum{gap}")) > 1.0);
    let status = program.status().await.unwrap();
    assert_eq!(status["strategy"], "hold");
    assert!(status["strategy_reason"].as_str().unwrap().contains("overlap: never"), "{status:#}");
}

/// A bad version is put aside and the old one serves again, and nobody was told anything but to wait.
async fn a_bad_one(app: &'static str, image: Image, reason: &str) {
    let program = Program::serving(exclusive(app)).await;
    let load = Load::start(program.port, &["--rps", "50", "--mode", "close", "--conns", "600", "--patience", "20"]);
    image.push(&program.registry, app, "latest").await;
    program.state_is("held").await;
    program
        .wait(Duration::from_secs(20), "the old one serves", || async {
            program.version().await.filter(|version| version == "v1")
        })
        .await;
    load.finish().assert_clean(50);
    let status = program.status().await.unwrap();
    assert_eq!(status["quarantined"][0]["failure"]["reason"], reason, "{status:#}");
    let containers = program.docker().containers(app);
    let running: Vec<_> = containers.iter().filter(|c| c["State"]["Status"] == "running").collect();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0]["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
    let failed = format!("/{app}.failed-2");
    assert!(containers.iter().any(|c| c["Name"] == failed.as_str()), "{:?}", program.docker().states(app));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_exits_gives_way_to_the_old_one() {
    a_bad_one("hold-exits", Image::sample("v2").env("EXIT_AT_START", "1"), "exited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_gets_healthy_gives_way_to_the_old_one() {
    a_bad_one("hold-deaf", Image::sample("v2").env("NEVER_HEALTHY", "1"), "unhealthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tagboat_that_is_asked_to_end_while_requests_wait_finishes_what_it_has_begun() {
    let mut setup = exclusive("hold-term");
    setup.swap = "probe_interval: 50ms, min_healthy: 2s, healthy_deadline: 8s, hold_drain: 3s";
    let program = Program::serving(setup).await;
    Image::sample("v2").push(&program.registry, "hold-term", "latest").await;
    let limit = Duration::from_secs(30);
    program
        .wait(limit, "the swap is in its gate", || async {
            program.status().await.filter(|status| status["deploying"][1] == "gate")
        })
        .await;
    program.signal(rustix::process::Signal::TERM);
    program.wait(limit, "tagboat ends", || async { program.child("agent").is_none().then_some(()) }).await;
    let containers = program.docker().containers("hold-term");
    let running: Vec<_> = containers.iter().filter(|c| c["State"]["Status"] == "running").collect();
    assert_eq!(running.len(), 1, "{:?}", program.docker().states("hold-term"));
    assert_eq!(running[0]["Name"], "/hold-term.2");
    assert_eq!(running[0]["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_end_holds_nobody_up_for_longer_than_its_limit() {
    let mut setup = exclusive("hold-stream");
    setup.swap = "probe_interval: 50ms, min_healthy: 200ms, healthy_deadline: 5s, hold_drain: 1s";
    let program = Program::serving(setup).await;
    let url = format!("http://127.0.0.1:{}/events?n=10000&ms=50", program.port);
    let mut stream = crate::support::client().get(url).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let load = Load::start(program.port, &["--rps", "50", "--conns", "400", "--patience", "20"]);
    Image::sample("v2").push(&program.registry, "hold-stream", "latest").await;
    program.wait_for_version("v2").await;
    let cut = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(10), cut).await.expect("the old stream ends");
    program.settled().await;
    let report = load.finish();
    report.assert_clean(20);
    let slowest = report.0["latency_ms"]["max"].as_f64().unwrap();
    assert!(slowest < 12_000.0, "{:#}", report.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_while_requests_wait_is_held_again_and_sends_nobody_to_what_has_not_proved_itself() {
    let mut setup = exclusive("hold-proxy");
    setup.swap = "probe_interval: 50ms, min_healthy: 3s, healthy_deadline: 10s, hold_drain: 3s";
    let program = Program::serving(setup).await;
    Image::sample("v2").push(&program.registry, "hold-proxy", "latest").await;
    let limit = Duration::from_secs(30);
    let in_gate = || async { program.status().await.filter(|status| status["deploying"][1] == "gate") };
    program.wait(limit, "the swap is in its gate", in_gate).await;
    let before = program.child("proxy");
    program.kill("proxy");
    program.wait(limit, "another proxy", || async { program.child("proxy").filter(|pid| Some(*pid) != before) }).await;
    // From now on nobody may notice anything but that it takes a while.
    let load = Load::start(program.port, &["--rps", "50", "--mode", "close", "--conns", "400", "--patience", "20"]);
    assert!(program.status().await.unwrap()["deploying"][1] == "gate", "it is still in its gate");
    program.wait_for_version("v2").await;
    program.settled().await;
    let report = load.finish();
    report.assert_clean(50);
    let log = program.log();
    let switches: Vec<&str> = log.lines().filter(|line| line.contains("traffic switched")).collect();
    assert_eq!(switches.len(), 2, "one a version");
    let at = switches[1].split_whitespace().next().and_then(|at| at.parse::<tagboat::model::Time>().ok()).unwrap();
    let first = report.0["versions"]["v2"]["first_unix_ms"].as_i64().unwrap();
    assert!(first > at.timestamp_millis() - 500, "it answered at {first}, and was let in at {at}");
}
