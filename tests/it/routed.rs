//! Containers that a person made, behind tagboat's proxy.

use std::time::Duration;

use crate::support::{Image, Load, Program, Setup, client};

/// Pushes version 1 and runs it as a person would, with labels for the proxy and these arguments.
async fn routed(app: &'static str, args: &[&str]) -> Program {
    let mut program = Program::prepared(Setup { declared: false, ..Setup::new(app) }).await;
    Image::sample("v1").push(&program.registry, app, "latest").await;
    run(&program, args);
    program.start();
    program.wait_for_version("v1").await;
    program.state_is("up_to_date").await;
    program
}

fn run(program: &Program, args: &[&str]) {
    let app = program.setup.app;
    let image = format!("{}/{app}:latest", program.registry.host());
    let listen = format!("tagboat.listen=127.0.0.1:{}", program.port);
    let scope = format!("tagboat.scope={app}");
    let mut all = vec!["run", "-d", "--name", app, "--restart", "always", "--stop-timeout", "2"];
    for label in ["tagboat.enable=true", &scope, &listen, "tagboat.port=8080", "tagboat.health.http=/healthz"] {
        all.extend(["--label", label]);
    }
    all.extend(args);
    all.push(&image);
    program.docker().must(&all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_person_is_swapped_behind_the_proxy_without_a_failed_request() {
    let program = routed("routed", &["-e", "COLOR=blue"]).await;
    let status = program.status().await.unwrap();
    assert_eq!(status["strategy"], "overlap", "{status:#}");
    let loads = [
        Load::start(program.port, &["--rps", "100", "--slow", "0.05", "--upload", "0.05"]),
        Load::start(program.port, &["--rps", "50", "--mode", "close"]),
    ];
    for version in ["v2", "v3"] {
        Image::sample(version).push(&program.registry, "routed", "latest").await;
        program.wait_for_version(version).await;
        program.state_is("up_to_date").await;
    }
    // An agent that starts anew takes no route away before it has found the container.
    program.kill("agent");
    Image::sample("v4").push(&program.registry, "routed", "latest").await;
    program.wait_for_version("v4").await;
    program.state_is("up_to_date").await;
    for load in loads {
        load.finish().assert_clean(50);
    }
    // One that ends after the switch is taken back by the bake.
    Image::sample("v5").env("CRASH_AFTER_MS", "600").push(&program.registry, "routed", "latest").await;
    program.state_is("held").await;
    let failure = &program.status().await.unwrap()["quarantined"][0]["failure"];
    assert_eq!(failure["stage"], "bake", "{failure:#}");
    program.wait_for_version("v4").await;
    let left: Vec<String> = program.docker().states("routed");
    assert!(left.contains(&"routed running".to_owned()), "{left:?}");
    assert_eq!(left.iter().filter(|state| state.ends_with(" running")).count(), 1, "{left:?}");
    let container = program.docker().named("routed").unwrap();
    assert_eq!(container["HostConfig"]["RestartPolicy"]["Name"], "always");
    let env = container["Config"]["Env"].to_string();
    assert!(env.contains("COLOR=blue") && env.contains("VERSION=v4"), "{env}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_follows_a_container_that_is_restarted_or_made_anew() {
    let program = routed("routed-anew", &[]).await;
    program.docker().must(&["restart", "-t", "0", "routed-anew"]);
    program.wait_for_version("v1").await;
    program.docker().must(&["rm", "-f", "routed-anew"]);
    // Nobody is there: the route is gone with the container.
    program
        .wait(Duration::from_secs(30), "the route is gone", || async {
            let answer = client().get(format!("http://127.0.0.1:{}/", program.port)).send().await.ok()?;
            (answer.status() == 404).then_some(())
        })
        .await;
    run(&program, &[]);
    program.wait_for_version("v1").await;
    program.state_is("up_to_date").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_one_container_can_have_costs_a_gap_and_the_route_follows() {
    let program = routed("routed-volume", &["-v", "routed-volume:/data", "-e", "EXCLUSIVE=/data/lock"]).await;
    assert_eq!(program.status().await.unwrap()["strategy"], "recreate");
    Image::sample("v2").push(&program.registry, "routed-volume", "latest").await;
    program.wait_for_version("v2").await;
    program.state_is("up_to_date").await;
    Image::sample("v3").env("EXIT_AT_START", "3").push(&program.registry, "routed-volume", "latest").await;
    program.state_is("held").await;
    program.wait_for_version("v2").await;
}
