use super::*;
use crate::decide::admission::Admission;
use crate::decide::fixtures::{app, running};
use crate::decide::observation::Wanted;
use crate::model::{
    App, AppEntry, Failure, FailureReason, Quarantine, RestartPolicy, Stage, Step, Strategy, SwapId, Target,
};

fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

/// What there is to see.
struct Scene {
    app: App,
    serving: Container,
    kept: Vec<(Generation, Digest)>,
    quarantine: Vec<Quarantine>,
    forced: bool,
    since: i64,
    now: i64,
}

impl Scene {
    /// Version 2 serves since 30 s and is watched; version 1 is kept.
    fn new() -> Self {
        let mut serving = running("shop", 2, &digest(2), ContainerState::Running, at(0));
        serving.owned.watched = true;
        serving.owned.swap = SwapId("two".into());
        serving.restart_policy = "unless-stopped".to_owned();
        let kept = vec![(Generation(1), digest(1)), (Generation(2), digest(2))];
        Self { app: app("shop"), serving, kept, quarantine: Vec::new(), forced: false, since: 30, now: 60 }
    }

    fn in_turns() -> Self {
        let mut scene = Self::new();
        scene.app.strategy = Strategy::Hold;
        scene
    }

    fn adopted(strategy: Strategy) -> Self {
        let mut scene = Self::new();
        scene.app.origin = Origin::Adopted { container: "shop".to_owned() };
        scene.app.strategy = strategy;
        scene
    }

    fn decide(&self) -> Decision {
        let target = Target {
            container: self.serving.id.clone(),
            addr: "10.0.0.1:80".parse().unwrap(),
            generation: self.serving.owned.generation,
        };
        let (routes, previous) = (Vec::new(), Vec::new());
        let entry = AppEntry { revision: 4, routes, active: vec![target], previous, since: at(self.since) };
        let wanted = Wanted { digest: Some(self.serving.owned.digest.clone()), ..Wanted::default() };
        crate::decide::reconcile::decide(&Observation {
            app: &self.app,
            spec: "spec",
            wanted: &wanted,
            containers: std::slice::from_ref(&self.serving),
            jobs: &[],
            kept: &self.kept,
            entry: Some(&entry).filter(|_| self.app.origin == Origin::Declared),
            quarantine: &self.quarantine,
            attempts: None,
            parked: None,
            admission: &Admission::default(),
            forced: self.forced,
            now: at(self.now),
            swap: &SwapId("three".into()),
        })
    }

    fn rolls_back(&self) -> Option<Plan> {
        match self.decide() {
            Decision::Act(plan) if plan.reason == PlanReason::WatchFailed => Some(*plan),
            _ => None,
        }
    }
}

#[test]
fn only_what_the_version_has_done_itself_takes_it_out_of_service() {
    use ContainerState::{Exited, Running};
    for (label, state, policy, restarts, code, health, rolls_back) in [
        ("it runs", Running, "unless-stopped", 0, 0, None, false),
        ("it was restarted by its policy", Running, "unless-stopped", 1, 0, None, true),
        ("it is unhealthy", Running, "unless-stopped", 0, 0, Some(Health::Unhealthy), true),
        ("it is not yet healthy again", Running, "unless-stopped", 0, 0, Some(Health::Starting), false),
        ("a person stopped it", Exited, "unless-stopped", 0, 1, None, false),
        ("a person stopped it, always restarted", Exited, "always", 0, 137, None, false),
        ("it ended and nobody restarts it", Exited, "no", 0, 1, None, true),
        ("it ended and is only restarted on failure", Exited, "on-failure", 0, 2, None, true),
        ("a person stopped it, never restarted", Exited, "no", 0, 143, None, false),
        ("the host went down", Exited, "no", 0, 255, None, false),
        ("it has done its work", Exited, "on-failure", 0, 0, None, false),
    ] {
        for mut scene in
            [Scene::new(), Scene::in_turns(), Scene::adopted(Strategy::Recreate), Scene::adopted(Strategy::Overlap)]
        {
            if policy == "no" {
                scene.app.container.restart = RestartPolicy::No;
            }
            let serving = &mut scene.serving;
            (serving.state, serving.restart_policy) = (state, policy.to_owned());
            (serving.restart_count, serving.exit_code, serving.health) = (restarts, code, health);
            assert_eq!(scene.rolls_back().is_some(), rolls_back, "{label}, {:?}", scene.app.strategy);
        }
    }
}

