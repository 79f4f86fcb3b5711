//! Bad new versions: the old one serves on, and the reason is told.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Image, Load, Program, Setup};

/// Pushes a bad version under load and returns the failure, as the status then shows it.
async fn refused(program: &Program, image: Image) -> Value {
    let load = Load::start(program.port, &["--rps", "200"]);
    let digest = image.push(&program.registry, program.setup.app, "latest").await;
    let status = program
        .wait(Duration::from_secs(60), "the digest is held back", || async {
            let status = program.status().await?;
            let quarantined = status["quarantined"].as_array()?.iter().any(|q| q["digest"] == digest.as_str());
            (status["state"] == "held" && quarantined).then_some(status)
        })
        .await;
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    load.finish().assert_clean(50);
    let running = program.docker().states(program.setup.app);
    assert_eq!(running.iter().filter(|state| state.ends_with(" running")).count(), 1, "{running:?}");
    status["hold"].clone()
}

macro_rules! broken {
    ($name:ident, $app:literal, $image:expr, $reason:literal) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let program = Program::serving(Setup::new($app)).await;
            let hold = refused(&program, $image).await;
            assert_eq!(hold["failure"]["reason"], $reason, "{hold:#}");
            // The next good version is deployed as if nothing had been.
            Image::sample("v3").push(&program.registry, program.setup.app, "latest").await;
            program.wait_for_version("v3").await;
            program.settled().await;
        }
    };
}

broken!(a_version_that_exits_at_start, "broken-exit", Image::sample("v2").env("EXIT_AT_START", "7"), "exited");
broken!(
    a_version_that_is_never_healthy,
    "broken-sick",
    Image::sample("v2").env("NEVER_HEALTHY", "1").healthcheck(),
    "unhealthy"
);
broken!(a_version_without_its_command, "broken-cmd", Image::sample("v2").entrypoint("/nope"), "cannot_start");

