//! Tag policies on a real registry: what is pushed is deployed when it is the best, and not when it is not.

use std::time::Duration;

use crate::support::{Image, Program, Setup};

/// An app that follows versions, and that only webhooks make look.
fn following(app: &'static str, more: &'static str) -> Setup {
    Setup { more, ..Setup::new(app) }
}

async fn push(program: &Program, version: &str) {
    Image::sample(version).push(&program.registry, program.setup.app, version).await;
}

/// What `tagboat tags` says of a tag, as `tag verdict why`.
fn verdict(program: &Program, tag: &str) -> Option<String> {
    let output = program.cli(&["tags", program.setup.app]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(tag))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Waits until the app has looked again after a push that it does not follow.
async fn looked(program: &Program, before: &str) {
    program
        .wait(Duration::from_secs(20), "the webhook made the app look", || async {
            let status = program.status().await?;
            (status["last_check"][0] != before && status["deploying"].is_null()).then_some(())
        })
        .await;
}

async fn last_check(program: &Program) -> String {
    program.status().await.unwrap()["last_check"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_of_a_range_is_deployed_and_nothing_else_is() {
    let setup = following("policy-semver", "health: {http: /healthz}\n    follow: {semver: ^1}");
    let mut program = Program::prepared(setup).await;
    push(&program, "1.0.0").await;
    program.start();
    program.wait_for_version("1.0.0").await;
    program.settled().await;
    push(&program, "1.1.0").await;
    program.wait_for_version("1.1.0").await;
    program.settled().await;
    let status = program.status().await.unwrap();
    assert_eq!((&status["tag"], &status["follows"]), (&"1.1.0".into(), &"semver ^1".into()), "{status:#}");
    assert!(status["image"].as_str().unwrap().ends_with("/policy-semver:1.1.0"), "{status:#}");
    for (version, why) in [
        ("2.0.0", "2.0.0 out of range outside ^1"),
        ("1.0.5", "1.0.5 older below 1.1.0"),
        ("1.2.0-rc.1", "1.2.0-rc.1 prerelease a pre-release; `prerelease` is none"),
    ] {
        let before = last_check(&program).await;
        push(&program, version).await;
        looked(&program, &before).await;
        assert_eq!(verdict(&program, version).as_deref(), Some(why));
    }
    program.settled().await;
    assert_eq!(program.version().await.as_deref(), Some("1.1.0"));
    assert_eq!(verdict(&program, "1.1.0").as_deref(), Some("1.1.0 winner the best by semver ^1"));
    let metrics = program.metrics().await;
    let swaps = "tagboat_swaps_total{app=\"policy-semver\",result=\"succeeded\",strategy=\"proxy\"} 2";
    assert!(metrics.contains(swaps), "{metrics}");
    // The tag that won may itself be pushed again.
    Image::sample("1.1.0-again").push(&program.registry, "policy-semver", "1.1.0").await;
    program.wait_for_version("1.1.0-again").await;
    program.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_match_the_nearest_are_named_until_there_is_one() {
    let setup = following("policy-none", "health: {http: /healthz}\n    follow: {semver: ^3}");
    let mut program = Program::prepared(setup).await;
    push(&program, "2.9.0").await;
    program.start();
    let hold = program
        .wait(Duration::from_secs(30), "the app says that nothing matches", || async {
            let status = program.status().await?;
            (status["hold"]["hold"] == "nothing_matches").then(|| status["hold"].clone())
        })
        .await;
    let message = hold["message"].as_str().unwrap();
    assert!(message.contains("semver ^3") && message.contains("2.9.0 (outside ^3)"), "{message}");
    program.state_is("down").await;
    push(&program, "3.0.0").await;
    program.wait_for_version("3.0.0").await;
    program.settled().await;
    // A registry that is gone is unknown, and what serves goes on.
    program.registry.stop();
    program.cli(&["check", "policy-none"]);
    program.state_is("unknown").await;
    assert_eq!(program.version().await.as_deref(), Some("3.0.0"));
}
