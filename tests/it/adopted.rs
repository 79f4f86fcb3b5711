//! Containers that a person made, with labels and nothing else.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Image, Program, Setup};

/// Pushes version 1, runs it as a person would with these arguments, and waits until tagboat has adopted it.
async fn adopted(setup: Setup, args: &[&str]) -> Program {
    let app = setup.app;
    let mut program = Program::prepared(Setup { declared: false, ..setup }).await;
    Image::sample("v1").push(&program.registry, app, "latest").await;
    run(&program, app, args);
    program.start();
    program.state_is("up_to_date").await;
    program
}

fn image(program: &Program) -> String {
    format!("{}/{}:latest", program.registry.host(), program.setup.app)
}

/// `docker run`, with the labels that every adopted container of a test has.
fn run(program: &Program, name: &str, args: &[&str]) -> String {
    let scope = format!("tagboat.scope={}", program.setup.app);
    let image = image(program);
    let labels = ["--label", "tagboat.enable=true", "--label", &scope];
    program.docker().must(&[&["run", "-d", "--name", name], labels.as_slice(), args, &[&image]].concat())
}

fn env_of(container: &Value) -> Vec<&str> {
    container["Config"]["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_published_port_is_recreated_as_it_was() {
    let setup = Setup::new("adopt-port");
    let port = crate::support::free_port();
    let publish = format!("127.0.0.1:{port}:8080");
    let args =
        ["-p", &publish, "-e", "COLOR=blue", "--restart", "always", "-v", "adopt-port-data:/data", "-v", "/cache"];
    let program = adopted(setup, &args).await;
    let before = program.docker().named("adopt-port").unwrap();
    let cache = before["Mounts"].as_array().unwrap().iter().find(|m| m["Destination"] == "/cache").unwrap();
    let digest = Image::sample("v2").env("NEW", "1").push(&program.registry, "adopt-port", "latest").await;
    program
        .wait(Duration::from_secs(60), "version 2 runs under the name", || async {
            let container = program.docker().named("adopt-port")?;
            (env_of(&container).contains(&"VERSION=v2") && container["HostConfig"]["RestartPolicy"]["Name"] == "always")
                .then_some(())
        })
        .await;
    program.state_is("up_to_date").await;
    let after = program.docker().named("adopt-port").unwrap();
    let env = env_of(&after);
    assert!(env.contains(&"COLOR=blue") && env.contains(&"NEW=1"), "{env:?}");
    assert_eq!(after["Config"]["Image"], image(&program).as_str());
    assert!(after["Mounts"].as_array().unwrap().iter().any(|m| m["Name"] == cache["Name"]), "its cache moved along");
    let answer = crate::support::client().get(format!("http://127.0.0.1:{port}/id?x=0")).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("v2"));
    assert_eq!(program.docker().states("adopt-port"), ["adopt-port running"], "nothing is left over");
    let status = program.status().await.unwrap();
    assert_eq!(status["deployed"]["digest"], digest.as_str());
    let metrics = program.metrics().await;
    let counted = "tagboat_swap_downtime_seconds_count{app=\"adopt-port\",strategy=\"recreate\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(program.log().contains("because it publishes port"), "the choice of strategy is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_gives_way_to_the_old_container_as_it_was() {
    let port = crate::support::free_port();
    let publish = format!("127.0.0.1:{port}:8080");
    let program = adopted(Setup::new("adopt-bad"), &["-p", &publish, "--restart", "on-failure:3"]).await;
    let before = program.docker().named("adopt-bad").unwrap();
    Image::sample("v2").env("EXIT_AT_START", "7").push(&program.registry, "adopt-bad", "latest").await;
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    assert_eq!(status["hold"]["failure"]["reason"], "exited", "{status:#}");
    let after = program.docker().named("adopt-bad").unwrap();
    assert_eq!((&after["Id"], &after["State"]["Status"]), (&before["Id"], &Value::from("running")));
    assert_eq!(after["HostConfig"]["RestartPolicy"], before["HostConfig"]["RestartPolicy"]);
    let local = program.docker().must(&["image", "inspect", "--format", "{{.Id}}", &image(&program)]);
    assert_eq!(after["Image"], local.as_str(), "the tag names what runs");
    let answer = crate::support::client().get(format!("http://127.0.0.1:{port}/id?x=0")).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("v1"));
    assert_eq!(program.docker().states("adopt-bad"), ["adopt-bad.failed-1 exited"], "kept for inspection");
    // The next good one is deployed as if nothing had been.
    Image::sample("v3").push(&program.registry, "adopt-bad", "latest").await;
    program
        .wait(Duration::from_secs(60), "version 3 runs", || async {
            let container = program.docker().named("adopt-bad")?;
            env_of(&container).contains(&"VERSION=v3").then_some(())
        })
        .await;
    program.state_is("up_to_date").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_port_is_never_away() {
    let program = adopted(Setup::new("adopt-worker"), &[]).await;
    let watched = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let watcher = tokio::task::spawn_blocking({
        let (watched, docker) = (watched.clone(), program.docker());
        move || {
            let mut least = usize::MAX;
            while watched.load(std::sync::atomic::Ordering::SeqCst) {
                let running = docker.must(&["ps", "-q", "--filter", "label=tagboat.scope=adopt-worker"]);
                least = least.min(running.lines().count());
            }
            least
        }
    });
    Image::sample("v2").push(&program.registry, "adopt-worker", "latest").await;
    program
        .wait(Duration::from_secs(60), "version 2 runs alone", || async {
            let container = program.docker().named("adopt-worker")?;
            let alone = program.docker().must(&["ps", "-aq", "--filter", "label=tagboat.scope=adopt-worker"]);
            (env_of(&container).contains(&"VERSION=v2") && alone.lines().count() == 1).then_some(())
        })
        .await;
    watched.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(watcher.await.unwrap(), 1, "there was always one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_while_the_old_one_is_stopped() {
    let port = crate::support::free_port();
    let publish = format!("127.0.0.1:{port}:8080");
    let mut setup = Setup::new("adopt-kill");
    setup.swap =
        "probe_interval: 100ms, min_healthy: 2s, healthy_deadline: 20s, bake: 1s, drain: 5s, drain_streams: 5s";
    let program = adopted(setup, &["-p", &publish, "--restart", "always"]).await;
    for version in ["v2", "v3"] {
        Image::sample(version).push(&program.registry, "adopt-kill", "latest").await;
        program
            .wait(Duration::from_secs(30), "the swap is in its gate", || async {
                program.status().await.filter(|status| status["deploying"][1] == "gate")
            })
            .await;
        program.kill("agent");
        program
            .wait(Duration::from_secs(60), "it is finished after the restart", || async {
                let container = program.docker().named("adopt-kill")?;
                let armed = container["HostConfig"]["RestartPolicy"]["Name"] == "always";
                (armed && env_of(&container).contains(&format!("VERSION={version}").as_str())).then_some(())
            })
            .await;
        program.state_is("up_to_date").await;
        assert_eq!(program.docker().states("adopt-kill"), ["adopt-kill running"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_label_is_that_containers_problem_and_coming_and_going_is_noticed() {
    let program = adopted(Setup::new("adopt-label"), &[]).await;
    run(&program, "adopt-label-bad", &["--label", "tagboat.evry=30s"]);
    let find = |statuses: Value, name: &str| -> Option<Value> {
        statuses.as_array().or_else(|| statuses["apps"].as_array())?.iter().find(|s| s["app"] == name).cloned()
    };
    let bad = program
        .wait(Duration::from_secs(20), "the wrong label is told", || async {
            find(program.get("/apps").await?, "adopt-label-bad")
        })
        .await;
    let message = bad["hold"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("did you mean `tagboat.every`?"), "{bad:#}");
    assert_eq!(program.status().await.unwrap()["state"], "up_to_date");
    program.docker().must(&["rm", "-f", "adopt-label-bad", "adopt-label"]);
    program
        .wait(Duration::from_secs(20), "both are gone", || async {
            let statuses = program.get("/apps").await?;
            (find(statuses.clone(), "adopt-label").or(find(statuses, "adopt-label-bad"))).is_none().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shares_its_network_follows_it_and_comes_back_with_it() {
    let port = crate::support::free_port();
    let publish = format!("127.0.0.1:{port}:8080");
    let program = adopted(Setup::new("adopt-net"), &["-p", &publish, "--restart", "always"]).await;
    let docker = program.docker();
    let image = image(&program);
    docker.cli(&["rm", "-f", "adopt-net-side"]);
    let side = ["run", "-d", "--name", "adopt-net-side", "--network", "container:adopt-net", "-e", "PORT=8081"];
    docker.must(&[side.as_slice(), &["--restart", "always", &image]].concat());
    let shared = || {
        let (main, side) = (docker.named("adopt-net")?, docker.named("adopt-net-side")?);
        let joined = side["HostConfig"]["NetworkMode"] == format!("container:{}", main["Id"].as_str()?);
        (joined && side["State"]["Status"] == "running").then_some((main, side))
    };
    assert!(shared().is_some());
    Image::sample("v2").push(&program.registry, "adopt-net", "latest").await;
    program
        .wait(Duration::from_secs(60), "both have moved", || async {
            let (main, side) = shared()?;
            let policy = side["HostConfig"]["RestartPolicy"]["Name"] == "always";
            (policy && env_of(&main).contains(&"VERSION=v2")).then_some(())
        })
        .await;
    program.state_is("up_to_date").await;
    let left = docker.must(&["ps", "-aq", "--filter", "name=adopt-net"]);
    assert_eq!(left.lines().count(), 2, "nothing is left over");
    let (_, side) = shared().unwrap();
    assert!(env_of(&side).contains(&"PORT=8081") && env_of(&side).contains(&"VERSION=v1"), "it keeps its own image");
    // A bad version: the old one is started again, and the other enters its network anew.
    let before = docker.named("adopt-net-side").unwrap()["State"]["StartedAt"].clone();
    Image::sample("v3").env("EXIT_AT_START", "7").push(&program.registry, "adopt-net", "latest").await;
    program.state_is("held").await;
    let (main, side) = shared().expect("they still belong together");
    assert!(env_of(&main).contains(&"VERSION=v2"));
    assert_ne!(side["State"]["StartedAt"], before);
    let answer = crate::support::client().get(format!("http://127.0.0.1:{port}/id?x=0")).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("v2"));
    docker.must(&["rm", "-f", "adopt-net-side"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_needs_no_registry_and_holds_until_the_tag_moves_on() {
    let mut program = adopted(Setup::new("adopt-back"), &[]).await;
    let runs = |version: &'static str| {
        move || {
            let container = crate::support::docker().named("adopt-back")?;
            env_of(&container).contains(&format!("VERSION={version}").as_str()).then_some(())
        }
    };
    Image::sample("v2").push(&program.registry, "adopt-back", "latest").await;
    program.wait(Duration::from_secs(60), "version 2 runs", || async { runs("v2")() }).await;
    program.state_is("up_to_date").await;
    program.registry.stop();
    let back = program.cli(&["rollback", "adopt-back", "--wait"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    program.wait(Duration::from_secs(60), "version 1 runs again", || async { runs("v1")() }).await;
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    assert_eq!(
        (&status["hold"]["hold"], &status["pin"]["reason"]),
        (&"pinned".into(), &"rollback".into()),
        "{status:#}"
    );
    program.registry.resume().await;
    Image::sample("v3").push(&program.registry, "adopt-back", "latest").await;
    program.cli(&["check", "adopt-back"]);
    program.wait(Duration::from_secs(60), "version 3 runs", || async { runs("v3")() }).await;
    program.state_is("up_to_date").await;
    let container = program.docker().named("adopt-back").unwrap();
    assert_eq!(container["Config"]["Image"], image(&program).as_str(), "it is called as the person called it");
}
