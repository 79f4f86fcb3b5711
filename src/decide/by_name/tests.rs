//! Plans are carried out on a small world, cut off anywhere between two side effects, and decided upon again.

use std::collections::BTreeMap;

use proptest::prelude::{any, proptest};

use super::*;
use crate::decide::fixtures::{self, app};
use crate::decide::observation::Wanted;
use crate::model::{App, AppEntry, Failure, FailureReason, Origin, Owned, Quarantine, Stage, SwapId, Target, Time};

const POLICY: &str = r#"{"Name":"always","MaximumRetryCount":0}"#;

fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

/// The engine, and what else a decision depends on.
#[derive(Debug, Clone)]
struct World {
    app: App,
    containers: BTreeMap<String, Container>,
    wanted: Wanted,
    quarantine: Vec<Quarantine>,
    made: u32,
    /// Side effects that are still made before the crash.
    left: usize,
    /// Where the proxy sends its requests.
    entry: Option<AppEntry>,
}

/// The process was killed.
struct Killed;

impl World {
    /// A container that a person made runs version 1.
    fn new(strategy: Strategy) -> Self {
        let mut app = app("shop");
        app.origin = Origin::Adopted { container: "shop".to_owned() };
        app.strategy = strategy;
        app.routes.clear();
        let wanted = Wanted { digest: Some(digest(1)), ..Wanted::default() };
        let mut world = Self {
            app,
            containers: BTreeMap::new(),
            wanted,
            quarantine: Vec::new(),
            made: 0,
            left: usize::MAX,
            entry: None,
        };
        let mut old = world.container("shop", 0, 1, None);
        (old.state, old.restart_policy) = (ContainerState::Running, "always".to_owned());
        world.containers.insert(old.id.0.clone(), old);
        world
    }

    /// The same behind the proxy, which sends it its requests.
    fn routed(strategy: Strategy) -> Self {
        let mut world = Self::new(strategy);
        world.app.routes = app("shop").routes;
        assert!(world.settle(false));
        world.assert_settled(1);
        world
    }

    /// Where the requests go.
    fn active(&self) -> Option<&ContainerId> {
        self.entry.as_ref().and_then(|entry| Some(&entry.active.first()?.container))
    }

    fn aim(&mut self, id: &ContainerId, expect: u64) -> Result<(), Killed> {
        self.left = self.left.checked_sub(1).ok_or(Killed)?;
        assert_eq!(expect, self.entry.as_ref().map_or(0, |entry| entry.revision));
        assert_eq!(self.containers[&id.0].state, ContainerState::Running, "requests are sent to what does not run");
        let target = Target { container: id.clone(), addr: ([10, 0, 0, 1], 80).into(), generation: Generation(1) };
        self.entry = Some(AppEntry {
            revision: expect + 1,
            routes: Vec::new(),
            active: vec![target],
            previous: Vec::new(),
            since: Time::UNIX_EPOCH,
        });
        Ok(())
    }

    fn container(&mut self, name: &str, generation: u64, version: u8, replaces: Option<ContainerId>) -> Container {
        self.made += 1;
        let base = fixtures::container(name, generation, version);
        Container {
            id: ContainerId(format!("id-{}", self.made)),
            owned: Owned {
                swap: SwapId(format!("swap-{}", self.made)),
                restart: replaces.is_some().then(|| POLICY.to_owned()),
                replaces,
                ..base.owned
            },
            state: ContainerState::Created,
            ..base
        }
    }

    fn decide(&self) -> Decision {
        let containers: Vec<Container> = self.containers.values().cloned().collect();
        crate::decide::reconcile::decide(&Observation {
            app: &self.app,
            spec: "",
            wanted: &self.wanted,
            containers: &containers,
            jobs: &[],
            kept: &[],
            entry: self.entry.as_ref(),
            quarantine: &self.quarantine,
            attempts: None,
            parked: None,
            admission: &crate::decide::admission::Admission::default(),
            forced: false,
            now: Time::UNIX_EPOCH,
            swap: &SwapId(format!("new-{}", self.made)),
        })
    }

    fn named(&self, name: &str) -> Option<&Container> {
        self.containers.values().find(|c| c.name == name)
    }

    /// One side effect on a container; a name is never given twice, and two never run where only one can.
    fn touch(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) -> Result<(), Killed> {
        self.left = self.left.checked_sub(1).ok_or(Killed)?;
        let container = self.containers.get_mut(&id.0).expect("what is touched exists");
        change(container);
        let name = container.name.clone();
        assert_eq!(self.containers.values().filter(|c| c.name == name).count(), 1, "{name} is taken");
        let running = self.containers.values().filter(|c| c.state == ContainerState::Running).count();
        assert!(running <= 1 || self.app.strategy == Strategy::Overlap, "two run at once");
        Ok(())
    }

