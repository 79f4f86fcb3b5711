//! Versions that fail some time after they went into service.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Image, Program, Setup};

fn version_of(name: &str) -> Option<String> {
    let container = crate::support::docker().named(name)?;
    let env = container["Config"]["Env"].as_array()?.iter().filter_map(Value::as_str);
    env.filter_map(|entry| entry.strip_prefix("VERSION=")).next().map(str::to_owned)
}

/// Waits until the version is quarantined by the watch; the status.
async fn condemned(program: &Program, digest: &str) -> Value {
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    let hold = &status["hold"];
    assert_eq!((&hold["hold"], &hold["digest"]), (&"quarantined".into(), &digest.into()), "{status:#}");
    assert_eq!(hold["failure"]["reason"], "failed_in_watch", "{status:#}");
    assert_eq!(hold["failure"]["stage"], "watch", "{status:#}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_dies_after_its_bake_is_rolled_back_also_by_an_agent_that_was_not_there() {
    let program = Program::serving(Setup::new("watch-dies")).await;
    let image = Image::sample("v2").env("CRASH_AFTER_MS", "12000");
    let digest = image.push(&program.registry, "watch-dies", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
    // What it needs to know stands in the world, and not in the agent.
    program.kill("agent");
    let status = condemned(&program, digest.as_str()).await;
    program.wait_for_version("v1").await;
    let failure = &status["hold"]["failure"];
    assert!(failure["log_tail"].to_string().contains("panic"), "{failure:#}");
    assert_eq!(program.docker().states("watch-dies"), ["watch-dies.3 running"], "the old image, made anew");
    let history = program.get("/apps/watch-dies/deployments").await.unwrap();
    let entries: Vec<(&Value, &Value)> =
        history.as_array().unwrap().iter().map(|entry| (&entry["reason"], &entry["result"])).collect();
    assert_eq!(entries[0], (&"watch_failed".into(), &"succeeded".into()), "{history:#}");
    assert_eq!(entries[1], (&"tag_moved".into(), &"rolled_back".into()), "{history:#}");
    assert!(program.metrics().await.contains("tagboat_watch_rollbacks_total{app=\"watch-dies\"} 1"));
    // The next good one is deployed as if nothing had been.
    Image::sample("v3").push(&program.registry, "watch-dies", "latest").await;
    program.wait_for_version("v3").await;
    program.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_turns_unhealthy_is_rolled_back_and_one_that_a_person_restarts_or_stops_is_not() {
    let program = Program::serving(Setup::new("watch-sick")).await;
    Image::sample("v2").healthcheck().push(&program.registry, "watch-sick", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
    program.docker().must(&["restart", "-t", "1", "watch-sick.2"]);
    program.wait_for_version("v2").await;
    program.docker().must(&["stop", "-t", "1", "watch-sick.2"]);
    program.wait_for_version("v2").await;
    program.state_is("up_to_date").await;
    assert_eq!(program.docker().states("watch-sick"), ["watch-sick.2 running"], "it was started again and stays");
    let image = Image::sample("v3").healthcheck().env("UNHEALTHY_AFTER_MS", "9000");
    let digest = image.push(&program.registry, "watch-sick", "latest").await;
    program.wait_for_version("v3").await;
    let status = condemned(&program, digest.as_str()).await;
    assert!(status["hold"]["failure"]["message"].as_str().unwrap().contains("health check"), "{status:#}");
    program.wait_for_version("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_forces_stays_and_the_watch_can_be_turned_off() {
    let setup = Setup::new("watch-force");
    let program = Program::serving(setup).await;
    let image = Image::sample("v2").env("CRASH_AFTER_MS", "9000");
    let digest = image.push(&program.registry, "watch-force", "latest").await;
    condemned(&program, digest.as_str()).await;
    program.wait_for_version("v1").await;
    let forced = program.cli(&["deploy", "watch-force", "--force", "--wait"]);
    assert!(forced.status.success(), "{}", String::from_utf8_lossy(&forced.stderr));
    let restarts = || {
        let containers = program.docker().containers("watch-force");
        containers.iter().filter_map(|c| c["RestartCount"].as_u64()).max().unwrap_or_default()
    };
    program.wait(Duration::from_secs(60), "it has died twice", || async { (restarts() >= 2).then_some(()) }).await;
    program.state_is("up_to_date").await;
    assert_eq!(program.status().await.unwrap()["deployed"]["digest"], digest.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_proxy_the_old_image_comes_back_under_the_name() {
    let app = "watch-adopted";
    let mut program = Program::prepared(Setup { declared: false, ..Setup::new(app) }).await;
    Image::sample("v1").push(&program.registry, app, "latest").await;
    let port = crate::support::free_port();
    let (publish, scope) = (format!("127.0.0.1:{port}:8080"), format!("tagboat.scope={app}"));
    let image = format!("{}/{app}:latest", program.registry.host());
    let args = ["run", "-d", "--name", app, "-p", &publish, "--restart", "always"];
    program.docker().must(&[args.as_slice(), &["--label", "tagboat.enable=true", "--label", &scope, &image]].concat());
    program.start();
    program.state_is("up_to_date").await;
    let bad = Image::sample("v2").env("CRASH_AFTER_MS", "15000");
    let digest = bad.push(&program.registry, app, "latest").await;
    program
        .wait(Duration::from_secs(60), "version 2 has the name", || async {
            version_of(app).filter(|version| version == "v2")
        })
        .await;
    condemned(&program, digest.as_str()).await;
    program
        .wait(Duration::from_secs(60), "version 1 has it again", || async {
            version_of(app).filter(|version| version == "v1")
        })
        .await;
    let container = program.docker().named(app).unwrap();
    assert_eq!(container["HostConfig"]["RestartPolicy"]["Name"], "always");
    assert_eq!(program.docker().states(app), [format!("{app} running")]);
}