/// It is no broken version: the one for this host may yet come, as the architectures of an image do one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_for_another_platform() {
    let program = Program::serving(Setup::new("broken-arch")).await;
    let load = Load::start(program.port, &["--rps", "200"]);
    Image::sample("v2").architecture("s390x").push(&program.registry, "broken-arch", "latest").await;
    let status = program
        .wait(Duration::from_secs(60), "the tag is not ready", || async {
            program.status().await.filter(|status| status["hold"]["hold"] == "not_ready")
        })
        .await;
    assert!(status["hold"]["message"].as_str().unwrap().contains("linux/s390x"), "{status:#}");
    assert_eq!((&status["state"], &status["quarantined"]), (&"held".into(), &serde_json::json!([])), "{status:#}");
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    assert_eq!(program.docker().states("broken-arch"), ["broken-arch.1 running"]);
    Image::sample("v3").push(&program.registry, "broken-arch", "latest").await;
    program.wait_for_version("v3").await;
    program.settled().await;
    load.finish().assert_clean(50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_dies_is_unknown_and_not_up_to_date() {
    let setup = Setup { every: "1s", ..Setup::new("broken-registry") };
    let mut program = Program::serving(setup).await;
    program.registry.stop();
    program.state_is("unknown").await;
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    program.registry.resume().await;
    program.state_is("up_to_date").await;
}

/// A bake that is long enough for the crash to fall into it on a slow machine.
fn long_bake(app: &'static str) -> Setup {
    let swap =
        "probe_interval: 50ms, min_healthy: 100ms, healthy_deadline: 8s, bake: 10s, drain: 5s, drain_streams: 5s";
    Setup { swap, ..Setup::new(app) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_crashes_in_the_bake_is_switched_back() {
    let program = Program::serving(long_bake("broken-bake")).await;
    let digest =
        Image::sample("v2").env("CRASH_AFTER_MS", "4000").push(&program.registry, "broken-bake", "latest").await;
    program.wait_for_version("v2").await;
    program.wait_for_version("v1").await;
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    assert_eq!(status["hold"]["failure"]["reason"], "failed_in_bake", "{status:#}");
    assert_eq!(status["quarantined"][0]["digest"], digest.as_str());
    let states = program.docker().states("broken-bake");
    assert_eq!(states, ["broken-bake.1 running", "broken-bake.failed-2 exited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_answers_errors_in_the_bake_is_switched_back() {
    let program = Program::serving(long_bake("broken-errors")).await;
    let load = Load::start(program.port, &["--rps", "50"]);
    Image::sample("v2").env("ERRORS_AFTER_MS", "3000").push(&program.registry, "broken-errors", "latest").await;
    program.wait_for_version("v2").await;
    program.state_is("held").await;
    program.wait_for_version("v1").await;
    let status = program.status().await.unwrap();
    let message = status["hold"]["failure"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("requests failed"), "{status:#}");
    let report = load.finish();
    assert!(report.failed() > 0 && report.failed() < report.sent() / 2, "{:#}", report.0);
}

/// The app's hold, once it is that an attempt is repeated later.
async fn backing_off(program: &Program, reason: &str) -> Value {
    let hold = program
        .wait(Duration::from_secs(60), "the attempt is repeated later", || async {
            let status = program.status().await?;
            (status["hold"]["hold"] == "backing_off").then(|| status["hold"].clone())
        })
        .await;
    assert_eq!(hold["failure"]["reason"], reason, "{hold:#}");
    let status = program.status().await.unwrap();
    assert_eq!(status["quarantined"].as_array().unwrap().len(), 0, "the image is not at fault");
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    hold
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_lost_between_check_and_pull_is_tried_again_later() {
    let program = Program::serving(Setup::new("broken-lost")).await;
    let load = Load::start(program.port, &["--rps", "100"]);
    let agent = program.child("agent").unwrap();
    crate::support::signal_pid(agent, rustix::process::Signal::STOP);
    let image = Image::sample("v2").note("unlike v1");
    image.push(&program.registry, "broken-lost", "latest").await;
    program.registry.lose(&image.layer());
    crate::support::signal_pid(agent, rustix::process::Signal::CONT);
    // The announcement may have been made while nobody listened.
    program.cli(&["check", "broken-lost"]);
    backing_off(&program, "pull").await;
    load.finish().assert_clean(10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_dies_in_the_middle_of_a_pull_is_nobodys_quarantine() {
    let program = Program::serving(Setup { relayed: true, ..Setup::new("broken-pull") }).await;
    let load = Load::start(program.port, &["--rps", "100"]);
    program.registry.relay().slow(1 << 20);
    Image::sample("v2").note(&"heavy".repeat(1 << 20)).push(&program.registry, "broken-pull", "latest").await;
    program
        .wait(Duration::from_secs(30), "the swap is in the pull", || async {
            program.status().await.filter(|status| status["deploying"][1] == "pull")
        })
        .await;
    program.registry.relay().cut(true);
    backing_off(&program, "pull").await;
    program.registry.relay().cut(false);
    program.registry.relay().slow(0);
    // It comes back to it by itself.
    program.wait_for_version("v2").await;
    program.settled().await;
    load.finish().assert_clean(100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_the_old_version_and_is_nobodys_quarantine() {
    let mut program = Program::prepared(Setup::new("broken-disk")).await;
    let disk = Tmpfs::mount(&program.state());
    Image::sample("v1").push(&program.registry, "broken-disk", "latest").await;
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;
    disk.fill();
    let load = Load::start(program.port, &["--rps", "100"]);
    Image::sample("v2").push(&program.registry, "broken-disk", "latest").await;
    backing_off(&program, "traffic").await;
    disk.free();
    program.cli(&["deploy", "broken-disk"]);
    program.wait_for_version("v2").await;
    load.finish().assert_clean(10);
    drop(program);
    drop(disk);
}

/// A small disk of its own.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(at: &std::path::Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=8m", "tmpfs"];
        let status = std::process::Command::new("mount").args(mount).arg(at).status().unwrap();
        assert!(status.success(), "only root can mount");
        Self(at.to_owned())
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0; 1]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
