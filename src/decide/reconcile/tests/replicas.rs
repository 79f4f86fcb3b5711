//! Several containers of a version.

use super::*;

/// A world in which so many containers of version 1 serve.
fn several(count: u32) -> World {
    let mut world = World::new(1);
    world.app.replicas = count;
    world.settle();
    world
}

impl World {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.containers.values().map(|c| c.name.clone()).collect();
        names.sort();
        names
    }

    fn named(&mut self, name: &str) -> &mut Container {
        self.containers.values_mut().find(|c| c.name == name).expect("it is there")
    }

    /// So many containers of that version are there, all of them serve, and nothing else is there.
    fn assert_all_serve(&self, version: u8, count: usize) {
        assert_eq!(self.containers.len(), count, "{:?}", self.names());
        for container in self.containers.values() {
            assert!(container.is_running() && self.is_active(&container.id), "{container:#?}");
            let state = (container.owned.digest.clone(), container.restart_policy.as_str());
            assert_eq!(state, (digest(version), "unless-stopped"));
        }
        assert_eq!(self.entry.as_ref().map(|entry| entry.active.len()), Some(count));
        let generations: std::collections::BTreeSet<_> = self.containers.values().map(|c| c.owned.generation).collect();
        assert_eq!(generations.len(), 1, "one version");
        assert_eq!(self.decide(), Decision::UpToDate, "planning again after success gives nothing to do");
    }
}

#[test]
fn all_of_a_new_version_take_over_from_all_of_the_old_one_at_once() {
    let mut world = several(3);
    world.assert_all_serve(1, 3);
    assert_eq!(world.names(), ["shop.1-1", "shop.1-2", "shop.1-3"]);
    world.wanted.digest = Some(digest(2));
    let plan = world.plan();
    assert_eq!((plan.missing.as_slice(), plan.serving.len(), plan.fallback.len()), ([1, 2, 3].as_slice(), 3, 3));
    assert_eq!(plan.steps.iter().filter(|step| matches!(step, Step::Switch { .. })).count(), 1, "one switch");
    world.settle();
    world.assert_all_serve(2, 3);
    assert_eq!(world.names(), ["shop.2-1", "shop.2-2", "shop.2-3"]);
}

#[test]
fn more_join_those_that_serve_and_fewer_leave_them_without_a_new_version() {
    let mut world = World::serving(1);
    for (count, names) in [
        (3, ["shop.1", "shop.1-2", "shop.1-3"].as_slice()),
        (2, ["shop.1", "shop.1-2"].as_slice()),
        (4, ["shop.1", "shop.1-2", "shop.1-3", "shop.1-4"].as_slice()),
        (1, ["shop.1"].as_slice()),
    ] {
        world.app.replicas = count;
        let plan = world.plan();
        assert_eq!(
            (plan.reason, plan.generation, &plan.digest),
            (PlanReason::ReplicasChanged, Generation(1), &digest(1))
        );
        world.settle();
        world.assert_all_serve(1, names.len());
        assert_eq!(world.names(), names);
    }
}

#[test]
fn one_that_is_gone_is_taken_from_the_table_before_another_is_started() {
    let mut world = several(3);
    let gone = world.named("shop.1-2").id.clone();
    world.containers.remove(&gone.0);
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::Switch { expect: 1 }], "nothing is started that could get its address");
    assert_eq!((plan.stay.len(), plan.candidates.len()), (2, 0));
    world.execute(&plan, 1);
    let plan = world.plan();
    assert_eq!((plan.missing.as_slice(), plan.stay.len()), ([2].as_slice(), 2), "its number is given to its successor");
    world.settle();
    world.assert_all_serve(1, 3);
}

#[test]
fn one_that_was_stopped_is_started_again_beside_the_others() {
    let mut world = several(3);
    world.named("shop.1-1").state = ContainerState::Exited;
    world.settle();
    world.assert_all_serve(1, 3);
    assert_eq!(world.names(), ["shop.1-1", "shop.1-2", "shop.1-3"]);
}

#[test]
fn the_engine_is_not_interfered_with_while_it_starts_one_again() {
    let mut world = several(3);
    world.named("shop.1-1").state = ContainerState::Restarting;
    assert_eq!(world.decide(), Decision::UpToDate);
}

#[test]
fn a_version_of_which_one_has_failed_is_made_anew_and_never_completed() {
    let mut world = several(3);
    world.wanted.digest = Some(digest(2));
    let plan = world.plan();
    world.execute(&plan, 3);
    world.named("shop.2-2").name = "shop.failed-2".to_owned();
    world.settle();
    let others: Vec<String> = world.names().into_iter().filter(|name| name != "shop.failed-2").collect();
    assert_eq!(others, ["shop.3-1", "shop.3-2", "shop.3-3"]);
}

