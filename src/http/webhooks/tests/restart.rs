//! What was answered and not yet looked at survives a restart.

use std::sync::Arc;

use serde_json::{Value, json};

use super::door::{DEADLINE, Door};
use super::*;
use crate::http::testing::{World, at as moment, status};
use crate::model::{AppStatus, CheckResult, Event, EventKind, Time};
use tokio::time::{Duration, timeout};

const IMAGE: &str = "ghcr.io/acme/shop";
const AUTH: (&str, &str) = ("authorization", SECRET);

fn body() -> Vec<u8> {
    json!({"image": format!("{IMAGE}:latest"), "digest": digest('c')}).to_string().into_bytes()
}

fn noted(world: &World) -> usize {
    let note = world.notes.lock().unwrap().get("webhooks.pending").cloned().unwrap_or_default();
    let note: Value = serde_json::from_slice(&note).unwrap_or_default();
    note["pushes"].as_array().map_or(0, Vec::len)
}

async fn noted_becomes(world: &World, wanted: usize) {
    let reached = async {
        while noted(world) != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("{} noted, not {wanted}", noted(world)));
}

fn checked(at: Time, result: &str, found: char) -> Event {
    let kind = EventKind::Checked { result: result.into(), digest: Some(digest(found)), message: None };
    Event { at, app: "shop".parse().unwrap(), kind }
}

#[tokio::test]
async fn a_push_that_was_answered_and_not_looked_at_is_looked_at_after_a_restart() {
    let world = Arc::new(World::default());
    let mut door = Door::with(receiver(Sender::Generic), IMAGE, &world, false).await;
    assert_eq!(door.post("/hooks/ci", &[AUTH], &body()).await.status, 202);
    assert_eq!(noted(&world), 1, "it is written down before the answer");
    drop(door);
    let door = Door::with(receiver(Sender::Generic), IMAGE, &world, true).await;
    door.activated().await;
    assert_eq!(noted(&world), 1, "and kept until the look was had");
    door.engine.emit(checked(chrono::Utc::now(), "changed", 'c'));
    noted_becomes(&world, 0).await;
}

#[tokio::test]
async fn a_look_that_finds_something_else_does_not_count_until_the_registry_can_be_no_longer_behind() {
    let world = Arc::new(World::default());
    let mut door = Door::new(receiver(Sender::Generic), IMAGE).await;
    door.world = Arc::clone(&world);
    let mut door = Door::with(receiver(Sender::Generic), IMAGE, &world, true).await;
    door.post("/hooks/ci", &[AUTH], &body()).await;
    door.activated().await;
    let now = chrono::Utc::now();
    for event in [checked(moment(0), "changed", 'c'), checked(now, "unchanged", 'a'), checked(now, "changed", 'b')] {
        door.engine.emit(event);
    }
    // The events are handled in order: this one of an app that nobody knows is behind them.
    door.post("/hooks/ci", &[AUTH], br#"{"image": "ghcr.io/acme/shop:latest"}"#).await;
    noted_becomes(&world, 1).await;
    door.engine.emit(checked(chrono::Utc::now() + chrono::TimeDelta::seconds(20), "unchanged", 'a'));
    noted_becomes(&world, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_missed_event_or_an_app_that_is_gone_keeps_nothing_for_ever() {
    let now = chrono::Utc::now();
    let push = |image: &str, received: Time| json!({"repository": image, "tag": "latest", "digest": null, "received": received});
    let pushes = json!([
        push(IMAGE, now),
        push("ghcr.io/acme/gone", now),
        push("ghcr.io/acme/old", now - chrono::TimeDelta::days(2)),
    ]);
    let pending = super::super::pending::Pending::new(crate::http::testing::store(&Arc::new(World::default())));
    assert!(pending.is_empty() && pending.recall(now).is_empty());
    let world = Arc::new(World::default());
    let note = json!({"version": 1, "pushes": pushes}).to_string().into_bytes();
    world.notes.lock().unwrap().insert("webhooks.pending".into(), note);
    let pending = super::super::pending::Pending::new(crate::http::testing::store(&world));
    assert_eq!(shown(&pending.recall(now)), ["ghcr.io/acme/shop:latest", "ghcr.io/acme/gone:latest"]);
    let shop = app_looked(now + chrono::TimeDelta::seconds(3));
    let over = |hint: &Hint, since: Time| {
        hint.repository.path().ends_with("gone") || shop.last_check.is_some_and(|(at, _)| at >= since)
    };
    assert!(!pending.sweep(now + chrono::TimeDelta::seconds(5), over), "not before the registry has caught up");
    assert!(pending.sweep(now + chrono::TimeDelta::seconds(16), over));
    assert!(pending.is_empty());
}

fn app_looked(at: Time) -> AppStatus {
    AppStatus { last_check: Some((at, CheckResult::Unchanged)), ..status("shop") }
}

#[test]
fn rubbish_in_the_note_is_as_good_as_none() {
    for note in [
        &b""[..],
        b"{",
        b"[]",
        br#"{"version": 99, "pushes": []}"#,
        br#"{"version": 1, "pushes": [{"repository": "a b"}]}"#,
    ] {
        let world = Arc::new(World::default());
        world.notes.lock().unwrap().insert("webhooks.pending".into(), note.to_vec());
        let pending = super::super::pending::Pending::new(crate::http::testing::store(&world));
        assert!(pending.recall(chrono::Utc::now()).is_empty());
    }
}