    fn stop(&mut self, id: &ContainerId) -> Result<(), Killed> {
        let runs = self.containers[&id.0].state == ContainerState::Running;
        let gets_requests = self.app.strategy == Strategy::Overlap && runs && self.active() == Some(id);
        assert!(!gets_requests, "what gets requests is stopped: {self:#?}");
        self.touch(id, |c| c.restart_policy = "no".to_owned())?;
        self.touch(id, |c| {
            if c.state == ContainerState::Running {
                c.state = ContainerState::Exited;
            }
        })
    }

    /// As the executor does it; a bad version fails in its gate, and is put back as the executor does that.
    fn execute(&mut self, plan: &Plan, bad: bool) -> Result<(), Killed> {
        let mut candidate = plan.candidates.first().cloned();
        for step in &plan.steps {
            match step {
                Step::Create => {
                    let name = next_name("shop", plan.generation);
                    let version = if plan.digest == digest(1) { 1 } else { 2 };
                    self.left = self.left.checked_sub(1).ok_or(Killed)?;
                    let made = self.container(&name, plan.generation.0, version, plan.serving.first().cloned());
                    candidate = Some(made.id.clone());
                    self.containers.insert(made.id.0.clone(), made);
                }
                Step::Start => self.touch(candidate.as_ref().unwrap(), |c| c.state = ContainerState::Running)?,
                // Beside the old one and behind the proxy it fails after the switch.
                Step::Gate if bad && !plan.steps.iter().any(|step| matches!(step, Step::Bake { .. })) => {
                    return self.put_back(plan, candidate.as_ref().unwrap());
                }
                Step::Park { container } => self.stop(container)?,
                Step::Take { old } => {
                    if let Some(old) = old {
                        self.touch(old, |c| c.name = previous_name("shop", plan.generation))?;
                    }
                    self.touch(candidate.as_ref().unwrap(), |c| c.name = "shop".to_owned())?;
                }
                Step::Arm => self.arm(candidate.as_ref().unwrap())?,
                Step::Stop { containers } => containers.iter().try_for_each(|id| self.stop(id))?,
                Step::Restore { container, restart } => self.restore(container, restart.is_some())?,
                Step::Retire { containers } => {
                    for id in containers {
                        self.left = self.left.checked_sub(1).ok_or(Killed)?;
                        let gone = self.containers.remove(&id.0).unwrap();
                        assert_ne!(gone.name, "shop", "what serves is never removed");
                    }
                }
                Step::Switch { expect } => self.aim(candidate.as_ref().unwrap(), *expect)?,
                Step::Drain { containers } => {
                    assert!(containers.iter().all(|id| self.active() != Some(id)), "it would never be idle");
                }
                Step::Bake { .. } if bad => return self.put_back(plan, candidate.as_ref().unwrap()),
                Step::Pull | Step::Compare | Step::Gate | Step::Follow { .. } | Step::Condemn { .. } => {}
                Step::Bake { .. } => {}
                other => panic!("not by name: {other:?}"),
            }
        }
        Ok(())
    }

    fn arm(&mut self, id: &ContainerId) -> Result<(), Killed> {
        self.touch(id, |c| {
            if c.owned.restart.is_some() {
                c.restart_policy = "always".to_owned();
            }
        })
    }

    fn restore(&mut self, id: &ContainerId, known: bool) -> Result<(), Killed> {
        self.touch(id, |c| c.state = ContainerState::Running)?;
        self.touch(id, |c| {
            if known {
                c.restart_policy = "always".to_owned();
            }
        })
    }

    fn put_back(&mut self, plan: &Plan, candidate: &ContainerId) -> Result<(), Killed> {
        let failure = Failure {
            stage: Stage::Gate,
            reason: FailureReason::Unhealthy,
            message: String::new(),
            log_tail: Vec::new(),
        };
        let (digest, at) = (plan.digest.clone(), Time::UNIX_EPOCH);
        self.quarantine.push(Quarantine { digest, at, failure, spec: None, swap: None });
        let old = plan.serving.first().unwrap();
        if self.app.strategy == Strategy::Overlap {
            self.restore(old, true)?;
        } else {
            self.stop(candidate)?;
            self.restore(old, true)?;
        }
        if let Some(entry) = self.entry.clone().filter(|_| self.active() != Some(old)) {
            self.aim(old, entry.revision)?;
        }
        self.stop(candidate)?;
        self.touch(candidate, |c| c.name = failed_name("shop", plan.generation))
    }

