//! A world in miniature: plans are carried out on it step by step, cut off anywhere, and decided upon again.

mod gates;
mod replicas;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decide::admission::Admission;
use crate::decide::fixtures::{self, app};
use crate::model::{
    App, AppEntry, Failure, FailureReason, Generation, Hold, JobContainer, Owned, Quarantine, Stage, SwapId, Target,
    Time,
};

const SPEC: &str = "spec";

fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

/// Containers, the proxy's table and the clock.
#[derive(Debug, Clone)]
struct World {
    app: App,
    containers: BTreeMap<String, Container>,
    entry: Option<AppEntry>,
    jobs: Vec<JobContainer>,
    kept: Vec<(Generation, Digest)>,
    wanted: Wanted,
    quarantine: Vec<Quarantine>,
    attempts: Option<crate::model::Attempts>,
    admission: Admission,
    forced: bool,
    now: Time,
    made: u32,
}

impl World {
    fn new(version: u8) -> Self {
        let wanted = Wanted { digest: Some(digest(version)), ..Wanted::default() };
        let (containers, quarantine) = (BTreeMap::new(), Vec::new());
        let admission = Admission::default();
        Self {
            app: app("shop"),
            containers,
            entry: None,
            jobs: Vec::new(),
            kept: Vec::new(),
            wanted,
            quarantine,
            attempts: None,
            admission,
            forced: false,
            now: at(0),
            made: 0,
        }
    }

    /// A world in which a version serves and nothing else is there.
    fn serving(version: u8) -> Self {
        let mut world = Self::new(version);
        world.settle();
        world
    }

    fn decide(&self) -> Decision {
        let containers: Vec<Container> = self.containers.values().cloned().collect();
        decide(&Observation {
            app: &self.app,
            spec: SPEC,
            wanted: &self.wanted,
            containers: &containers,
            jobs: &self.jobs,
            kept: &self.kept,
            entry: self.entry.as_ref(),
            quarantine: &self.quarantine,
            attempts: self.attempts.as_ref(),
            parked: None,
            admission: &self.admission,
            forced: self.forced,
            now: self.now,
            swap: &SwapId(format!("swap-{}", self.made)),
        })
    }

    fn plan(&self) -> Plan {
        match self.decide() {
            Decision::Act(plan) => *plan,
            other => panic!("no plan: {other:?}"),
        }
    }

    fn container(&self, plan: &Plan, number: u32) -> Container {
        let id = ContainerId(format!("id-{}", self.made));
        let name = crate::decide::container::container_name(
            &self.app,
            plan.generation,
            (self.app.replicas > 1).then_some(number),
        );
        let base = fixtures::container(&name, plan.generation.0, 0);
        Container {
            owned: Owned {
                swap: plan.swap.clone(),
                replaces: plan.serving.first().cloned(),
                replica: (self.app.replicas > 1).then_some(number),
                digest: plan.digest.clone(),
                spec: SPEC.to_owned(),
                watched: plan.watched,
                ..base.owned
            },
            id,
            state: ContainerState::Created,
            created: self.now,
            ..base
        }
    }