#[test]
fn the_watch_ends_and_can_be_turned_off_and_respects_a_person() {
    type Change = fn(&mut Scene);
    let all: [(&str, Change, bool); 9] = [
        ("in its time", |_| {}, true),
        ("at its last second", |scene| scene.now = 629, true),
        ("after it", |scene| scene.now = 630, false),
        ("turned off", |scene| scene.app.watch = std::time::Duration::ZERO, false),
        ("insisted upon, or gone back to", |scene| scene.serving.owned.watched = false, false),
        ("asked for now", |scene| scene.forced = true, false),
        ("an old one whose table was lost", |scene| (scene.since, scene.now) = (90_000, 90_010), false),
        ("nothing is kept", |scene| scene.kept.clear(), false),
        ("only itself is kept", |scene| scene.kept[0].1 = digest(2), false),
    ];
    for (label, change, rolls_back) in all {
        let mut scene = Scene::new();
        scene.serving.restart_count = 3;
        change(&mut scene);
        assert_eq!(scene.rolls_back().is_some(), rolls_back, "{label}");
    }
}

#[test]
fn what_comes_back_is_the_version_before_it_that_has_not_failed_itself_and_it_is_not_watched() {
    let mut scene = Scene::new();
    scene.serving.restart_count = 1;
    scene.serving.owned.generation = Generation(9);
    scene.kept = vec![
        (Generation(3), digest(3)),
        (Generation(4), digest(4)),
        (Generation(5), digest(5)),
        (Generation(11), digest(6)),
    ];
    let failure =
        Failure { stage: Stage::Gate, reason: FailureReason::Exited, message: String::new(), log_tail: Vec::new() };
    scene.quarantine =
        vec![Quarantine { digest: digest(5), at: at(0), failure, spec: Some("other".into()), swap: None }];
    let plan = scene.rolls_back().unwrap();
    assert_eq!((plan.digest, plan.generation, plan.watched), (digest(4), Generation(10), false));
    assert!(plan.fallback.is_empty(), "what is bad is nothing to go back to");
    let Some(Step::Condemn { digest: condemned, swap, .. }) = plan.steps.first() else { panic!("{:?}", plan.steps) };
    assert_eq!((condemned, swap.0.as_str()), (&digest(2), "two"));
    assert!(plan.steps.iter().all(|step| !matches!(step, Step::Bake { .. } | Step::Job { .. })), "{:?}", plan.steps);
}

#[test]
fn a_deployment_is_watched_when_the_version_is_new_and_nobody_insists() {
    let scene = Scene::new();
    for (label, reason, pinned, forced, watched) in [
        ("the tag moved", PlanReason::TagMoved, None, false, true),
        ("asked for by a job of CI", PlanReason::Pinned, Some("release 2"), false, true),
        ("a rollback", PlanReason::Pinned, Some("rollback"), false, false),
        ("with --force", PlanReason::TagMoved, None, true, false),
        ("another configuration", PlanReason::ConfigurationChanged, None, false, false),
        ("what came back", PlanReason::WatchFailed, None, false, false),
    ] {
        let wanted = Wanted { pinned: pinned.map(|why| (why.to_owned(), None)), ..Wanted::default() };
        let seen = Observation {
            app: &scene.app,
            spec: "spec",
            wanted: &wanted,
            containers: &[],
            jobs: &[],
            kept: &[],
            entry: None,
            quarantine: &[],
            attempts: None,
            parked: None,
            admission: &Admission::default(),
            forced,
            now: at(0),
            swap: &SwapId("s".into()),
        };
        assert_eq!(is_watched(&seen, reason), watched, "{label}");
    }
}