    /// Decides and acts until nothing is left to do. False: killed on the way.
    fn settle(&mut self, bad: bool) -> bool {
        for _ in 0..12 {
            let Decision::Act(plan) = self.decide() else { return true };
            if self.execute(&plan, bad && plan.digest == digest(2)).is_err() {
                return false;
            }
        }
        panic!("it never comes to rest: {self:#?}");
    }

    fn assert_settled(&self, version: u8) {
        let serving = self.named("shop").unwrap_or_else(|| panic!("nobody serves: {self:#?}"));
        assert_eq!(serving.state, ContainerState::Running);
        assert_eq!(serving.owned.digest, digest(version));
        assert_eq!(serving.restart_policy, "always");
        assert_eq!(self.active(), (!self.app.routes.is_empty()).then_some(&serving.id));
        let rest: Vec<_> = self.containers.values().filter(|c| c.name != "shop").collect();
        assert!(rest.iter().all(|c| c.name.contains(FAILED) && c.state != ContainerState::Running), "{rest:#?}");
        assert!(rest.len() <= 1);
    }
}

/// Kills the swap after each number of side effects, once or several times, with memory or without.
fn killed_everywhere(new: fn(Strategy) -> World, strategy: Strategy, bad: bool, forgets: bool) -> usize {
    let mut points = 0;
    for left in 0.. {
        let mut world = new(strategy);
        world.wanted.digest = Some(digest(2));
        world.left = left;
        if world.settle(bad) {
            break;
        }
        points += 1;
        if forgets {
            world.quarantine.clear();
        }
        world.left = usize::MAX;
        assert!(world.settle(bad));
        world.assert_settled(if bad { 1 } else { 2 });
        assert!(!matches!(world.decide(), Decision::Act(_)), "planning again right after gives nothing to do");
    }
    points
}

#[test]
fn a_swap_that_is_killed_anywhere_is_finished_or_undone() {
    for strategy in [Strategy::Recreate, Strategy::Overlap] {
        for bad in [false, true] {
            for forgets in [false, true] {
                for new in [World::new, World::routed] {
                    let points = killed_everywhere(new, strategy, bad, forgets);
                    assert!(points >= 7, "{strategy:?} {bad} {forgets}: only {points} points");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_row_of_crashes_loses_nothing(
        kills in proptest::collection::vec(0_usize..12, 0..6),
        bad in any::<bool>(),
        overlap in any::<bool>(),
        moved_back in any::<bool>(),
        routed in any::<bool>(),
    ) {
        let strategy = if overlap { Strategy::Overlap } else { Strategy::Recreate };
        let mut world = if routed { World::routed(strategy) } else { World::new(strategy) };
        world.wanted.digest = Some(digest(2));
        for left in kills {
            world.left = left;
            world.settle(bad);
        }
        if moved_back {
            world.wanted.digest = Some(digest(1));
        }
        world.left = usize::MAX;
        world.settle(bad);
        world.assert_settled(if bad || moved_back { 1 } else { 2 });
    }
}

#[test]
fn what_a_person_stopped_is_left_stopped() {
    let mut world = World::new(Strategy::Recreate);
    world.wanted.digest = Some(digest(2));
    for container in world.containers.values_mut() {
        container.state = ContainerState::Exited;
    }
    assert!(matches!(world.decide(), Decision::Hold(Hold::NotSwappable { message }) if message.contains("exited")));
}

#[test]
fn a_container_that_a_person_made_anew_during_a_swap_is_the_one_that_counts() {
    let mut world = World::new(Strategy::Recreate);
    world.wanted.digest = Some(digest(2));
    world.left = 2;
    assert!(!world.settle(false));
    let old = world.named("shop").unwrap().id.clone();
    world.containers.remove(&old.0);
    let mut fresh = world.container("shop", 0, 1, None);
    (fresh.state, fresh.restart_policy) = (ContainerState::Running, "always".to_owned());
    world.containers.insert(fresh.id.0.clone(), fresh);
    world.left = usize::MAX;
    assert!(world.settle(false));
    world.assert_settled(2);
}

#[test]
fn names_tell_the_part_in_a_swap() {
    for (name, serving) in [
        ("shop", "shop"),
        ("shop.next-7", "shop"),
        ("a.b.prev-12", "a.b"),
        ("shop.failed-1", "shop"),
        ("shop.next-x", "shop.next-x"),
        (".next-1", ".next-1"),
        ("shop.was-3", "shop"),
        ("shop.join-3", "shop"),
    ] {
        assert_eq!(serving_name(name), serving);
    }
}