    /// Carries out the first `steps` steps. True: that was all of them.
    fn execute(&mut self, plan: &Plan, steps: usize) -> bool {
        let mut candidates = plan.candidates.clone();
        for step in plan.steps.iter().take(steps) {
            self.now += chrono::TimeDelta::seconds(1);
            match step {
                Step::Create => {
                    for number in &plan.missing {
                        self.made += 1;
                        let container = self.container(plan, *number);
                        let taken = self.containers.values().any(|other| other.name == container.name);
                        assert!(!taken, "the name {} is taken", container.name);
                        candidates.push(container.id.clone());
                        self.containers.insert(container.id.0.clone(), container);
                    }
                }
                Step::Start => {
                    let started = self.now;
                    for id in &candidates {
                        let container = self.get(Some(id));
                        container.state = ContainerState::Running;
                        container.started = Some(started);
                    }
                }
                Step::Arm => {
                    for id in &candidates {
                        self.get(Some(id)).restart_policy = "unless-stopped".to_owned();
                    }
                }
                Step::Switch { expect } => {
                    let to: Vec<&ContainerId> = plan.stay.iter().chain(&candidates).collect();
                    self.switch(*expect, &to);
                }
                Step::Stop { containers } => {
                    for id in containers {
                        assert!(!self.is_active(id), "what serves is never stopped");
                        let container = self.get(Some(id));
                        container.state = ContainerState::Exited;
                        container.restart_policy = "no".to_owned();
                    }
                }
                Step::Retire { containers } => {
                    for id in containers {
                        assert!(!self.is_active(id), "what serves is never removed");
                        self.containers.remove(&id.0);
                    }
                }
                Step::Park { .. }
                | Step::Take { .. }
                | Step::Follow { .. }
                | Step::Restore { .. }
                | Step::Hold { .. } => {
                    panic!("behind the proxy: {step:?}")
                }
                Step::Condemn { digest, generation, .. } => {
                    self.quarantine.push(Quarantine { digest: digest.clone(), ..quarantined(9) });
                    self.kept.retain(|(kept, _)| kept != generation);
                }
                Step::Prepare { .. } | Step::Job { .. } => {}
                Step::Pull | Step::Compare | Step::Gate | Step::Bake { .. } | Step::Drain { .. } => {}
            }
        }
        steps >= plan.steps.len()
    }

    fn get(&mut self, id: Option<&ContainerId>) -> &mut Container {
        self.containers.get_mut(&id.expect("the plan has a candidate by then").0).expect("it exists")
    }

    fn is_active(&self, id: &ContainerId) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.active.iter().any(|target| target.container == *id))
    }

    fn switch(&mut self, expect: u64, to: &[&ContainerId]) {
        assert!(!to.is_empty(), "somebody always serves");
        let containers: Vec<Container> = to.iter().map(|id| self.get(Some(id)).clone()).collect();
        assert!(containers.iter().all(Container::is_running), "traffic moves only to what runs");
        let revision = self.entry.as_ref().map_or(0, |entry| entry.revision);
        assert_eq!(revision, expect, "the plan knows the revision");
        let target = |container: Container| Target {
            container: container.id,
            addr: "10.0.0.1:80".parse().unwrap(),
            generation: container.owned.generation,
        };
        let previous = self.entry.take().map(|entry| entry.active).unwrap_or_default();
        let active = containers.into_iter().map(target).collect();
        self.entry = Some(AppEntry { revision: revision + 1, routes: vec![], active, previous, since: self.now });
    }

    /// Decides and acts until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..10 {
            match self.decide() {
                Decision::Act(plan) => assert!(self.execute(&plan, usize::MAX)),
                _ => return,
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }

    /// Exactly one container, running, armed, active, of the wanted digest.
    fn assert_at_rest(&self, version: u8) {
        let left: Vec<&Container> = self.containers.values().collect();
        assert_eq!(left.len(), 1, "{left:#?}");
        let only = left[0];
        assert!(only.is_running() && self.is_active(&only.id), "{only:#?}");
        assert_eq!((only.owned.digest.clone(), only.restart_policy.as_str()), (digest(version), "unless-stopped"));
        assert_eq!(self.decide(), Decision::UpToDate, "planning again after success gives nothing to do");
    }
}

fn quarantined(version: u8) -> Quarantine {
    let failure =
        Failure { stage: Stage::Gate, reason: FailureReason::Exited, message: "exited".into(), log_tail: Vec::new() };
    Quarantine { digest: digest(version), at: at(0), failure, spec: Some(SPEC.into()), swap: None }
}

#[test]
fn a_first_deployment_and_a_moved_tag_come_to_rest() {
    let mut world = World::serving(1);
    world.assert_at_rest(1);
    world.wanted.digest = Some(digest(2));
    assert_eq!(world.plan().reason, PlanReason::TagMoved);
    world.settle();
    world.assert_at_rest(2);
}

#[test]
fn unknown_is_not_up_to_date() {
    let mut world = World::serving(1);
    world.wanted.unknown = Some("registry down".into());
    assert!(matches!(world.decide(), Decision::Hold(Hold::RegistryUnknown { .. })));
    world.wanted = Wanted::default();
    assert!(matches!(world.decide(), Decision::Hold(Hold::RegistryUnknown { .. })));
}

