//! Changing the configuration and the program under load.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Image, Load, Program, Setup, client, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_app_on_a_new_listener_costs_no_request_of_the_old_one() {
    let program = Program::serving(Setup::new("reload")).await;
    Image::sample("w1").push(&program.registry, "reload-second", "latest").await;
    let kept = Load::start(program.port, &["--rps", "300"]);
    let fresh = Load::start(program.port, &["--rps", "200", "--mode", "close", "--slow", "0.1"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let port = free_port();
    let registry = program.registry.host();
    program.write_config(&format!(
        "  reload-second: {{image: '{registry}/reload-second', listen: '127.0.0.1:{port}', health: {{http: /healthz}}}}\n"
    ));
    program.signal(Signal::HUP);
    program
        .wait(Duration::from_secs(60), "the new app answers", || async {
            let answer = client().get(format!("http://127.0.0.1:{port}/id?x=1")).send().await.ok()?;
            answer.text().await.ok().filter(|text| text.contains("w1"))
        })
        .await;
    // And the old one can still be swapped, whichever proxy its connections are on.
    Image::sample("v2").push(&program.registry, "reload", "latest").await;
    program.wait_for_version("v2").await;
    kept.finish().assert_clean(500);
    fresh.finish().assert_clean(300);
    program.docker().remove_all("reload-second");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_is_refused_and_the_old_one_stays() {
    let program = Program::serving(Setup::new("reload-bad")).await;
    program.write_config("  oops: {imgae: x}\n");
    program.signal(Signal::HUP);
    program
        .wait(Duration::from_secs(10), "the refusal is told", || async {
            program.log().contains("did you mean `image`?").then_some(())
        })
        .await;
    Image::sample("v2").push(&program.registry, "reload-bad", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
}
