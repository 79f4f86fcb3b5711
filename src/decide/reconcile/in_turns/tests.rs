//! Every half-way state by name, and a world in miniature that is killed before each of its side effects.

mod crashes;

use std::collections::BTreeMap;

use crate::decide::admission::Admission;
use crate::decide::fixtures::{self, app};
use crate::decide::reconcile::{Observation, Wanted, decide, is_failed};
use crate::decide::undo::{Undo, undo};
use crate::model::{
    App, AppEntry, Container, ContainerId, ContainerState, Decision, Digest, Failure, FailureReason, Hold, Owned, Plan,
    PlanReason, Quarantine, RestartPolicy, Stage, Step, Strategy, SwapId, Target, Time,
};

const SPEC: &str = "spec";
const POLICY: &str = "unless-stopped";

fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

/// The process was killed.
struct Killed;

#[derive(Debug, Clone)]
struct World {
    app: App,
    containers: BTreeMap<String, Container>,
    entry: Option<AppEntry>,
    held: bool,
    wanted: Wanted,
    quarantine: Vec<Quarantine>,
    made: u32,
    /// Side effects until it is killed.
    left: usize,
}

fn target(container: &Container) -> Target {
    let addr = "10.0.0.1:80".parse().unwrap();
    Target { container: container.id.clone(), addr, generation: container.owned.generation }
}

impl World {
    /// Version 1 serves.
    fn serving() -> Self {
        let mut app = app("shop");
        app.strategy = Strategy::Hold;
        let wanted = Wanted { digest: Some(digest(1)), ..Wanted::default() };
        let mut world = Self {
            app,
            containers: BTreeMap::new(),
            entry: None,
            held: false,
            wanted,
            quarantine: Vec::new(),
            made: 0,
            left: usize::MAX,
        };
        let old = world.add(1, 1, None, ContainerState::Running, POLICY);
        world.switch(&old);
        world
    }

    fn add(
        &mut self,
        generation: u64,
        version: u8,
        replaces: Option<&ContainerId>,
        state: ContainerState,
        policy: &str,
    ) -> ContainerId {
        self.made += 1;
        let id = ContainerId(format!("id-{}", self.made));
        let base = fixtures::container(&format!("shop.{generation}"), generation, version);
        let container = Container {
            id: id.clone(),
            owned: Owned {
                swap: SwapId(format!("swap-{}", self.made)),
                replaces: replaces.cloned(),
                spec: SPEC.to_owned(),
                ..base.owned
            },
            state,
            started: (state != ContainerState::Created).then_some(Time::UNIX_EPOCH),
            restart_policy: policy.to_owned(),
            ..base
        };
        self.containers.insert(id.0.clone(), container);
        id
    }

    fn switch(&mut self, to: &ContainerId) {
        let active = vec![target(&self.containers[&to.0])];
        let (revision, previous) = self.entry.take().map_or((0, Vec::new()), |entry| (entry.revision, entry.active));
        let since = Time::UNIX_EPOCH;
        self.entry = Some(AppEntry { revision: revision + 1, routes: Vec::new(), active, previous, since });
        self.held = false;
    }

    fn decide(&self) -> Decision {
        let containers: Vec<Container> = self.containers.values().cloned().collect();
        decide(&Observation {
            app: &self.app,
            spec: SPEC,
            wanted: &self.wanted,
            containers: &containers,
            jobs: &[],
            kept: &[],
            entry: self.entry.as_ref(),
            quarantine: &self.quarantine,
            attempts: None,
            parked: None,
            admission: &Admission::default(),
            forced: false,
            now: Time::UNIX_EPOCH,
            swap: &SwapId(format!("new-{}", self.made)),
        })
    }

    /// One side effect on a container. Two never run.
    fn touch(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) -> Result<(), Killed> {
        self.left = self.left.checked_sub(1).ok_or(Killed)?;
        let Some(container) = self.containers.get_mut(&id.0) else { return Ok(()) };
        change(container);
        let running = self.containers.values().filter(|c| c.is_running()).count();
        assert!(running <= 1, "two run at once: {:#?}", self.containers);
        Ok(())
    }