#[test]
fn a_quarantined_digest_is_held_until_the_configuration_changes() {
    let mut world = World::serving(1);
    world.wanted.digest = Some(digest(2));
    world.quarantine = vec![quarantined(2)];
    assert!(matches!(world.decide(), Decision::Hold(Hold::Quarantined { .. })));
    world.quarantine[0].spec = Some("another".into());
    assert!(matches!(world.decide(), Decision::Act(_)));
}

#[test]
fn a_pin_holds_back_what_is_newer_and_says_so() {
    let mut world = World::serving(1);
    world.wanted.pinned = Some(("rollback".into(), Some(digest(2))));
    assert!(matches!(world.decide(), Decision::Hold(Hold::Pinned { .. })));
}

#[test]
fn without_a_table_the_oldest_that_served_takes_over_and_never_the_newest() {
    let mut world = World::serving(1);
    world.wanted.digest = Some(digest(2));
    let plan = world.plan();
    // The candidate is armed, the switch has not been made, and the table is lost.
    world.execute(&plan, 6);
    world.entry = None;
    let plan = world.plan();
    assert_eq!((plan.reason, plan.digest), (PlanReason::RouteRestored, digest(1)));
    world.settle();
    world.assert_at_rest(2);
}

#[test]
fn what_serves_and_was_stopped_is_started_again_unless_something_newer_is_the_cure() {
    let mut world = World::serving(1);
    world.containers.values_mut().for_each(|c| c.state = ContainerState::Exited);
    assert_eq!(world.plan().reason, PlanReason::ServingLost);
    world.wanted.digest = Some(digest(2));
    assert_eq!(world.plan().reason, PlanReason::TagMoved);
}

#[test]
fn what_serves_and_was_removed_is_deployed_anew() {
    let mut world = World::serving(1);
    world.containers.clear();
    assert_eq!(world.plan().reason, PlanReason::ServingLost);
    world.settle();
    world.assert_at_rest(1);
}

#[test]
fn only_the_last_failed_candidate_is_kept() {
    let mut world = World::serving(1);
    for generation in [7, 8] {
        let mut failed = world.container(&World::new(9).plan(), 1);
        failed.id = ContainerId(format!("failed-{generation}"));
        failed.name = format!("shop.failed-{generation}");
        failed.owned.generation = Generation(generation);
        failed.state = ContainerState::Exited;
        world.containers.insert(failed.id.0.clone(), failed);
    }
    world.settle();
    let names: Vec<&str> = world.containers.values().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["shop.failed-8", "shop.1"]);
    // Its number is not given to another.
    world.wanted.digest = Some(digest(2));
    assert_eq!(world.plan().generation, Generation(9));
}

proptest! {
    #[test]
    fn cut_off_anywhere_any_number_of_times_it_comes_to_rest(
        cuts in prop::collection::vec(0usize..12, 0..12), lose_table in any::<bool>(), moved in any::<bool>(),
    ) {
        let mut world = World::serving(1);
        world.wanted.digest = Some(digest(2));
        for (index, cut) in cuts.iter().enumerate() {
            if let Decision::Act(plan) = world.decide() {
                world.execute(&plan, *cut);
            }
            let serves = world.containers.values().any(|c| c.is_running() && world.is_active(&c.id));
            prop_assert!(serves, "something serves at every moment");
            if lose_table && index == 3 {
                world.entry = None;
                break;
            }
        }
        let last = if moved { 3 } else { 2 };
        world.wanted.digest = Some(digest(last));
        world.settle();
        world.assert_at_rest(last);
    }
}

#[test]
fn a_repository_without_a_tag_to_follow_is_held_and_never_up_to_date() {
    let mut world = World::serving(1);
    world.wanted.unmatched = Some("the nearest: 2.0.0".to_owned());
    let held = Decision::Hold(Hold::NothingMatches { message: "the nearest: 2.0.0".to_owned() });
    assert_eq!(world.decide(), held, "what serves goes on");
    world.wanted.digest = None;
    assert_eq!(world.decide(), held, "what was followed is not known");
    let mut empty = World::new(1);
    empty.wanted = Wanted { unmatched: Some("the nearest: 2.0.0".to_owned()), ..Wanted::default() };
    assert_eq!(empty.decide(), held, "nothing serves yet");
}
