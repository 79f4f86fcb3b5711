//! Apps that move together: all of them in one generation of the proxy's table, or none.

mod pair;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::support::{Image, Load, Program, Setup, free_port};

use pair::{Images, Pair, SWAP, Witness};

#[tokio::test(flavor = "multi_thread")]
async fn two_images_that_are_pushed_one_after_the_other_are_switched_at_once() {
    let pair = Pair::serving("group-two", "group-two-api", Images::Apart, false).await;
    let loads = [pair.program.port, pair.port].map(|port| Load::start(port, &["--rps", "100", "--slow", "0.05"]));
    let witness = Witness::start([pair.program.port, pair.port]);
    pair.push("group-two", Image::sample("v2")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    pair.push("group-two-api", Image::sample("v2")).await;
    pair.serve("v2").await;
    witness.saw_one_world().await;
    for load in loads {
        load.finish().assert_clean(50);
    }
    let ended = pair.ended("succeeded").await;
    assert_eq!(ended["members"].as_array().unwrap().len(), 2, "{ended:#}");
    assert!(ended["table"].as_u64().is_some(), "{ended:#}");
    let since = [pair.status("group-two").await.unwrap(), pair.status("group-two-api").await.unwrap()]
        .map(|status| status["deployed"]["since"].clone());
    assert_eq!(since[0], since[1], "they were switched in one generation of the table");
    let own = pair.program.get("/apps/group-two/deployments").await.unwrap();
    assert_eq!(own[0]["group"]["id"], ended["id"], "{own:#}");
    assert_eq!(pair.running().len(), 2, "{:?}", pair.running());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_fails_nobody_moves_and_the_others_go_with_its_next_version() {
    let pair = Pair::serving("group-bad", "group-bad-api", Images::Apart, false).await;
    let load = Load::start(pair.program.port, &["--rps", "100"]);
    let bad = pair.push("group-bad-api", Image::sample("v2").env("EXIT_AT_START", "3")).await;
    pair.push("group-bad", Image::sample("v2")).await;
    let api = pair.held("group-bad-api", "quarantined").await;
    assert_eq!(api["quarantined"][0]["digest"], bad.as_str(), "{api:#}");
    let web = pair.held("group-bad", "group").await;
    assert_eq!(web["quarantined"], serde_json::json!([]), "only the one that failed is to blame");
    assert_eq!(web["hold"]["waits_for"][0], "group-bad-api", "{web:#}");
    assert!(web["explanation"].as_str().unwrap().contains("group-bad-api"), "{web:#}");
    let plan = pair.program.cli(&["plan", "group-bad"]);
    assert!(String::from_utf8_lossy(&plan.stdout).contains("waits for its group: group-bad-api"), "{plan:?}");
    assert!(pair.program.metrics().await.contains("tagboat_held{app=\"group-bad\",hold=\"group\"} 1"));
    let failed = pair.ended("failed").await;
    assert!(failed["message"].as_str().unwrap().contains("group-bad-api"), "{failed:#}");
    for port in [pair.program.port, pair.port] {
        assert_eq!(pair.version(port).await.as_deref(), Some("v1"));
    }
    assert_eq!(pair.running(), ["group-bad.1 running", "group-bad-api.1 running"]);
    pair.push("group-bad-api", Image::sample("v2").note("mended")).await;
    pair.serve("v2").await;
    load.finish().assert_clean(50);
    pair.ended("succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_one_image_move_together() {
    let pair = Pair::serving("group-one", "group-one-api", Images::Shared, false).await;
    let witness = Witness::start([pair.program.port, pair.port]);
    for version in ["v2", "v3"] {
        pair.push("group-one", Image::sample(version)).await;
        pair.serve(version).await;
    }
    witness.saw_one_world().await;
    let history = pair.history().await;
    assert!(history.iter().all(|entry| entry["members"].as_array().unwrap().len() == 2), "{history:#?}");
    assert_eq!(history.len(), 2, "{history:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_switch_takes_all_of_them_back() {
    // A bake that is long enough for the crash to fall into it on a slow machine.
    let swap =
        "probe_interval: 50ms, min_healthy: 100ms, healthy_deadline: 8s, bake: 10s, drain: 5s, drain_streams: 5s";
    let pair = Pair::timed("group-bake", "group-bake-api", Images::Apart, false, swap).await;
    let load = Load::start(pair.program.port, &["--rps", "100"]);
    let witness = Witness::start([pair.program.port, pair.port]);
    pair.push("group-bake-api", Image::sample("v2").env("CRASH_AFTER_MS", "4000")).await;
    pair.push("group-bake", Image::sample("v2")).await;
    let api = pair.held("group-bake-api", "quarantined").await;
    assert_eq!(api["quarantined"][0]["failure"]["reason"], "failed_in_bake", "{api:#}");
    pair.held("group-bake", "group").await;
    drop(witness);
    let ended = pair.ended("rolled_back").await;
    assert!(ended["message"].as_str().unwrap().starts_with("group-bake-api"), "{ended:#}");
    for port in [pair.program.port, pair.port] {
        assert_eq!(pair.version(port).await.as_deref(), Some("v1"));
    }
    let since = [pair.status("group-bake").await.unwrap(), pair.status("group-bake-api").await.unwrap()]
        .map(|status| status["deployed"]["since"].clone());
    assert_eq!(since[0], since[1], "they were switched back in one generation of the table");
    load.finish().assert_clean(50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_watch_takes_back_takes_along_what_came_with_it_until_it_moves_on() {
    let (web, api) = ("group-watch", "group-watch-api");
    let pair = Pair::serving(web, api, Images::Apart, false).await;
    let load = Load::start(pair.program.port, &["--rps", "100"]);
    pair.push(api, Image::sample("v2").env("CRASH_AFTER_MS", "15000")).await;
    let second = pair.push(web, Image::sample("v2")).await;
    pair.ended("succeeded").await;
    let status = pair.held(api, "quarantined").await;
    assert_eq!(status["quarantined"][0]["failure"]["reason"], "failed_in_watch", "{status:#}");
    let status = pair.held(web, "pinned").await;
    assert!(status["hold"]["reason"].as_str().unwrap().starts_with(api), "{status:#}");
    assert_eq!(status["quarantined"].as_array().map(Vec::len), Some(0), "{status:#}");
    for port in [pair.program.port, pair.port] {
        assert_eq!(pair.version(port).await.as_deref(), Some("v1"));
    }
    // It is remembered why.
    pair.program.kill("agent");
    pair.held(web, "pinned").await;
    let witness = Witness::start([pair.program.port, pair.port]);
    pair.push(api, Image::sample("v2").note("mended")).await;
    pair.serve("v2").await;
    witness.saw_one_world().await;
    let ended = pair.ended("succeeded").await;
    let digests: Vec<_> = ended["members"].as_array().unwrap().iter().map(|member| &member["digest"]).collect();
    assert!(digests.len() == 2 && digests.contains(&&second.into()), "{ended:#}");
    load.finish().assert_clean(50);
}

/// Kills the agent at a side effect of the group's deployment; both have moved afterwards, at once.
async fn killed(app: &'static str, api: &'static str, place: &str) {
    let pair = Pair::serving(app, api, Images::Apart, true).await;
    let armed = pair.program.failpoints().join("armed");
    std::fs::write(&armed, format!("{place} v2")).unwrap();
    let load = Load::start(pair.program.port, &["--rps", "100"]);
    let witness = Witness::start([pair.program.port, pair.port]);
    pair.push(app, Image::sample("v2")).await;
    pair.push(api, Image::sample("v2")).await;
    pair.program.wait(Duration::from_secs(40), "the agent stands still", || async { pair.program.halted() }).await;
    std::fs::remove_file(armed).unwrap();
    pair.program.kill("agent");
    pair.serve("v2").await;
    witness.saw_one_world().await;
    load.finish().assert_clean(50);
    let since = [pair.status(app).await.unwrap(), pair.status(api).await.unwrap()]
        .map(|status| status["deployed"]["since"].clone());
    assert_eq!(since[0], since[1], "they were switched in one generation of the table");
    assert_eq!(pair.running().len(), 2, "{:?}", pair.running());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_between_gate_and_switch_moves_them_together_at_its_next_start() {
    killed("group-kill", "group-kill-api", "before traffic.switch 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_with_one_candidate_made_moves_them_together_at_its_next_start() {
    killed("group-half", "group-half-api", "after engine.create 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_after_the_switch_finishes_what_it_has_begun() {
    killed("group-late", "group-late-api", "after traffic.switch 1").await;
}

/// The version of a container by its name.
fn version_of(program: &Program, name: &str) -> Option<String> {
    let container = program.docker().named(name)?;
    let env = container["Config"]["Env"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
    env.filter_map(|one| one.strip_prefix("VERSION=").map(str::to_owned)).next()
}

/// A web behind the proxy and a worker of the same image that a person has started.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_a_person_made_moves_with_the_others() {
    let (app, worker) = ("group-adopt", "group-adopt-worker");
    let more = "health: {http: /healthz}\n    group: group-adopt-group";
    let mut program = Program::prepared(Setup { more, swap: SWAP, ..Setup::new(app) }).await;
    program.docker().remove_all(worker);
    Image::sample("v1").push(&program.registry, app, "latest").await;
    let image = format!("{}/{app}:latest", program.registry.host());
    let label = |text: &'static str| ["--label", text];
    let labels =
        [label("tagboat.enable=true"), label("tagboat.scope=group-adopt"), label("tagboat.group=group-adopt-group")];
    let restart = ["--restart", "unless-stopped"];
    program
        .docker()
        .must(&[&["run", "-d", "--name", worker], labels.concat().as_slice(), &restart, &[&image]].concat());
    program.start();
    program.state_is("up_to_date").await;
    let load = Load::start(program.port, &["--rps", "50"]);
    let both = |wanted: &'static str| {
        let program = &program;
        async move {
            program
                .wait(Duration::from_secs(60), &format!("both are at {wanted}"), || async {
                    let state = program.get(&format!("/apps/{worker}")).await?["state"].clone();
                    let web = program.version().await? == wanted;
                    (web && version_of(program, worker)? == wanted && state == "up_to_date").then_some(())
                })
                .await;
        }
    };
    both("v1").await;
    Image::sample("v2").push(&program.registry, app, "latest").await;
    both("v2").await;
    let bad = Image::sample("v3").env("EXIT_AT_START", "3");
    bad.push(&program.registry, app, "latest").await;
    program.state_is("held").await;
    assert_eq!((program.version().await.as_deref(), version_of(&program, worker).as_deref()), (Some("v2"), Some("v2")));
    Image::sample("v4").push(&program.registry, app, "latest").await;
    both("v4").await;
    load.finish().assert_clean(50);
    results(&program, "group-adopt-group", &["succeeded", "failed", "succeeded"]).await;
    program.signal(rustix::process::Signal::TERM);
    program.docker().remove_all(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_back_those_that_moved_together_and_only_the_named_one_if_that_is_said() {
    let pair = Pair::serving("group-back", "group-back-api", Images::Apart, false).await;
    let witness = Witness::start([pair.program.port, pair.port]);
    pair.push("group-back", Image::sample("v2")).await;
    pair.push("group-back-api", Image::sample("v2")).await;
    pair.serve("v2").await;
    witness.saw_one_world().await;
    pair.ended("succeeded").await;
    let back = pair.program.cli(&["rollback", "group-back"]);
    assert!(back.status.success(), "{back:?}");
    for port in [pair.program.port, pair.port] {
        pair.program
            .wait(Duration::from_secs(30), "it is back", || async {
                pair.version(port).await.filter(|version| version == "v1")
            })
            .await;
    }
    pair.program
        .wait(Duration::from_secs(30), "the group has gone back", || async {
            let history = pair.history().await;
            (history.len() == 2 && history[0]["result"] == "succeeded").then_some(())
        })
        .await;
    let unpinned = pair.program.cli(&["unpin", "group-back"]);
    assert!(unpinned.status.success(), "{unpinned:?}");
    pair.serve("v2").await;
    let alone = pair.program.cli(&["rollback", "group-back", "--only"]);
    assert!(alone.status.success(), "{alone:?}");
    pair.program.wait_for_version("v1").await;
    assert_eq!(pair.version(pair.port).await.as_deref(), Some("v2"));
}

/// Waits until the group's deployments have ended so, the newest first.
async fn results(program: &Program, group: &str, wanted: &[&str]) {
    program
        .wait(Duration::from_secs(30), &format!("the deployments of {group} are {wanted:?}"), || async {
            let history = program.get(&format!("/groups/{group}/deployments")).await?;
            let found: Vec<&str> = history.as_array()?.iter().filter_map(|entry| entry["result"].as_str()).collect();
            (found == wanted).then_some(())
        })
        .await;
}

/// A web and its workers from a few lines, none of which anything reaches.
#[tokio::test(flavor = "multi_thread")]
async fn processes_of_an_app_are_apps_of_its_group_and_move_with_it() {
    let app = "group-proc";
    let more = "health: {http: /healthz}\n    processes: {jobs: {command: [work]}, mail: {command: [mail], env: {ROLE: mail}}}";
    let mut program = Program::prepared(Setup { more, swap: SWAP, ..Setup::new(app) }).await;
    ["group-proc-jobs", "group-proc-mail"].iter().for_each(|name| program.docker().remove_all(name));
    Image::sample("v1").push(&program.registry, app, "latest").await;
    program.start();
    let load = Load::start(program.port, &["--rps", "50", "--patience", "20"]);
    let at = |wanted: &'static str| {
        let program = &program;
        async move {
            for name in [app, "group-proc-jobs", "group-proc-mail"] {
                program
                    .wait(Duration::from_secs(60), &format!("{name} is at {wanted}"), || async {
                        let status = program.get(&format!("/apps/{name}")).await?;
                        let container = status["deployed"]["container"].as_str()?.to_owned();
                        let there = version_of(program, &container)? == wanted;
                        (there && status["state"] == "up_to_date").then_some(())
                    })
                    .await;
            }
        }
    };
    at("v1").await;
    Image::sample("v2").push(&program.registry, app, "latest").await;
    at("v2").await;
    results(&program, app, &["succeeded"]).await;
    Image::sample("v3").env("EXIT_AT_START", "3").push(&program.registry, app, "latest").await;
    program.state_is("held").await;
    results(&program, app, &["failed", "succeeded"]).await;
    program.kill("agent");
    Image::sample("v4").push(&program.registry, app, "latest").await;
    at("v4").await;
    load.finish();
    let since = ["group-proc", "group-proc-jobs", "group-proc-mail"].map(|name| {
        let states = program.docker().states(name);
        assert_eq!(states.iter().filter(|state| state.ends_with(" running")).count(), 1, "{states:?}");
        name
    });
    let mut moments = Vec::new();
    for name in since {
        moments.push(program.get(&format!("/apps/{name}")).await.unwrap()["deployed"]["since"].clone());
    }
    moments.dedup();
    assert_eq!(moments.len(), 1, "they were switched in one generation of the table: {moments:?}");
    program.signal(rustix::process::Signal::TERM);
    ["group-proc-jobs", "group-proc-mail"].iter().for_each(|name| program.docker().remove_all(name));
}

/// Good and bad pairs are pushed and the agent is killed at any moment: nobody ever sees two worlds. `TAGBOAT_SEED` replays.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_never_split_whenever_the_agent_is_killed() {
    let seed = std::env::var("TAGBOAT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("TAGBOAT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (app, api) = ("group-chaos", "group-chaos-api");
    let pair = Pair::serving(app, api, Images::Apart, false).await;
    let loads = [pair.program.port, pair.port].map(|port| Load::start(port, &["--rps", "50"]));
    let witness = Witness::start([pair.program.port, pair.port]);
    let mut version = 1;
    for _ in 0..4 {
        version += 1;
        let sample = Image::sample(&format!("v{version}"));
        let bad = sample.clone().env("EXIT_AT_START", "3");
        let (first, second) = match random.random_range(0..3) {
            0 => (bad, sample),
            1 => (sample, bad),
            _ => (sample.clone(), sample),
        };
        pair.push(app, first).await;
        pair.push(api, second).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..9000))).await;
        pair.program.kill("agent");
        tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
        version += 1;
        for name in [app, api] {
            pair.push(name, Image::sample(&format!("v{version}"))).await;
        }
        pair.serve(&format!("v{version}")).await;
        let (mut running, mut since) = (pair.running(), Vec::new());
        for name in [app, api] {
            since.push(pair.status(name).await.unwrap()["deployed"]["since"].clone());
        }
        running.dedup();
        assert_eq!((running.len(), &since[0]), (2, &since[1]), "{running:?}");
    }
    witness.saw_one_world().await;
    for load in loads {
        load.finish().assert_clean(50);
    }
}

/// Two of it can't run, so that it goes after the switch: when it fails then, the others go back.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_can_only_be_recreated_goes_last_and_takes_the_others_back_when_it_fails() {
    let (app, turn) = ("group-turn", "group-turn-port");
    let more = "health: {http: /healthz}\n    group: group-turn-group";
    let mut program = Program::prepared(Setup { more, swap: SWAP, ..Setup::new(app) }).await;
    program.docker().remove_all(turn);
    Image::sample("v1").push(&program.registry, app, "latest").await;
    Image::sample("v1").push(&program.registry, turn, "latest").await;
    let (image, publish) = (format!("{}/{turn}:latest", program.registry.host()), format!("{}:8080", free_port()));
    let labels = ["tagboat.enable=true", "tagboat.scope=group-turn", "tagboat.group=group-turn-group"];
    let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
    let run = ["run", "-d", "--name", turn, "--restart", "always", "-p", &publish];
    program.docker().must(&[run.as_slice(), labels.as_slice(), &[&image]].concat());
    program.start();
    let at = |version: &'static str, hold: &'static str| {
        let program = &program;
        async move {
            program
                .wait(Duration::from_secs(60), &format!("both are at {version}, held: {hold:?}"), || async {
                    let held = program.status().await?["hold"]["hold"].as_str().unwrap_or_default() == hold;
                    let web = program.version().await? == version;
                    (held && web && version_of(program, turn)? == version).then_some(())
                })
                .await;
        }
    };
    at("v1", "").await;
    let load = Load::start(program.port, &["--rps", "50"]);
    Image::sample("v2").env("EXIT_AT_START", "3").push(&program.registry, turn, "latest").await;
    Image::sample("v2").push(&program.registry, app, "latest").await;
    results(&program, "group-turn-group", &["rolled_back"]).await;
    at("v1", "group").await;
    Image::sample("v3").push(&program.registry, turn, "latest").await;
    Image::sample("v3").push(&program.registry, app, "latest").await;
    at("v3", "").await;
    results(&program, "group-turn-group", &["succeeded", "rolled_back"]).await;
    load.finish().assert_clean(50);
    program.signal(rustix::process::Signal::TERM);
    program.docker().remove_all(turn);
}
