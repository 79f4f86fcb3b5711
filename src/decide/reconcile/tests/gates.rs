//! What waits at a gate.

use super::*;

/// A world whose app wants versions to be a day old.
fn gated(world: World) -> World {
    let mut world = world;
    world.app.gates.soak = std::time::Duration::from_secs(86_400);
    world.admission.first_seen = Some(at(0));
    world
}

fn held_by_soak(decision: &Decision) -> bool {
    matches!(decision, Decision::Hold(Hold::Gated { gate: crate::model::Gate::Soak, .. }))
}

#[test]
fn a_gate_holds_what_is_new_and_nothing_else() {
    let mut world = gated(World::serving(1));
    assert_eq!(world.decide(), Decision::UpToDate, "what serves");
    world.wanted.digest = Some(digest(2));
    assert!(held_by_soak(&world.decide()), "a new version");
    world.forced = true;
    assert_eq!(world.plan().digest, digest(2), "forced");
    world.forced = false;
    world.now = at(90_000);
    assert_eq!(world.plan().digest, digest(2), "when it is old enough");
    world.now = at(1);
    let serving = world.entry.as_ref().unwrap().active[0].container.clone();
    world.get(Some(&serving)).owned.spec = "another".into();
    world.wanted.digest = Some(digest(1));
    assert_eq!(world.plan().reason, PlanReason::ConfigurationChanged, "a change of the configuration");
}

#[test]
fn a_person_goes_back_to_what_has_served_without_being_asked() {
    let mut world = gated(World::serving(2));
    world.wanted = Wanted { digest: Some(digest(1)), pinned: Some(("rollback".into(), None)), ..Wanted::default() };
    assert!(held_by_soak(&world.decide()), "a version that has never served is asked about, pinned or not");
    world.admission.served = vec![digest(2), digest(1)];
    assert_eq!(world.plan().reason, PlanReason::Pinned);
    world.wanted.pinned = None;
    assert!(held_by_soak(&world.decide()), "a tag that moves back is asked about");
}

#[test]
fn a_gate_never_stands_in_the_way_of_a_recovery() {
    let mut world = gated(World::serving(1));
    world.admission.served = vec![digest(1)];
    world.wanted.digest = Some(digest(2));
    let serving = world.entry.as_ref().unwrap().active[0].container.clone();
    let mut stopped = world.clone();
    stopped.get(Some(&serving)).state = ContainerState::Exited;
    let plan = stopped.plan();
    assert_eq!((plan.reason, &plan.digest), (PlanReason::ServingLost, &digest(1)), "what stopped is started");
    let mut gone = world.clone();
    gone.containers.clear();
    let plan = gone.plan();
    assert_eq!((plan.reason, &plan.digest), (PlanReason::ServingLost, &digest(1)), "what is gone is made anew");
    gone.wanted.digest = Some(digest(1));
    assert_eq!(gone.plan().digest, digest(1), "also when it is what is wanted");
    gone.quarantine.push(quarantined(1));
    assert!(matches!(gone.decide(), Decision::Hold(Hold::Quarantined { .. })));
    let mut half = world.clone();
    half.app.gates.soak = std::time::Duration::ZERO;
    let plan = half.plan();
    half.execute(&plan, 3);
    half.app.gates = world.app.gates.clone();
    assert_eq!(half.plan().reason, PlanReason::ResumedCandidate, "what was begun is carried on");
}