    fn stop(&mut self, id: &ContainerId) -> Result<(), Killed> {
        let active = self.entry.iter().flat_map(|entry| &entry.active).any(|target| target.container == *id);
        let running = self.containers.get(&id.0).is_some_and(Container::is_running);
        assert!(self.held || !active || !running, "what serves is stopped and its requests don't wait");
        self.touch(id, |c| c.restart_policy = "no".to_owned())?;
        self.touch(id, |c| {
            if c.is_running() {
                c.state = ContainerState::Exited;
            }
        })
    }

    fn start(&mut self, id: &ContainerId) -> Result<(), Killed> {
        self.touch(id, |c| {
            (c.state, c.started) = (ContainerState::Running, Some(Time::UNIX_EPOCH));
        })
    }

    fn restore(&mut self, id: &ContainerId) -> Result<(), Killed> {
        self.start(id)?;
        let policy = self.app.container.restart.label().to_owned();
        self.touch(id, |c| c.restart_policy = policy)?;
        self.touch(id, |_| {})?;
        self.held = false;
        Ok(())
    }

    /// As the executor does it; a bad version fails in its gate, and is put back as the executor does that.
    fn execute(&mut self, plan: &Plan, bad: u8) -> Result<(), Killed> {
        let mut candidate = plan.candidates.first().cloned();
        for step in &plan.steps {
            match step {
                Step::Create => {
                    self.left = self.left.checked_sub(1).ok_or(Killed)?;
                    let version = (1..9).find(|version| digest(*version) == plan.digest).unwrap();
                    let serving = plan.serving.first();
                    let made = self.add(plan.generation.0, version, serving, ContainerState::Created, "no");
                    self.containers.get_mut(&made.0).unwrap().owned.swap = plan.swap.clone();
                    candidate = Some(made);
                }
                Step::Hold { expect } => {
                    assert_eq!(self.entry.as_ref().map(|entry| entry.revision), Some(*expect));
                    self.left = self.left.checked_sub(1).ok_or(Killed)?;
                    self.held = true;
                }
                Step::Park { container } => self.stop(container)?,
                Step::Start => self.start(candidate.as_ref().unwrap())?,
                Step::Gate if plan.digest == digest(bad) => return self.give_way(plan, candidate.as_ref().unwrap()),
                Step::Arm => {
                    let policy = self.app.container.restart.label().to_owned();
                    self.touch(candidate.as_ref().unwrap(), |c| c.restart_policy = policy)?;
                }
                Step::Switch { expect } => {
                    assert_eq!(self.entry.as_ref().map_or(0, |entry| entry.revision), *expect);
                    self.touch(candidate.as_ref().unwrap(), |c| assert!(c.is_running(), "what gets the traffic runs"))?;
                    self.switch(candidate.as_ref().unwrap());
                }
                Step::Stop { containers } => containers.iter().try_for_each(|id| self.stop(id))?,
                Step::Restore { container, .. } => self.restore(container)?,
                Step::Retire { containers } => {
                    for id in containers {
                        let active = self.entry.iter().flat_map(|entry| &entry.active).any(|t| t.container == *id);
                        assert!(!active, "what serves is never removed");
                        self.touch(id, |_| {})?;
                        self.containers.remove(&id.0);
                    }
                }
                Step::Pull | Step::Compare | Step::Gate | Step::Drain { .. } => {}
                other => panic!("not in turns: {other:?}"),
            }
        }
        Ok(())
    }

    fn give_way(&mut self, plan: &Plan, candidate: &ContainerId) -> Result<(), Killed> {
        let failure = Failure {
            stage: Stage::Gate,
            reason: FailureReason::Unhealthy,
            message: String::new(),
            log_tail: Vec::new(),
        };
        let quarantine =
            Quarantine { digest: plan.digest.clone(), at: Time::UNIX_EPOCH, failure, spec: None, swap: None };
        self.left = self.left.checked_sub(1).ok_or(Killed)?;
        self.quarantine.push(quarantine);
        assert_eq!(undo(plan, Stage::Gate), Undo::Return);
        self.stop(candidate)?;
        if let Some(old) = plan.serving.first() {
            self.restore(old)?;
        }
        let name = format!("shop.failed-{}", plan.generation);
        self.touch(candidate, |c| c.name = name)
    }

