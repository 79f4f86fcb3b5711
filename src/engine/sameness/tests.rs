use std::sync::Arc;

use super::*;
use crate::engine::simulated::{Running, World, index};
use crate::model::{AppState, Failure, FailureReason, Hold, Pin, Stage};
use tokio::time::Duration;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// What a tag that moves from one index to the next leads to: a pull of this, or a hold.
#[tokio::test(start_paused = true)]
async fn only_another_image_for_this_host_is_a_new_version() {
    let old = index("old", &[("amd64", "image"), ("arm64", "arm image")]);
    for (label, redeploy_on, new, pulled, state) in [
        ("attestations", RedeployOn::Platform, index("new", &[("amd64", "image")]), false, AppState::UpToDate),
        (
            "another host's image",
            RedeployOn::Platform,
            index("new", &[("amd64", "image"), ("arm64", "x")]),
            false,
            AppState::UpToDate,
        ),
        ("an image for this host", RedeployOn::Platform, index("new", &[("amd64", "other")]), true, AppState::Held),
        ("the index, which is asked for", RedeployOn::Index, index("new", &[("amd64", "image")]), true, AppState::Held),
        ("this host is not there yet", RedeployOn::Platform, index("new", &[("arm64", "x")]), false, AppState::Held),
        ("nor with the index", RedeployOn::Index, index("new", &[("arm64", "x")]), false, AppState::Held),
        ("nothing that runs", RedeployOn::Platform, index("new", &[]), false, AppState::Held),
    ] {
        let world = Arc::new(World::default());
        let app = App { redeploy_on, ..world.app("shop", "registry.test/acme/shop", "old") };
        world.push(&app, &old);
        let running = Running::start(&world, world.clone(), vec![app.clone()]);
        running.until(label, |all| all[0].state == AppState::UpToDate).await;
        assert!(world.reads.lock().unwrap().is_empty(), "{label}: what runs needs no reading");
        world.push(&app, &new);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let status = running.handle.status("shop").unwrap();
        assert_eq!(!world.pulls.lock().unwrap().is_empty(), pulled, "{label}: {status:#?}");
        assert_eq!(status.state, state, "{label}: {status:#?}");
        let not_ready = matches!(status.hold, Some(Hold::NotReady { .. }));
        assert_eq!(
            not_ready,
            new.platforms.iter().all(|(p, _)| p.as_ref().unwrap().architecture != "amd64"),
            "{label}"
        );
        if state == AppState::UpToDate {
            assert_eq!(status.newest, Some(digest("old")), "{label}: nothing is newer than what runs");
            let reads = world.reads.lock().unwrap().clone();
            assert_eq!(reads, [digest("new"), digest("old")], "{label}: each is read once, and remembered");
        }
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_not_ready_is_deployed_when_it_is() {
    let world = Arc::new(World::default());
    let schedule = crate::model::Schedule::Every(Duration::from_secs(24 * 3600));
    let app = App { schedule, ..world.app("shop", "registry.test/acme/shop", "old") };
    world.push(&app, &index("new", &[("arm64", "x")]));
    let running = Running::start(&world, world.clone(), vec![app.clone()]);
    let all = running.until("it is held", |all| matches!(all[0].hold, Some(Hold::NotReady { .. }))).await;
    let Some(Hold::NotReady { message }) = &all[0].hold else { panic!() };
    assert!(message.contains("has linux/arm64 and nothing for linux/x86_64"), "{message}");
    world.push(&app, &index("newer", &[("arm64", "x"), ("amd64", "y")]));
    tokio::time::sleep(Duration::from_secs(180)).await;
    let pulls = world.pulls.lock().unwrap().clone();
    assert!(pulls.iter().all(|pull| pull.ends_with(digest("newer").as_str())) && !pulls.is_empty(), "{pulls:?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_under_another_index_is_not_tried_again() {
    let world = Arc::new(World::default());
    let app = world.app("shop", "registry.test/acme/shop", "old");
    let failure = Failure {
        stage: Stage::Gate,
        reason: FailureReason::Exited,
        message: "exited with code 3".to_owned(),
        log_tail: Vec::new(),
    };
    world.push(&app, &index("old", &[("amd64", "image")]));
    world.push(&app, &index("bad", &[("amd64", "bad image")]));
    let ports = world.ports(world.clone());
    // It was read when it was tried.
    assert_eq!(meaning(&app, &ports, &digest("bad"), Some(&digest("old")), &[], &[]).await, Meaning::Itself);
    let failed = Quarantine { digest: digest("bad"), at: chrono::Utc::now(), failure, spec: None, swap: None };
    world.quarantined.lock().unwrap().insert(app.name.clone(), vec![failed.clone()]);
    world.push(&app, &index("bad again", &[("amd64", "bad image")]));
    let again = meaning(&app, &ports, &digest("bad again"), Some(&digest("old")), &[], &[failed]).await;
    assert_eq!(again, Meaning::SameAs(digest("bad")));
    let running = Running::start(&world, world.clone(), vec![app]);
    running.until("it is held", |all| matches!(all[0].hold, Some(Hold::Quarantined { .. }))).await;
    assert!(world.pulls.lock().unwrap().is_empty());
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pin_outlives_a_move_of_the_index_alone() {
    let world = Arc::new(World::default());
    let app = world.app("shop", "registry.test/acme/shop", "old");
    for (tag, image) in [("bad", "bad image"), ("bad, attested anew", "bad image"), ("good", "good image")] {
        world.push(&app, &index(tag, &[("amd64", image)]));
    }
    let (was, at) = (Some(digest("bad")), chrono::Utc::now());
    let pin = Pin { digest: digest("old"), tag_was: was, reason: "rollback".to_owned(), at, with: None };
    world.pins.lock().unwrap().insert(app.name.clone(), pin);
    world.push(&app, &index("bad, attested anew", &[("amd64", "bad image")]));
    let running = Running::start(&world, world.clone(), vec![app.clone()]);
    running.until("it is pinned", |all| matches!(all[0].hold, Some(Hold::Pinned { .. }))).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.pins.lock().unwrap().len(), 1);
    world.push(&app, &index("good", &[("amd64", "good image")]));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(world.pins.lock().unwrap().is_empty() && !world.pulls.lock().unwrap().is_empty());
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_unknown_and_not_deployed() {
    let world = Arc::new(World::default());
    let app = world.app("shop", "registry.test/acme/shop", "old");
    let new = index("new", &[("amd64", "other")]);
    world.push(&app, &new);
    world.manifests.lock().unwrap().clear();
    let running = Running::start(&world, world.clone(), vec![app.clone()]);
    running.until("it is unknown", |all| all[0].state == AppState::Unknown).await;
    assert!(world.pulls.lock().unwrap().is_empty());
    world.push(&app, &new);
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert!(
        !world.pulls.lock().unwrap().is_empty(),
        "what served can't be read any more, and that is another image then"
    );
    running.end().await;
}
