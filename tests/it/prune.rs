//! What tagboat brought is removed when nobody needs it, and nothing else.

use serde_json::Value;

use crate::support::{Image, Program, Setup};

/// What `tagboat prune` says, by names.
fn pruned(program: &Program, args: &[&str]) -> (Value, Vec<String>) {
    let output = program.cli(&[&["prune", "--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |leftover: &Value| leftover["reference"].as_str().unwrap().to_owned();
    let names = report["removed"].as_array().unwrap().iter().map(name).collect();
    (report, names)
}

/// The app's images: the engine is shared, and other tests pull meanwhile.
fn images(program: &Program) -> String {
    let all =
        program.docker().must(&["images", "--all", "--digests", "--format", "{{.Repository}}:{{.Tag}}@{{.Digest}}"]);
    let mut own: Vec<&str> = all.lines().filter(|line| line.contains("/prune:")).collect();
    own.sort_unstable();
    own.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_is_removed_and_a_rollback_still_finds_its_image() {
    let program = Program::serving(Setup { more: "keep: 3", ..Setup::new("prune") }).await;
    for version in ["v2", "v3"] {
        Image::sample(version).push(&program.registry, "prune", "latest").await;
        program.wait_for_version(version).await;
        program.settled().await;
    }
    let bad = Image::sample("v4").env("EXIT_AT_START", "7").push(&program.registry, "prune", "latest").await;
    program.state_is("held").await;
    assert_eq!(program.docker().states("prune").len(), 2, "{:?}", program.docker().states("prune"));
    let before = images(&program);
    assert!(before.contains(bad.as_str()), "{before}");

    let (_, would) = pruned(&program, &["--dry-run"]);
    let failed = would.iter().filter(|name| name.contains(".failed-")).count();
    assert!(failed == 1 && would.iter().any(|name| name.ends_with(bad.as_str())) && would.len() == 2, "{would:?}");
    assert_eq!(images(&program), before);

    let (report, did) = pruned(&program, &[]);
    assert_eq!(did, would, "{report:#}");
    let after = images(&program);
    assert!(!after.contains(bad.as_str()), "{after}");
    assert_eq!(program.docker().states("prune").len(), 1);
    assert_eq!(pruned(&program, &[]).1, Vec::<String>::new());

    // The verdict and the history have outlived the container.
    assert_eq!(program.status().await.unwrap()["quarantined"][0]["digest"], bad.as_str());
    let back = program.cli(&["rollback", "prune"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    program.wait_for_version("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_no_longer_declared_loses_its_leftovers_once_it_has_been_stopped() {
    let program = Program::serving(Setup::new("prune-gone")).await;
    // Another app, so that the file still declares one.
    let text = std::fs::read_to_string(program.file()).unwrap();
    let kept = text.replace("prune-gone:", "prune-other:");
    std::fs::write(program.file(), kept).unwrap();
    program.signal(rustix::process::Signal::HUP);
    let gone = || async { program.get("/apps/prune-gone").await?["title"].as_str().map(drop) };
    program.wait(std::time::Duration::from_secs(30), "it is no longer watched", gone).await;
    assert_eq!(pruned(&program, &[]).1, Vec::<String>::new());
    assert!(program.docker().states("prune-gone")[0].ends_with(" running"));

    program.docker().must(&["stop", "-t", "0", "prune-gone.1"]);
    let (report, names) = pruned(&program, &[]);
    assert_eq!(names[0], "prune-gone.1", "{report:#}");
    assert!(names.iter().any(|name| name == "tagboat.local/prune-gone:gen-1"), "{names:?}");
    assert!(program.docker().states("prune-gone").is_empty());
    program.docker().remove_all("prune-other");
}