    /// Decides and acts until there is nothing to do, or the process is killed.
    fn settle(&mut self, bad: u8) -> Result<(), Killed> {
        for _ in 0..12 {
            match self.decide() {
                Decision::Act(plan) => self.execute(&plan, bad)?,
                _ => return Ok(()),
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }
}

/// The steps of a plan in words.
fn words(plan: &Plan, old: &ContainerId) -> String {
    let who = |id: &ContainerId| if id == old { "old" } else { "new" };
    let all = |ids: &[ContainerId]| ids.iter().map(who).collect::<Vec<_>>().join("+");
    let word = |step: &Step| match step {
        Step::Park { container } => format!("park {}", who(container)),
        Step::Restore { container, .. } => format!("restore {}", who(container)),
        Step::Drain { containers } => format!("drain {}", all(containers)),
        Step::Stop { containers } => format!("stop {}", all(containers)),
        Step::Retire { containers } => format!("retire {}", all(containers)),
        other => other.stage().label().to_owned(),
    };
    plan.steps.iter().map(word).collect::<Vec<_>>().join(", ")
}

const TURNS: &str = "hold, drain old, park old, start, gate, arm, switch, retire old";

#[test]
fn every_half_way_state_has_one_way_on() {
    use ContainerState::{Created, Exited, Restarting, Running};
    use PlanReason as R;
    let swap = format!("pull, create, compare, {TURNS}");
    let carried_on = format!("compare, {TURNS}");
    // What serves by the table and its policy; the candidate, if it is there, and whether it is what is wanted.
    for (label, old, candidate, reason, wanted) in [
        ("a new version", (Running, POLICY), None, R::TagMoved, swap.as_str()),
        ("created", (Running, POLICY), Some((Created, "no", true)), R::ResumedCandidate, &carried_on),
        ("held, not yet stopped", (Running, "no"), Some((Created, "no", true)), R::ResumedCandidate, &carried_on),
        ("made room", (Exited, "no"), Some((Created, "no", true)), R::ResumedCandidate, &carried_on),
        ("started", (Exited, "no"), Some((Running, "no", true)), R::ResumedCandidate, TURNS),
        ("armed", (Exited, "no"), Some((Running, POLICY, true)), R::ResumedCandidate, TURNS),
        ("it has ended meanwhile", (Exited, "no"), Some((Exited, "no", true)), R::ServingLost, "hold, restore old"),
        (
            "armed, and ends again and again",
            (Exited, "no"),
            Some((Restarting, POLICY, true)),
            R::ServingLost,
            "hold, stop new, restore old",
        ),
        (
            "created, and no longer wanted",
            (Running, POLICY),
            Some((Created, "no", false)),
            R::ClearedLeftovers,
            "stop new, restore old, retire new",
        ),
        (
            "made room for one no longer wanted",
            (Exited, "no"),
            Some((Created, "no", false)),
            R::ServingLost,
            "hold, restore old",
        ),
        (
            "one no longer wanted runs",
            (Exited, "no"),
            Some((Running, "no", false)),
            R::ServingLost,
            "hold, stop new, restore old",
        ),
        (
            "a person has started the old one as well",
            (Running, "no"),
            Some((Running, "no", true)),
            R::ClearedLeftovers,
            "stop new, restore old, retire new",
        ),
        ("made room, and somebody removed the other", (Exited, "no"), None, R::ServingLost, "hold, restore old"),
        ("it has ended by itself, and something newer may help", (Exited, POLICY), None, R::TagMoved, &swap),
    ] {
        let mut world = World::serving();
        let serving = ContainerId("id-1".to_owned());
        let first = world.containers.get_mut("id-1").unwrap();
        (first.state, first.restart_policy) = (old.0, old.1.to_owned());
        world.wanted.digest = Some(digest(2));
        if let Some((state, policy, still)) = candidate {
            world.add(2, 2, Some(&serving), state, policy);
            world.wanted.digest = Some(digest(if still { 2 } else { 3 }));
        }
        let Decision::Act(plan) = world.decide() else { panic!("{label}: {:?}", world.decide()) };
        assert_eq!((plan.reason, words(&plan, &serving).as_str()), (reason, wanted), "{label}");
        assert_eq!(plan.strategy, Strategy::Hold, "{label}");
    }
}

#[test]
fn a_lost_table_gets_who_has_served_and_not_who_was_to_replace_it() {
    use ContainerState::{Created, Exited, Running};
    for (label, old, candidate, wanted) in [
        ("beside it", (Running, POLICY), (Created, "no"), "restore old, switch"),
        ("made room", (Exited, "no"), (Created, "no"), "restore old, switch"),
        ("the other runs", (Exited, "no"), (Running, "no"), "stop new, restore old, switch"),
        ("the other has passed its gate", (Exited, "no"), (Running, POLICY), "stop new, restore old, switch"),
    ] {
        let mut world = World::serving();
        let serving = ContainerId("id-1".to_owned());
        let first = world.containers.get_mut("id-1").unwrap();
        (first.state, first.restart_policy) = (old.0, old.1.to_owned());
        world.add(2, 2, Some(&serving), candidate.0, candidate.1);
        world.wanted.digest = Some(digest(2));
        world.entry = None;
        let Decision::Act(plan) = world.decide() else { panic!("{label}") };
        assert_eq!((plan.reason, words(&plan, &serving).as_str()), (PlanReason::RouteRestored, wanted), "{label}");
    }
}

#[test]
fn after_the_switch_the_old_one_goes_without_a_bake() {
    let mut world = World::serving();
    let old = ContainerId("id-1".to_owned());
    let first = world.containers.get_mut("id-1").unwrap();
    (first.state, first.restart_policy) = (ContainerState::Exited, "no".to_owned());
    let new = world.add(2, 2, Some(&old), ContainerState::Running, POLICY);
    world.switch(&new);
    world.wanted.digest = Some(digest(2));
    let Decision::Act(plan) = world.decide() else { panic!() };
    assert_eq!((plan.reason, plan.fallback.as_slice()), (PlanReason::FinishedSwap, [].as_slice()));
    assert_eq!(words(&plan, &old), "drain old, stop old, retire old");
}

#[test]
fn a_policy_that_was_taken_away_is_given_back() {
    let mut world = World::serving();
    world.containers.get_mut("id-1").unwrap().restart_policy = "no".to_owned();
    let Decision::Act(plan) = world.decide() else { panic!() };
    assert_eq!(words(&plan, &ContainerId("id-1".to_owned())), "hold, restore old");
    world.app.container.restart = RestartPolicy::No;
    assert_eq!(world.decide(), Decision::UpToDate, "it never had one");
}

#[test]
fn a_failure_puts_the_old_one_back_only_where_it_was_touched() {
    let mut world = World::serving();
    world.wanted.digest = Some(digest(2));
    let Decision::Act(plan) = world.decide() else { panic!() };
    for (stage, wanted) in [
        (Stage::Pull, Undo::Abandon),
        (Stage::Create, Undo::Abandon),
        (Stage::Compare, Undo::Abandon),
        (Stage::Hold, Undo::Return),
        (Stage::Drain, Undo::Return),
        (Stage::Park, Undo::Return),
        (Stage::Start, Undo::Return),
        (Stage::Gate, Undo::Return),
        (Stage::Arm, Undo::Return),
        (Stage::Switch, Undo::Return),
        (Stage::Retire, Undo::Leave),
    ] {
        assert_eq!(undo(&plan, stage), wanted, "{stage:?}");
    }
}
