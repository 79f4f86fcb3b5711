use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::*;
use crate::decide::fixtures;
use crate::decide::group::Stance;
use crate::engine::asked::Activation;
use crate::model::{App, AppName, AppSwitch, Digest, GroupResult, SeenSource, SwapId};

const NAMES: [&str; 3] = ["api", "web", "worker"];

struct Stage {
    groups: Groups,
    board: Arc<Board>,
    bells: BTreeMap<&'static str, Bell>,
}

fn app(name: &str) -> App {
    App { group: Some("shop".parse().unwrap()), ..fixtures::app(name) }
}

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

fn new() -> Digest {
    Digest::of(b"new")
}

impl Stage {
    /// The tasks of these apps run.
    fn of(names: &[&'static str]) -> Self {
        let groups = Groups::default();
        let apps: Vec<App> = names.iter().map(|name| app(name)).collect();
        groups.muster(apps.iter());
        let board = groups.board(&app("web")).unwrap();
        let bells = names.iter().map(|name| {
            let bell = Bell { nudge: Arc::new(Notify::new()), activation: Arc::new(Activation::default()) };
            board.join(&app(name), bell.clone());
            (*name, bell)
        });
        Self { bells: bells.collect(), board, groups }
    }

    fn tell(&self, app: &str, stance: Stance) {
        let looked = Some(chrono::Utc::now() + chrono::TimeDelta::hours(1));
        let serving = Some(Digest::of(b"old"));
        self.board.tell(&name(app), Word { pinned: false, serving, switched: None, looked, stance });
    }

    /// All of them are ready and have their seats.
    fn seated(&self) -> Vec<Seat> {
        self.bells.keys().for_each(|app| self.tell(app, Stance::Ready(new())));
        self.bells.keys().map(|app| self.called(app).unwrap_or_else(|why| panic!("{app}: {why}"))).collect()
    }

    fn called(&self, app: &str) -> Result<Seat, String> {
        match self.board.call(&name(app), &new(), false) {
            Call::Go(seat) => {
                let limits =
                    Limits { prepare: Duration::from_secs(60), gate: Duration::from_secs(10), bake: Duration::ZERO };
                seat.begin(&SwapId(format!("{app}-1")), Phase::Seated, limits);
                Ok(seat)
            }
            Call::Wait(waiting) => Err(waiting.message),
            Call::Passed | Call::Alone => Err("it does not wait".to_owned()),
        }
    }

    fn rung(&self, app: &str) -> bool {
        self.bells[app].nudge.notified().now_or_never().is_some()
    }
}

fn change(app: &str) -> AppSwitch {
    AppSwitch { app: name(app), expect: 1, to: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn the_last_to_come_makes_the_switch_for_all_and_nobody_goes_on_before_it_is_made() {
    let stage = Stage::of(&NAMES);
    let seats = stage.seated();
    let [api, web, worker] = seats.as_slice() else { panic!("three") };
    let mut first = Box::pin(api.meet(Phase::Gated, Some(change("api"))));
    let mut second = Box::pin(web.meet(Phase::Gated, Some(change("web"))));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    let Meeting::Lead(changes) = worker.meet(Phase::Gated, Some(change("worker"))).await else { panic!("it leads") };
    assert_eq!(changes, NAMES.map(change));
    assert!(first.as_mut().now_or_never().is_none(), "the switch is not made yet");
    worker.switched(Some(7));
    assert_eq!((first.await, second.await), (Meeting::Met, Meeting::Met));
    assert!(api.leave().is_none() && web.leave().is_none());
    let record = worker.leave().expect("the last has the story");
    assert_eq!((record.result, record.table, record.members.len()), (GroupResult::Succeeded, Some(7), 3));
    assert!(stage.called("web").is_err(), "it has to say anew where it stands");
}

#[tokio::test(start_paused = true)]
async fn whoever_fails_ends_it_for_all_and_for_those_who_have_not_come_yet() {
    let stage = Stage::of(&NAMES);
    NAMES.iter().for_each(|app| stage.tell(app, Stance::Ready(new())));
    let (api, web) = (stage.called("api").unwrap(), stage.called("web").unwrap());
    let waiting = web.meet(Phase::Prepared, None);
    api.fail("failed at pull: no such image");
    let why = "held back by its group: api failed at pull: no such image".to_owned();
    assert_eq!(waiting.await, Meeting::Broken(why.clone()));
    assert_eq!(web.broken().await, why);
    assert!(stage.called("worker").is_err(), "nobody joins what is over");
    assert!(web.leave().is_none());
    let record = api.leave().expect("the one that never came has not to leave");
    assert_eq!((record.result, record.message.as_str()), (GroupResult::Failed, "api: failed at pull: no such image"));
    assert!(stage.rung("worker"));
    stage.tell("api", Stance::Held("it failed".to_owned()));
    stage.tell("web", Stance::Ready(new()));
    assert_eq!(stage.called("web").err().as_deref(), Some("waits for its group: api is held back: it failed"));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let stage = Stage::of(&NAMES);
    let seats = stage.seated();
    let begun = tokio::time::Instant::now();
    let met = seats[1].meet(Phase::Prepared, None).await;
    let Meeting::Broken(why) = met else { panic!("{met:?}") };
    assert_eq!(why, "held back by its group: web waited for api, worker for too long");
    assert_eq!(begun.elapsed(), Duration::from_secs(60) + Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_switch_ends_it_and_who_leaves_after_it_does_not() {
    let stage = Stage::of(&["api", "web"]);
    let mut seats = stage.seated();
    drop(seats.pop());
    assert_eq!(seats[0].broken_by().as_deref(), Some("held back by its group: web has left its deployment"));
    let stage = Stage::of(&["api", "web"]);
    let mut seats = stage.seated();
    let mut waiting = Box::pin(seats[0].meet(Phase::Gated, None));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(matches!(seats[1].meet(Phase::Gated, None).await, Meeting::Lead(_)));
    seats[1].switched(None);
    assert_eq!(waiting.await, Meeting::Met);
    drop(seats.pop());
    assert_eq!(seats[0].meet(Phase::Baked, None).await, Meeting::Met);
}

#[tokio::test(start_paused = true)]
async fn one_takes_all_of_them_back_and_the_others_wait_for_it() {
    let stage = Stage::of(&["api", "web"]);
    let seats = stage.seated();
    let mut waiting = Box::pin(seats[0].meet(Phase::Gated, None));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(matches!(seats[1].meet(Phase::Gated, None).await, Meeting::Lead(_)));
    seats[1].switched(Some(3));
    assert_eq!(waiting.await, Meeting::Met);
    assert!(!seats[0].takes_back(), "nobody has failed");
    seats[0].fail("failed at bake: it exited");
    assert!(seats[1].takes_back() && !seats[0].takes_back(), "only the first");
    let mut back = Box::pin(seats[0].is_back(Duration::from_secs(30)));
    assert!(back.as_mut().now_or_never().is_none());
    seats[1].taken_back(true);
    assert!(back.await);
    seats[0].leave();
    assert_eq!(seats[1].leave().unwrap().result, GroupResult::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn the_others_look_when_one_has_something_newer_and_look_again_when_another_says_something() {
    let stage = Stage::of(&["api", "web"]);
    stage.tell("api", Stance::Still);
    stage.bells["api"].activation.activate(SeenSource::Webhook, None);
    stage
        .board
        .tell(&name("api"), Word { pinned: false, serving: None, switched: None, looked: None, stance: Stance::Still });
    stage.tell("web", Stance::Ready(new()));
    assert_eq!(stage.bells["api"].activation.next().await.0, SeenSource::Webhook, "what is to come says more");
    assert!(!stage.rung("web"));
    stage.tell("api", Stance::Held("why".to_owned()));
    assert!(stage.rung("web"), "it waits, and there is news");
    assert!(!stage.rung("api"), "it waits for nobody");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_removed_from_the_configuration_frees_the_others() {
    let stage = Stage::of(&["api", "web"]);
    stage.tell("api", Stance::Held("why".to_owned()));
    stage.tell("web", Stance::Ready(new()));
    assert!(stage.called("web").is_err());
    stage.groups.muster([app("web")].iter());
    assert!(stage.rung("web"));
    assert!(stage.called("web").is_ok());
    // One that was called and did not come yet is not waited for either.
    let stage = Stage::of(&["api", "web"]);
    ["api", "web"].iter().for_each(|app| stage.tell(app, Stance::Ready(new())));
    let seat = stage.called("web").unwrap();
    stage.groups.muster([app("web")].iter());
    assert_eq!(seat.broken_by().as_deref(), Some("held back by its group: api is no longer of the group"));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_called_and_has_something_else_to_do_says_so() {
    let stage = Stage::of(&["api", "web"]);
    ["api", "web"].iter().for_each(|app| stage.tell(app, Stance::Ready(new())));
    let seat = stage.called("web").unwrap();
    stage.board.decline(&name("api"), "is held back: a gate has closed");
    assert_eq!(seat.broken_by().as_deref(), Some("held back by its group: api is held back: a gate has closed"));
    // Another version than the one that it was called for is as good as none.
    let stage = Stage::of(&["api", "web"]);
    ["api", "web"].iter().for_each(|app| stage.tell(app, Stance::Ready(new())));
    let seat = stage.called("web").unwrap();
    assert!(matches!(stage.board.call(&name("api"), &Digest::of(b"newer"), false), Call::Wait(_)));
    assert!(seat.broken_by().is_some());
}

#[tokio::test(start_paused = true)]
async fn those_that_an_earlier_run_has_switched_go_on_without_one_that_does_not_come() {
    let switched = Some(chrono::Utc::now());
    for comes in [true, false] {
        let stage = Stage::of(&["api", "web"]);
        for app in ["api", "web"] {
            stage.board.tell(
                &name(app),
                Word { pinned: false, serving: Some(new()), switched, looked: None, stance: Stance::Baking },
            );
        }
        let Call::Go(seat) = stage.board.resume(&name("web"), &new()) else { panic!("it goes on") };
        seat.begin(&SwapId("web-1".into()), Phase::Gated, Limits::default());
        if comes {
            stage.board.decline(&name("api"), "its container has ended");
        }
        assert_eq!(seat.meet(Phase::Baked, None).await, Meeting::Met, "{comes}");
    }
}
