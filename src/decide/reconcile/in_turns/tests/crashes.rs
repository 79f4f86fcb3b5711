//! Killed anywhere.

use super::*;

/// Killed before each side effect, and then once more before each of what follows.
fn killed_anywhere(bad: u8, policy: RestartPolicy, forget: bool) {
    let mut cut = (0, 0);
    let mut tried = 0;
    loop {
        let mut world = World::serving();
        world.app.container.restart = policy;
        world.containers.get_mut("id-1").unwrap().restart_policy = policy.label().to_owned();
        world.wanted.digest = Some(digest(2));
        world.left = cut.0;
        let first = world.settle(bad);
        if forget {
            world.quarantine.clear();
        }
        world.left = cut.1;
        let second = world.settle(bad);
        if forget && first.is_err() {
            world.quarantine.clear();
        }
        world.left = usize::MAX;
        world.settle(bad).ok().unwrap();
        let serving = world.entry.as_ref().unwrap().active[0].container.clone();
        let version = if bad == 2 { 1 } else { 2 };
        let left: Vec<&Container> = world.containers.values().filter(|c| !is_failed(c)).collect();
        assert_eq!(left.len(), 1, "{cut:?}: {left:#?}");
        assert_eq!((&left[0].id, &left[0].owned.digest), (&serving, &digest(version)), "{cut:?}");
        assert!(left[0].is_running() && left[0].restart_policy == policy.label(), "{cut:?}: {left:#?}");
        let over = world.decide();
        assert!(matches!(over, Decision::UpToDate | Decision::Hold(Hold::Quarantined { .. })), "{cut:?}: {over:?}");
        tried += 1;
        cut = match (first, second) {
            (Ok(()), _) => break,
            (Err(Killed), Ok(())) => (cut.0 + 1, 0),
            (Err(Killed), Err(Killed)) => (cut.0, cut.1 + 1),
        };
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn killed_before_any_side_effect_and_once_more_it_comes_to_rest_with_one() {
    for policy in [RestartPolicy::UnlessStopped, RestartPolicy::No] {
        for forget in [false, true] {
            killed_anywhere(0, policy, forget);
            killed_anywhere(2, policy, forget);
        }
    }
}