#[test]
fn a_version_of_which_only_a_part_was_made_is_completed() {
    let mut world = several(3);
    world.wanted.digest = Some(digest(2));
    let plan = world.plan();
    world.execute(&plan, 3);
    let lost = world.named("shop.2-2").id.clone();
    world.containers.remove(&lost.0);
    let plan = world.plan();
    assert_eq!((plan.reason, plan.missing.as_slice()), (PlanReason::ResumedCandidate, [2].as_slice()));
    world.settle();
    world.assert_all_serve(2, 3);
}

#[test]
fn one_that_fails_in_its_watch_takes_the_whole_version_out_of_service() {
    let mut world = several(2);
    world.wanted.digest = Some(digest(2));
    world.settle();
    world.kept = vec![(Generation(1), digest(1))];
    let failing = world.named("shop.2-2");
    (failing.restart_count, failing.owned.watched) = (1, true);
    let id = failing.id.clone();
    let plan = world.plan();
    assert_eq!((plan.reason, &plan.digest, plan.missing.len()), (PlanReason::WatchFailed, &digest(1), 2));
    assert!(matches!(&plan.steps[0], Step::Condemn { container, .. } if *container == id), "its evidence");
    // It ends before that is seen to: it stays in the table until then.
    world.app.container.restart = crate::model::RestartPolicy::No;
    let failing = world.named("shop.2-2");
    (failing.state, failing.exit_code, failing.restart_count) = (ContainerState::Exited, 3, 0);
    failing.restart_policy = "no".to_owned();
    assert_eq!(world.plan().reason, PlanReason::WatchFailed);
}

#[test]
fn without_a_table_one_of_those_that_served_is_enough_to_begin_with() {
    let mut world = several(3);
    world.entry = None;
    let plan = world.plan();
    assert_eq!((plan.reason, plan.candidates.len()), (PlanReason::RouteRestored, 1));
    world.settle();
    world.assert_all_serve(1, 3);
}

#[test]
fn what_may_run_only_once_from_now_on_loses_its_replicas_first() {
    let mut world = several(3);
    world.app.replicas = 1;
    world.app.strategy = crate::model::Strategy::Hold;
    let plan = world.plan();
    assert_eq!((plan.reason, plan.stay.len()), (PlanReason::ReplicasChanged, 1));
    world.settle();
    world.assert_all_serve(1, 1);
}

#[test]
fn what_is_missing_waits_for_its_back_off_while_the_others_serve() {
    let mut world = several(2);
    world.app.replicas = 3;
    let failure =
        Failure { stage: Stage::Gate, reason: FailureReason::Exited, message: "exited".into(), log_tail: Vec::new() };
    let attempts = crate::model::Attempts { digest: digest(1), count: 1, not_before: at(60), failure };
    world.attempts = Some(attempts);
    assert!(matches!(world.decide(), Decision::Hold(Hold::BackingOff { .. })));
    world.wanted.digest = Some(digest(2));
    assert_eq!(world.plan().reason, PlanReason::TagMoved, "a new version does not wait for it");
}

proptest! {
    #[test]
    fn several_that_are_cut_off_anywhere_any_number_of_times_come_to_rest(
        cuts in prop::collection::vec((0usize..14, 1u32..5, 0usize..8), 0..12), lose_table in any::<bool>(),
        last in 2u8..4,
    ) {
        let mut world = several(3);
        world.wanted.digest = Some(digest(2));
        for (index, (cut, replicas, victim)) in cuts.iter().enumerate() {
            world.app.replicas = *replicas;
            if let Decision::Act(plan) = world.decide() {
                world.execute(&plan, *cut);
            }
            let serving: Vec<String> =
                world.containers.values().filter(|c| c.is_running() && world.is_active(&c.id)).map(|c| c.id.0.clone()).collect();
            prop_assert!(!serving.is_empty(), "something serves at every moment");
            // A person removes one of several.
            let ids: Vec<String> = world.containers.keys().cloned().collect();
            if let Some(id) = ids.get(*victim).filter(|id| serving.len() > 1 || !serving.contains(id)) {
                world.containers.remove(id);
            }
            if lose_table && index == 3 {
                world.entry = None;
                break;
            }
        }
        world.wanted.digest = Some(digest(last));
        world.app.replicas = 3;
        world.settle();
        world.assert_all_serve(last, 3);
    }
}
