//! The main job: a push is served without a dropped request.

use std::time::Duration;

use crate::support::{Image, Load, Program, Setup};

/// Pushes versions one after the other, each awaited until it answers and the old one is gone.
async fn swaps(program: &Program, count: u32) {
    for number in 2..count + 2 {
        let version = format!("v{number}");
        Image::sample(&version).push(&program.registry, program.setup.app, "latest").await;
        program.wait_for_version(&version).await;
        program.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_pushes_by_webhook_drop_no_request() {
    let program = Program::serving(Setup::new("swap-hook")).await;
    let kept = Load::start(program.port, &["--rps", "500"]);
    let fresh = Load::start(program.port, &["--rps", "500", "--mode", "close"]);
    let mix = ["--rps", "20", "--slow", "0.3", "--events", "0.1", "--ws", "0.1", "--upload", "0.3"];
    let mixed = Load::start(program.port, &mix);
    swaps(&program, 30).await;
    for (load, least) in [(kept, 5_000), (fresh, 5_000), (mixed, 200)] {
        load.finish().assert_clean(least);
    }
    let metrics = program.metrics().await;
    for line in [
        "tagboat_swaps_total{app=\"swap-hook\",result=\"succeeded\",strategy=\"proxy\"} 31",
        "tagboat_update_available{app=\"swap-hook\"} 0",
        "tagboat_app_state{app=\"swap-hook\",state=\"up_to_date\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_noticed_by_polling_as_well() {
    let setup = Setup { every: "1s", ..Setup::new("swap-poll") };
    let program = Program::serving(setup).await;
    // Without its receiver the registry's announcements lead nowhere.
    program.write_config("");
    let load = Load::start(program.port, &["--rps", "500"]);
    swaps(&program, 5).await;
    load.finish().assert_clean(1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_while_tagboat_was_down_is_deployed_at_its_start() {
    let mut program = Program::serving(Setup { every: "2s", ..Setup::new("swap-down") }).await;
    program.signal(rustix::process::Signal::TERM);
    program
        .wait(Duration::from_secs(20), "tagboat ends", || async { program.version().await.is_none().then_some(()) })
        .await;
    Image::sample("v2").push(&program.registry, program.setup.app, "latest").await;
    program
        .wait(Duration::from_secs(20), "its processes are gone", || async {
            program.child("proxy").is_none().then_some(())
        })
        .await;
    program.start();
    program.wait_for_version("v2").await;
    program.settled().await;
}
